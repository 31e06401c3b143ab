// Command click runs a configuration in the Click language, in the way that people who know Click expect: a node
// with one domain, one worker and no limits. `click --help` lists its options. Under the name of one of Click's tools, such as
// click-flatten, it is that tool; so is `click --tool click-flatten`.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/janos-os/janos/click/tool"
)

// version is set by the linker.
var version = "unknown"

func main() {
	tool.Version = version
	if name, args := toolOf(os.Args); name != "" {
		os.Exit(tool.Run(name, args, tool.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // packet memory is no garbage: without this the first collection comes while the program starts
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(context.Background(), signals, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// toolOf returns the tool that a command line asks for, by the name of the program or by --tool, and the arguments for it.
func toolOf(argv []string) (name string, args []string) {
	if len(argv) == 0 {
		return "", nil
	}
	if base := filepath.Base(argv[0]); strings.HasPrefix(base, "click-") && tool.Lookup(base) != "" {
		return base, argv[1:]
	}
	if len(argv) > 2 && argv[1] == "--tool" {
		return argv[2], argv[3:]
	}
	return "", nil
}
