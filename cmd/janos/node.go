package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	_ "github.com/janos-os/janos/channels/all" // the link drivers
	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/node"
)

func nodeCommand() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Run a node, check a node file, print its graph"}
	c.AddCommand(nodeRunCommand(), nodeValidateCommand(), nodeGraphCommand(), nodeSchemaCommand())
	return c
}

func nodeRunCommand() *cobra.Command {
	var verbose bool
	c := &cobra.Command{
		Use: "run FILE", Short: "Run the node that FILE describes, until it is interrupted", Args: cobra.ExactArgs(1),
		Long: `Runs a node in this network namespace, on its interfaces. The interfaces stay the host's: what
no channel of the node claims goes to the host's own stack. Interrupting it gives everything back; killing
it leaves nothing behind that stops packets.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := node.Load(args[0])
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})).With("node", spec.Name)
			// A worker is locked to its thread and may hold a P through a system call: two
			// more for the control side and the collector.
			runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), max(spec.Workers, 1)+2))
			n, err := node.Start(spec, node.Env{Log: log})
			if err != nil {
				return err
			}
			defer n.Close()
			if spec.Control != "" {
				s, err := control.Serve(n, spec.Control, log)
				if err != nil {
					return err
				}
				defer s.Close()
			}
			log.Info("node is up", "address", spec.Addr, "links", len(spec.Links), "control", spec.Control)
			<-cmd.Context().Done()
			log.Info("node ends")
			return n.Close()
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return c
}

func nodeValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE...", Short: "Check node files without running anything", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var first error
			for _, f := range args {
				spec, err := node.Load(f)
				if err == nil {
					err = spec.CheckGraph()
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
