package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	_ "github.com/janos-os/janos/channels/all" // the link drivers
	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
)

func nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Run a node, change it while it runs, check a node file"}
	c.AddCommand(nodeRunCommand(), nodeReloadCommand(), nodeConfirmCommand(), nodeValidateCommand(), nodePrintCommand(), nodeGraphCommand(), nodeSchemaCommand())
	return c
}

func nodeRunCommand() *cobra.Command {
	var verbose bool
	var confirm time.Duration
	c := &cobra.Command{
		Use: "run FILE", Short: "Run the node that FILE describes, until it is interrupted", Args: cobra.ExactArgs(1),
		Long: `Runs a node in this network namespace, on its interfaces. The interfaces stay the host's: what
no channel of the node claims goes to the host's own stack. Interrupting it gives everything back; killing
it leaves nothing behind that stops packets. SIGHUP has it read FILE again, as "janos node reload" does.

With --confirm the node ends by itself unless "janos node confirm" comes in time: for a router that you reach
over the interfaces that the node takes.`,
		Example: "  janos node run --confirm 60s r1.yaml &\n  janos node confirm --control /run/janos-r1.sock",
		RunE: func(cmd *cobra.Command, args []string) error {
			// Who started it may be gone, with the terminal or pipe that it writes to.
			signal.Ignore(syscall.SIGPIPE)
			spec, err := node.Load(args[0])
			if err != nil {
				return err
			}
			if err := checkConfirm(cmd, confirm); err != nil {
				return err
			}
			if confirm > 0 && spec.Control == "" {
				return errs.New(errs.Invalid, "--confirm: nobody could confirm it: the node file has no control socket; give it one, such as control: /run/janos-%s.sock", spec.Name)
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})).With("node", spec.Name)
			runtime.GOMAXPROCS(nodeos.Procs(spec.Workers))
			n, err := node.Start(spec, node.Env{Log: log})
			if err != nil {
				return err
			}
			defer n.Close()
			if _, err := n.OS().Urge(); err != nil {
				log.Info("workers run like all other threads", "error", err)
			}
			if spec.Control != "" {
				s, err := control.Serve(n, spec.Control, log)
				if err != nil {
					return err
				}
				defer s.Close()
			}
			undone := make(chan struct{})
			if confirm > 0 {
				if err := n.Try("start", confirm, func() { close(undone) }); err != nil {
					return err
				}
			}
			again := func() {
				if err := control.ReloadNode(n, control.Reload{File: args[0]}); err != nil {
					log.Error("reload refused, the node runs on as it was", "error", err)
				}
			}
			hangup.Store(&again)
			defer hangup.Store(nil)
			log.Info("node is up", "address", spec.Addr, "links", len(spec.Links), "control", spec.Control)
			select {
			case <-cmd.Context().Done():
			case <-undone:
				if err := n.Close(); err != nil {
					log.Error("node ends", "error", err)
				}
				return errs.New(errs.Timeout, "the start was not confirmed within %v: undone, the node has ended and the interfaces are the host's alone", confirm)
			}
			log.Info("node ends")
			return n.Close()
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	confirmFlag(c, &confirm)
	return c
}

func confirmFlag(c *cobra.Command, d *time.Duration) {
	c.Flags().DurationVar(d, "confirm", 0, "undo it unless it is confirmed in this time, such as 60s (default: it needs no confirming)")
}

func checkConfirm(c *cobra.Command, d time.Duration) error {
	if c.Flags().Changed("confirm") && (d <= 0 || d > node.MaxTrial) {
		return errs.New(errs.Invalid, "--confirm %v: want more than 0 and at most %v", d, node.MaxTrial)
	}
	return nil
}

func nodeReloadCommand() *cobra.Command {
	var socket string
	var confirm time.Duration
	c := &cobra.Command{
		Use: "reload [FILE]", Short: "Give a running node its file again, or another one", Args: cobra.MaximumNArgs(1),
		Long: `Has a running node read its node file again, or FILE. Links that are the same in both stay attached. A file that is
not valid, or cannot be had, is refused with the reason, and the node is as it was before. With --confirm it goes back to what it was unless
"janos node confirm" comes in time.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := socketOf(socket)
			if err != nil {
				return err
			}
			if err := checkConfirm(cmd, confirm); err != nil {
				return err
			}
			r := control.Reload{Confirm: confirm}
			if len(args) > 0 {
				if r.File, err = filepath.Abs(args[0]); err != nil {
					return errs.New(errs.Invalid, "%s: %w", args[0], err)
				}
			}
			if err := control.Dial(path).Reload(cmd.Context(), r); err != nil {
				return err
			}
			if confirm > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "reloaded; it is undone in %v unless it is confirmed: janos node confirm --control %s\n", confirm, path)
				return nil
			}
			fmt.Fprintln(cmd.OutOrStdout(), "reloaded")
			return nil
		},
	}
	c.Flags().StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	confirmFlag(c, &confirm)
	return c
}

func nodeConfirmCommand() *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use: "confirm", Short: "Keep the start or the reload that would be undone", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := socketOf(socket)
			if err != nil {
				return err
			}
			t, err := control.Dial(path).Confirm(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "confirmed: the %s stays; it would have been undone in %v\n", t.What, t.Left.Round(time.Second))
			return nil
		},
	}
	c.Flags().StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	return c
}

func nodePrintCommand() *cobra.Command {
	return &cobra.Command{
		Use: "print FILE", Short: "Print a node file as it is understood, with its graph", Args: cobra.ExactArgs(1),
		Long: `Prints the node that a file describes as a node file: what was left to defaults stays out, and the graph that is generated is in.
Read again it is the same node.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := node.Load(args[0])
			if err == nil {
				err = spec.CheckGraph()
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), spec.Text())
			return err
		},
	}
}

func nodeValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE...", Short: "Check node files without running anything", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var first error
			for _, f := range args {
				spec, err := node.Load(f)
				if err == nil {
					err = errors.Join(spec.CheckGraph(), spec.CheckProtocols())
				}
				if err != nil {
					fmt.Fprintln(cmd.ErrOrStderr(), err)
					first = errs.New(errs.KindOf(err), "%s is not valid", f)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", f)
			}
			return first
		},
	}
}

func nodeGraphCommand() *cobra.Command {
	return &cobra.Command{
		Use: "graph FILE", Short: "Print the element graph of a node file, generated if the file has none", Args: cobra.ExactArgs(1),
		Long: `Prints the configuration of the node's data plane in Click's language. Change it and put it under
"graph: |" in the node file to run yours.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := node.Load(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), spec.GraphText())
			return err
		},
	}
}

func nodeSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print what a node file may contain", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), node.Schema)
			return err
		},
	}
}

// socketOf finds a node's control socket: the path given, or JANOS_CONTROL.
func socketOf(flag string) (string, error) {
	if flag == "" {
		flag = os.Getenv("JANOS_CONTROL")
	}
	if flag == "" {
		return "", errs.New(errs.Invalid, "which node? give --control PATH or set JANOS_CONTROL to its control socket; in a laboratory: janos lab exec NODE janos ...")
	}
	return flag, nil
}
