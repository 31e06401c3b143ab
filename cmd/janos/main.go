// Command janos runs active-network nodes, laboratories of them, and the tools of those who
// write capsules. `janos help` lists what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(ctx)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			if onHangup := hangup.Load(); onHangup != nil {
				(*onHangup)()
				continue
			}
			cancel()
		}
	}()
	err := rootCommand().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	stop()
	if interrupted { // in the middle of something, which has been undone
		fmt.Fprintln(os.Stderr, "janos: interrupted")
		os.Exit(exitInterrupted)
	}
	if code := exitCode(0); errors.As(err, &code) {
		os.Exit(int(code) & 0xff)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "janos: %v\n", err)
	}
	os.Exit(errs.ExitCode(err))
}

// hangup is what SIGHUP does instead of interrupting; nil: it interrupts.
var hangup atomic.Pointer[func()]

// exitInterrupted is the exit code of what a signal ended before it was done, as shells have it.
const exitInterrupted = 130

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "janos",
		Short: "Active-network nodes on Linux: routers that run code which arrives with the packets",
		Long: `janos runs nodes of an active network: routers and hosts that load code from the
network, one hop after the other, and run it contained and metered.

To see it work, as root:        janos demo examples/first-network
To write a capsule of your own: janos capsule new hello, and docs/tutorial-capsule.md
To know what works here:        janos doctor`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionText(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Running nodes and networks:"},
		&cobra.Group{ID: "write", Title: "Writing capsules:"},
		&cobra.Group{ID: "machine", Title: "About this machine:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", nodeCommand(), showCommand(), monitorCommand(), traceCommand(), tcpdumpCommand(), clickCommand(), labCommand(), demoCommand(), guestCommand(), wasiCommand())
	add("write", capsuleCommand())
	add("machine", doctorCommand(), benchCommand(), versionCommand())
	// A command that has others below it runs only to refuse what is not one of them.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	strict(root)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this binary", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), versionText()) },
	}
}

func versionText() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "unknown" && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("janos %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
