package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/janos-os/janos/nodeos"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	file := write("a.click", "require(library lib.click); InfiniteSource(LIMIT $n, STOP true) -> c :: Counter -> Sink; define($n 5);")
	write("lib.click", "elementclass Sink { input -> Discard }")
	t.Setenv("CLICKPATH", dir)
	for name, c := range map[string]struct {
		args     []string
		in       string
		code     int
		out, err string
	}{
		"file":       {args: []string{file, "-h", "c.count"}, out: "5\n"},
		"variable":   {args: []string{"n=7", file, "-hc.count", "--handler=list"}, out: "c.count:\n7\n\nlist:\n3\nInfiniteSource@1\nc\nSink@3/Discard@1\n\n"},
		"stdin":      {in: "Idle -> Discard;", args: []string{"-q", "-h", "Idle@1.class"}, out: "Idle\n"},
		"flat":       {args: []string{"-qo-", "-e", "Idle -> { input -> Discard } "}, out: "Idle@1 :: Idle;\n@2/Discard@1 :: Discard;\n\nIdle@1 -> @2/Discard@1;\n"},
		"simulated":  {args: []string{"--simtime", "-e", `TimedSource(1000s, LIMIT 3) -> c :: Counter -> Discard; DriverManager(wait 1h, wait 10h, print c.count, stop)`}, out: "3\n"},
		"rests":      {args: []string{"--simtime", "-e", "Idle -> Discard"}},
		"errors":     {args: []string{"-e", "a :: Foo;\nb :: Queue(x) -> Discard"}, code: 1, err: "config:1: unknown element class 'Foo'\nconfig:2: While configuring 'b :: Queue':\n  CAPACITY: expected an integer, not 'x'\nconfig:2: 'b :: Queue' input 0 unused\nRouter could not be initialized!\n"},
		"redeclared": {args: []string{"-e", "a :: Idle;\na :: Idle;"}, code: 1, err: "config:2: redeclaration of element 'a'\nconfig:1: element 'a' previously declared here\n"},
		"warped":     {args: []string{"-e", `Script(write timewarp 1000, wait 100s, print $(timewarp), write timewarp 0, print $(timewarp), write timewarp -1, print $?, stop)`}, out: "1000\n1\n-1\n", err: "While executing 'Script@1 :: Script': write timewarp:\n  expected a speed up to 1e+06, not '-1'\n"},
		"handler":    {args: []string{"-q", "-e", "Idle -> Discard", "-h", "x.y"}, code: 1, err: "click: no element named 'x'\n"},
		"exit":       {args: []string{"-q", "-e", "i :: Idle -> d :: Discard", "-x", "d.active"}},
		"exit false": {args: []string{"-q", "-e", "i :: Idle -> d :: Discard(ACTIVE false)", "-x", "d.active"}, code: 1},
		"option":     {args: []string{"-z"}, code: 2, err: "click: unknown option -z\nTry 'click --help'.\n"},
		"value":      {args: []string{"-e"}, code: 2, err: "click: option --expression needs a value\nTry 'click --help'.\n"},
		"threads":    {args: []string{"-j2", "--no-affinity", "-e", `StaticThreadSched(s 0, u 1); s :: InfiniteSource(LIMIT 5000) -> Queue -> u :: Unqueue -> c :: Counter(COUNT_CALL 5000 stop) -> Discard`, "-h", "c.count", "-h", "u.home_thread"}, out: "c.count:\n5000\n\nu.home_thread:\n1\n\n"},
		"no threads": {args: []string{"-j", "0"}, code: 2, err: "click: --threads 0, want a number from 1 to 256\nTry 'click --help'.\n"},
		"processor":  {args: []string{"--affinity=x"}, code: 2, err: fmt.Sprintf("click: --affinity=x: want a processor from 0 to %d\nTry 'click --help'.\n", runtime.NumCPU()-1)},
		"two":        {args: []string{"a", "b"}, code: 2, err: "click: more than one configuration was given\nTry 'click --help'.\n"},
		"help":       {args: []string{"--help"}, out: usage},
		"device":     {args: []string{"--driver", "mem", "-e", "InfiniteSource(LIMIT 3, LENGTH 60, STOP true) -> t :: ToDevice(m0); FromDevice(m0) -> Discard", "-h", "t.count"}, out: "3\n"},
		"no device":  {args: []string{"--driver", "none", "-e", "FromDevice(m0) -> Discard"}, code: 1, err: "config:1: 'FromDevice@1 :: FromDevice': link m0: unknown driver \"none\" (there are " + fmt.Sprint(nodeos.Drivers()) + ")\nRouter could not be initialized!\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut strings.Builder
			code := run(context.Background(), nil, c.args, strings.NewReader(c.in), &out, &errOut)
			if code != c.code || out.String() != c.out || errOut.String() != c.err {
				t.Errorf("exit status %d, want %d\n%s\nwant\n%s\nerrors\n%s\nwant\n%s", code, c.code, out.String(), c.out, errOut.String(), c.err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	var out, errOut strings.Builder
	if code := run(context.Background(), nil, []string{filepath.Join(t.TempDir(), "none")}, nil, &out, &errOut); code != 1 || !strings.Contains(errOut.String(), "none") {
		t.Errorf("exit status %d, %q", code, errOut.String())
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errOut strings.Builder
	if code := run(ctx, nil, []string{"-e", "RatedSource -> Discard"}, nil, &out, &errOut); code != 0 {
		t.Errorf("exit status %d, %q", code, errOut.String())
	}
}
