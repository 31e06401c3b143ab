package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

func TestWasiRun(t *testing.T) {
	const words, attack = "../../vm/wasi/testdata/words.wasm", "../../vm/wasi/testdata/attack.wasm"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("one two two"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := runLine(t.Context(), "wasi", "run", words, "--root", dir, "--env", "GREETING=hi", "--", "a.txt")
	if want := "hi\n     2  66.7% two\n     1  33.3% one\n3 words, 2 distinct\n"; err != nil || out != want {
		t.Errorf("%v, %q", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a.txt.count")); err != nil || string(b) != "3\n" {
		t.Errorf("it has written %q, %v", b, err)
	}
	out, err = runLine(t.Context(), "wasi", "run", words, "--stdin", filepath.Join(dir, "a.txt"))
	if err != nil || !strings.HasSuffix(out, "3 words, 2 distinct\n") {
		t.Errorf("from the standard input: %v, %q", err, out)
	}
	var code exitCode
	if _, err = runLine(t.Context(), "wasi", "run", words, "--", "a.txt"); !errors.As(err, &code) || code != 2 {
		t.Errorf("without files: %v", err)
	}
	if _, err = runLine(t.Context(), "wasi", "run", attack, "--", "exit"); !errors.As(err, &code) || code != 42 {
		t.Errorf("exit(42): %v", err)
	}
	for _, c := range []struct {
		line string
		want errs.Kind
	}{
		{attack + " --fuel 1000000 -- loop", errs.OutOfFuel},
		{attack + " --time 20ms -- loop", errs.OutOfFuel},
		{attack + " --memory 1000000 -- exit", errs.Limit},
		{attack + " -- abort", errs.Trap},
		{words + ".none", errs.NotFound},
		{words + " --root /none", errs.NotFound},
		{"wasi_test.go", errs.Invalid},
	} {
		if _, err := runLine(t.Context(), append([]string{"wasi", "run"}, strings.Fields(c.line)...)...); errs.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %v", c.line, err, c.want)
		}
	}
}
