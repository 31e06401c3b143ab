package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// run runs the command line and returns what it prints.
func runLine(ctx context.Context, args ...string) (string, error) {
	root := rootCommand()
	var out bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// lineWriter gives away the lines that are written to it.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

// The example's README shows what happens.
func TestGuestRunAndLoad(t *testing.T) {
	const dir = "../../examples/guest-ee/"
	page, err := os.ReadFile(dir + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	root := rootCommand()
	lines := make(lineWriter, 100)
	root.SetArgs([]string{"guest", "run", dir + "guests/ee.wasm", "--udp", "127.0.0.1:0", "--to", "127.0.0.0/8"})
	root.SetErr(lines)
	ended := make(chan error)
	go func() { ended <- root.ExecuteContext(ctx) }()
	line := <-lines
	_, addr, ok := strings.Cut(strings.TrimSpace(line), "running on ")
	if !ok {
		t.Fatalf("it says %q", line)
	}
	// The guest opens its channel a moment after it was started: what comes before is nobody's.
	for range 100 {
		if _, err := runLine(ctx, "guest", "load", addr, dir+"guests/upper.wasm", "--timeout", "300ms"); err == nil {
			break
		}
	}
	for shown := range strings.SplitSeq(string(page), "$ janos guest load 127.0.0.1:3340 ") {
		cmd, rest, _ := strings.Cut(shown, "\n")
		want, _, ok := strings.Cut(rest, "```")
		if !strings.HasPrefix(cmd, "guests/") || !ok && !strings.Contains(rest, "place") {
			continue
		}
		words := []string{"guest", "load", addr, dir}
		for k, w := range strings.Split(cmd, "\"") { // quotes as the shell has them
			if k%2 == 1 {
				words = append(words, w)
				continue
			}
			words = append(words, strings.Fields(w)...)
		}
		words[3] += words[4]
		words = append(words[:4], words[5:]...)
		got, err := runLine(ctx, append(words, "--timeout", "20s")...)
		if err != nil || got != want {
			t.Errorf("janos %s: %v, prints\n%s\nand not\n%s", strings.Join(words, " "), err, got, want)
		}
	}
	if _, err := runLine(ctx, "guest", "load", addr, dir+"README.md"); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a text as a program: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// A guest's own error is the command's.
func TestGuestRunFails(t *testing.T) {
	const dir = "../../examples/guest-ee/guests/"
	for file, want := range map[string]errs.Kind{dir + "upper.wasm": errs.Invalid, dir + "ee.c": errs.Invalid, dir + "none.wasm": errs.NotFound} {
		if _, err := runLine(t.Context(), "guest", "run", file, "--udp", "127.0.0.1:0"); errs.KindOf(err) != want {
			t.Errorf("%s: %v, want %v", file, err, want)
		}
	}
}
