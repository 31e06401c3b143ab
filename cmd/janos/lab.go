package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/nodes"
)

func labCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "lab", Short: "Laboratory networks: build, play, look into, take down",
		Long: `A laboratory network is described by a topology file: hosts, routers, links with their delay, loss and
rate, capsule protocols, and what happens when. As root every node is a network namespace (ip netns shows them)
with a process of its own; as an ordinary user the same happens in a user namespace; and with
"run --virtual" all of it in this process, under a virtual clock, the same every time.

  janos lab up examples/first-network/lab.yaml --detach
  janos lab status
  janos lab exec s1 ip route
  janos lab down`,
	}
	c.AddCommand(labValidateCommand(), labSchemaCommand(), labRunCommand())
	c.AddCommand(labSystemCommands()...)
	return c
}

func labValidateCommand() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use: "validate FILE...", Short: "Check topology files without building anything", Args: cobra.MinimumNArgs(1),
		Long: `Checks topology files and prints every error with its place. With --plan it prints what would be
built: names, addresses and links.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var first error
			for _, f := range args {
				t, err := loadTopology(cmd, f)
				var p *lab.Plan
				if err == nil {
					p, err = t.Plan()
				}
				switch {
				case err != nil:
					fmt.Fprintln(cmd.ErrOrStderr(), err)
					if first == nil {
						first = errs.New(errs.KindOf(err), "%s is not valid", f)
					}
				case show:
					printPlan(cmd.OutOrStdout(), p)
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok, %d nodes, %d links\n", f, len(p.Nodes), len(p.Links))
				}
			}
			return first
		},
	}
	c.Flags().BoolVar(&show, "plan", false, "print what would be built")
	return c
}

func labSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print what a topology file may contain", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), lab.Schema)
			return err
		},
	}
}

// loadTopology loads a file and shows its warnings.
func loadTopology(cmd *cobra.Command, file string) (*lab.Topology, error) {
	t, err := lab.Load(file)
	if err != nil {
		return nil, err
	}
	for _, w := range t.Warnings() {
		fmt.Fprintln(cmd.ErrOrStderr(), w)
	}
	return t, nil
}

func printPlan(out io.Writer, p *lab.Plan) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "node\tkind\taddress\tinterface\taddress there\tto\tlink")
	for _, n := range p.Nodes {
		for i, f := range n.Interfaces {
			name, kind, addr := n.Name, n.Kind.String(), n.Addr.String()
			if i > 0 {
				name, kind, addr = "", "", ""
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, kind, addr, f.Name, f.Prefix, f.Peer, p.Links[f.Link].Name)
		}
		if len(n.Interfaces) == 0 {
			fmt.Fprintf(w, "%s\t%s\t%s\t-\t\t\t\n", n.Name, n.Kind, n.Addr)
		}
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\nlink\tdelay\tloss\trate\tqueue\tMTU\t")
	for _, l := range p.Links {
		rate := "-"
		if l.Impair.Rate > 0 {
			rate = l.Impair.Rate.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%g\t%s\t%d\t%d\t\n", l.Name, l.Impair.Delay, l.Impair.Loss, rate, l.Impair.Queue, l.MTU)
	}
	w.Flush() // errors of standard output are found by the shell
}

// stateUsage says what --state is.
const stateUsage = "directory for the state of labs (default $JANOS_LAB_STATE, or /run/janos for root)"

// runFlags are the flags of `lab run`.
type runFlags struct {
	virtual bool
	inside  bool
	seed    uint64
	events  string
	asJSON  bool
	state   string
}

func labRunCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run FILE", Short: "Build a network, play its actions, take it down", Args: cobra.ExactArgs(1),
		Long: `Builds the network, waits until the nodes have found each other, carries the actions of the topology out at
their times, and takes the network down. It fails if an action does.

With --one-process all nodes run in this process and links are memory: no privileges are needed, and the hosts have no
stacks of their own. With --virtual nothing of the kernel is used: all nodes run in this process under a virtual clock, as fast as the
machine can. Two runs of one topology with one seed write the same event log, to the byte.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := loadTopology(cmd, args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("seed") {
				t.Seed = f.seed
			}
			if f.virtual || f.inside {
				return runInside(cmd, t, &f)
			}
			return runReal(cmd, t, &f)
		},
	}
	c.Flags().BoolVar(&f.virtual, "virtual", false, "in one process, under a virtual clock")
	c.Flags().BoolVar(&f.inside, "one-process", false, "in one process, under the machine's clock")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "seed of all randomness (default the topology's)")
	c.Flags().StringVar(&f.events, "events", "", "write the event log to this file (default standard output with --virtual and --one-process)")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print events as JSON")
	c.Flags().StringVar(&f.state, "state", "", stateUsage)
	return c
}

// runInside plays a network in this process, under a virtual clock or the machine's.
func runInside(cmd *cobra.Command, t *lab.Topology, f *runFlags) (err error) {
	p, err := t.Plan()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.events != "" {
		file, err := os.Create(f.events)
		if err != nil {
			return errs.New(errs.Permission, "event log: %w", err)
		}
		defer func() {
			if e := file.Close(); err == nil {
				err = e
			}
		}()
		out = file
	}
	var s *nodes.Sim
	log, kind := bufio.NewWriter(out), "virtual"
	if f.virtual {
		s, err = nodes.NewSim(p, log)
	} else {
		kind = "real"
		s, err = nodes.NewLive(p, out) // line by line, for those who watch
	}
	if err != nil {
		return err
	}
	err = s.Play()
	if e := s.Close(); err == nil {
		err = e
	}
	if e := log.Flush(); err == nil {
		err = e
	}
	if err == nil && f.events != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "lab %s: %.3f s of %s time, %d nodes, seed %d, events in %s\n", p.Name, s.Now().Seconds(), kind, len(p.Nodes), p.Seed, f.events)
	}
	return err
}

// printEvents returns a function that prints events as they happen.
func printEvents(out io.Writer, asJSON bool) func(lab.Event) {
	return func(e lab.Event) {
		if asJSON {
			b, _ := json.Marshal(e) // plain fields: cannot fail
			fmt.Fprintln(out, string(b))
			return
		}
		fmt.Fprintln(out, strings.TrimRight(e.String(), "\n"))
	}
}
