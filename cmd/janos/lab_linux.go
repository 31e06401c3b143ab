package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/nodes"
	"github.com/janos-os/janos/lab/traffic"
	"github.com/janos-os/janos/lab/wire"
	"github.com/janos-os/janos/linkmodel"
)

// labSystemCommands are those that need Linux.
func labSystemCommands() []*cobra.Command {
	return []*cobra.Command{
		labUpCommand(), labStatusCommand(), labExecCommand(), labLogsCommand(), labEventsCommand(), labDoCommand(), labCountersCommand(),
		labDownCommand(), labHelper("wire", func(args []string) int { return wire.Main(args, os.Stdin, os.Stdout, os.Stderr) }),
		labHelper("probe", func([]string) int { return lab.ProbeMain(os.Stderr) }), traffic.Command(),
	}
}

// labHelper is a command that the lab itself starts.
func labHelper(name string, run func(args []string) int) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		Run: func(_ *cobra.Command, args []string) { os.Exit(run(args)) },
	}
}

// self is the command line of this program.
func self() ([]string, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, errs.New(errs.NotSupported, "this program's own file: %w", err)
	}
	return []string{path}, nil
}

// inBestForm arranges that this program builds networks in the best form that the machine allows: it returns done if it has
// run this very command in a user namespace, whose exit code is then in err.
func inBestForm(cmd *cobra.Command) (form lab.Form, done bool, err error) {
	form, _, done, err = formOf(cmd)
	return form, done, err
}

// formOf is inBestForm that also tells why there is no better form.
func formOf(cmd *cobra.Command) (form lab.Form, why string, done bool, err error) {
	form, why = lab.BestForm(nil)
	if form != lab.UserNamespace {
		if form == lab.OneProcess {
			fmt.Fprintf(cmd.ErrOrStderr(), "no network namespaces here (%s)\n", why)
		}
		return form, why, false, nil
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: building the network in a user namespace; only janos lab reaches it\n", why)
	me, err := self()
	if err != nil {
		return form, why, true, err
	}
	c := exec.Command(me[0], os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
	lab.InUserNamespace(c)
	runtime.LockOSThread() // the process inside dies with this thread
	defer runtime.UnlockOSThread()
	if err := c.Start(); err != nil {
		return form, why, true, errs.New(errs.NotSupported, "user namespace: %w", err)
	}
	// A terminal's interrupt reaches the process inside by itself; what is sent to this one alone is passed on.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				_ = c.Process.Signal(s)
			case <-ended:
				return
			}
		}
	}()
	err = c.Wait()
	close(ended)
	var ee *exec.ExitError
	if errors.As(err, &ee) && ee.ExitCode() > 0 {
		os.Exit(ee.ExitCode()) // it has said why
	}
	return form, why, true, err
}

func runReal(cmd *cobra.Command, t *lab.Topology, f *runFlags) error {
	form, done, err := inBestForm(cmd)
	if done || err != nil {
		return err
	}
	if form == lab.OneProcess {
		fmt.Fprintln(cmd.ErrOrStderr(), "running in one process, without the hosts' own stacks")
		return runInside(cmd, t, f)
	}
	show := printEvents(cmd.OutOrStdout(), f.asJSON)
	if f.events != "" {
		file, err := os.Create(f.events)
		if err != nil {
			return errs.New(errs.Permission, "event log: %w", err)
		}
		defer file.Close()
		screen, log := show, printEvents(file, true)
		show = func(e lab.Event) { screen(e); log(e) }
	}
	l, err := build(cmd.Context(), t, f.state, show)
	if err != nil {
		return err
	}
	return errors.Join(play(cmd.Context(), l), l.Down())
}

// routesPatience is how long nodes may take to find each other.
const routesPatience = 30 * time.Second

// play waits for routes and carries the actions out.
func play(ctx context.Context, l *lab.Lab) error {
	if err := awaitRoutes(ctx, l); err != nil {
		return err
	}
	return l.Play(ctx)
}

func awaitRoutes(ctx context.Context, l *lab.Lab) error {
	ctx, cancel := context.WithTimeout(ctx, routesPatience)
	defer cancel()
	s := l.Status()
	return nodes.AwaitRoutes(ctx, &s)
}

// build brings a network up.
func build(ctx context.Context, t *lab.Topology, state string, show func(lab.Event)) (*lab.Lab, error) {
	me, err := self()
	if err != nil {
		return nil, err
	}
	p, err := t.Plan()
	if err != nil {
		return nil, err
	}
	opt := nodes.Options(p, me)
	opt.StateDir, opt.Event = state, show
	return lab.Up(ctx, t, opt)
}

func labUpCommand() *cobra.Command {
	var state string
	var detach, asJSON, background bool
	c := &cobra.Command{
		Use: "up FILE", Short: "Build a network and keep it until it is interrupted or taken down", Args: cobra.ExactArgs(1),
		Long: `Builds the network, waits until the nodes have found each other, and keeps it until this command is interrupted or "janos lab down"
is called. With --detach it returns when the network is ready and a process in the background keeps it.

If the process that keeps a network is killed, its nodes die with it, and the next janos lab command removes the rest.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := loadTopology(cmd, args[0])
			if err != nil {
				return err
			}
			if detach {
				return upDetached(cmd, t, args[0], state)
			}
			form, done, err := inBestForm(cmd)
			if done || err != nil {
				return err
			}
			if form == lab.OneProcess {
				return errs.New(errs.NotSupported, "a network that stays up needs network namespaces: run as root, or allow user namespaces; janos lab run --virtual works without")
			}
			show := printEvents(cmd.OutOrStdout(), asJSON)
			if background {
				show = nil // whoever started this has gone by then
			}
			l, err := build(cmd.Context(), t, state, show)
			if err != nil {
				return err
			}
			if err := awaitRoutes(cmd.Context(), l); err != nil && cmd.Context().Err() == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: not all nodes have found each other: %v\n", err)
			}
			if background {
				fmt.Fprintln(cmd.OutOrStdout(), readyLine)
			} else {
				fmt.Fprintf(cmd.ErrOrStderr(), "lab %s is up; in another terminal: janos lab status, janos lab exec NODE COMMAND; interrupt to take it down\n", t.Name)
			}
			select {
			case <-cmd.Context().Done():
			case <-l.Done():
			}
			return l.Down()
		},
	}
	c.Flags().BoolVarP(&detach, "detach", "d", false, "return when the network is ready")
	c.Flags().BoolVar(&asJSON, "json", false, "print events as JSON")
	c.Flags().BoolVar(&background, "background", false, "")
	_ = c.Flags().MarkHidden("background") // fails only for a flag that does not exist
	stateFlag(c, &state)
	return c
}

// readyLine is what a background process says once.
const readyLine = "ready"

// upDetached starts `lab up` in a session of its own, and waits for its word.
func upDetached(cmd *cobra.Command, t *lab.Topology, file, state string) error {
	me, err := self()
	if err != nil {
		return err
	}
	msg, err := os.CreateTemp("", "janos-lab-up")
	if err != nil {
		return errs.New(errs.NotSupported, "%w", err)
	}
	defer msg.Close()
	defer os.Remove(msg.Name())
	args := []string{"lab", "up", file, "--background"}
	if state != "" {
		args = append(args, "--state", state)
	}
	c := exec.Command(me[0], args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.Stderr = msg
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return errs.New(errs.NotSupported, "%w", err)
	}
	word := make([]byte, len(readyLine))
	if _, err := io.ReadFull(out, word); err == nil && string(word) == readyLine {
		text, _ := os.ReadFile(msg.Name()) // warnings
		fmt.Fprint(cmd.ErrOrStderr(), string(text))
		fmt.Fprintf(cmd.OutOrStdout(), "lab %s is up, kept by process %d; take it down with: janos lab down %s\n", t.Name, c.Process.Pid, t.Name)
		return c.Process.Release()
	}
	err = c.Wait()
	text, _ := os.ReadFile(msg.Name()) // what can be read is shown
	fmt.Fprint(cmd.ErrOrStderr(), string(text))
	var ee *exec.ExitError
	if errors.As(err, &ee) && ee.ExitCode() > 0 {
		os.Remove(msg.Name())
		os.Exit(ee.ExitCode())
	}
	return errs.New(errs.Internal, "lab %s did not come up: %v", t.Name, err)
}

func stateFlag(c *cobra.Command, state *string) {
	c.Flags().StringVar(state, "state", "", stateUsage)
}

// optional returns the argument of a command that takes one at most, "" if there is none.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// labName finds out which lab is meant: by the name or file given, or the only one that is up.
func labName(state, given string) (string, error) {
	if given != "" {
		if filepath.Ext(given) == "" && filepath.Base(given) == given {
			return given, nil
		}
		t, err := lab.Load(given)
		if err != nil {
			return "", err
		}
		return t.Name, nil
	}
	all, err := lab.States(state)
	if err != nil {
		return "", err
	}
	switch len(all) {
	case 0:
		return "", errs.New(errs.NotFound, "no lab is up; start one with janos lab up FILE")
	case 1:
		return all[0].Name, nil
	}
	names := ""
	for _, s := range all {
		names += " " + s.Name
	}
	return "", errs.New(errs.Invalid, "several labs are up, say which:%s", names)
}

func dialLab(state, given string) (*lab.Client, error) {
	name, err := labName(state, given)
	if err != nil {
		return nil, err
	}
	return lab.Dial(state, name)
}

func labStatusCommand() *cobra.Command {
	var state string
	var asJSON bool
	c := &cobra.Command{
		Use: "status [FILE|NAME]", Short: "Show a lab that is up: nodes, processes, links and their counters", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := dialLab(state, optional(args))
			if err != nil {
				return err
			}
			defer cl.Close()
			s, err := cl.Status(cmd.Context())
			if err != nil {
				return err
			}
			links, err := cl.WireStats(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(struct {
					*lab.State
					Links []wire.LinkStats `json:"links"`
				}{s, links})
			}
			printLab(cmd.OutOrStdout(), s, links)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	stateFlag(c, &state)
	return c
}

func printLab(out io.Writer, s *lab.State, links []wire.LinkStats) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "lab %s, kept by process %d, state in %s\n\n", s.Name, s.Owner.PID, s.Dir)
	fmt.Fprintln(w, "node\tkind\taddress\tprocess\tstarts\tnamespace")
	for i, n := range s.Nodes {
		p := fmt.Sprint(n.PID)
		if n.PID == 0 {
			p = "ended: " + n.Exit
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", n.Name, s.Plan.Nodes[i].Kind, s.Plan.Nodes[i].Addr, p, n.Started, n.Space)
	}
	w.Flush()
	fmt.Fprintln(w, "\nlink\tframes\tlost\tqueue full\tundelivered\tback\tlost\tqueue full\tundelivered")
	for _, l := range links {
		a, b := l.Directions[0], l.Directions[1]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", l.Name, a.Delivered, a.Lost, a.QueueFull, a.Undelivered+a.Overflow+a.Overrun,
			b.Delivered, b.Lost, b.QueueFull, b.Undelivered+b.Overflow+b.Overrun)
	}
	w.Flush()
}

func labExecCommand() *cobra.Command {
	var state, name string
	c := &cobra.Command{
		Use: "exec NODE COMMAND [ARGUMENT...]", Short: "Run a command in a node's network namespace", Args: cobra.MinimumNArgs(2),
		Long: `Runs a command in a node's network namespace and returns its exit code. In the lab of an ordinary user
the command has no standard input. JANOS_CONTROL is set to the node's control socket.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "--" && len(args) > 2 {
				args = append(args[:1:1], args[2:]...)
			}
			cl, err := dialLab(state, name)
			if err != nil {
				return err
			}
			defer cl.Close()
			s, err := cl.Status(cmd.Context())
			if err != nil {
				return err
			}
			if c, err := nodes.Dial(s, args[0]); err == nil {
				os.Setenv("JANOS_CONTROL", c.Path())
			}
			if os.Geteuid() == 0 && !s.OwnUserNS {
				return s.Become(args[0], args[1:]) // returns only if it fails
			}
			code, err := cl.Exec(cmd.Context(), args[0], args[1:], cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err == nil && code != 0 {
				os.Exit(code)
			}
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&name, "lab", "", "name or topology file of the lab (default the only one)")
	stateFlag(c, &state)
	return c
}

func labLogsCommand() *cobra.Command {
	var state, name string
	c := &cobra.Command{
		Use: "logs [NODE...]", Short: "Print what node processes have logged",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := stateOf(state, name)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				for _, n := range s.Nodes {
					args = append(args, n.Name)
				}
			}
			for _, a := range args {
				n, err := s.FindNode(a)
				if err != nil {
					return err
				}
				if len(args) > 1 {
					fmt.Fprintf(cmd.OutOrStdout(), "== %s\n", a)
				}
				if err := copyFile(cmd.OutOrStdout(), n.Log); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&name, "lab", "", "name or topology file of the lab (default the only one)")
	stateFlag(c, &state)
	return c
}

// stateOf reads what a lab has written down; its owner need not live.
func stateOf(state, name string) (*lab.State, error) {
	n, err := labName(state, name)
	if err != nil {
		return nil, err
	}
	return lab.ReadState(state, n)
}

func copyFile(out io.Writer, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing has been written yet
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

func labEventsCommand() *cobra.Command {
	var state, node, name string
	var asJSON, follow bool
	c := &cobra.Command{
		Use: "events [FILE|NAME]", Short: "Print what has happened to a lab, or inside one of its nodes", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				name = args[0]
			}
			s, err := stateOf(state, name)
			if err != nil {
				return err
			}
			if node != "" {
				c, err := nodes.Dial(s, node)
				if err != nil {
					return err
				}
				if n := s.Node(node); n.PID == 0 {
					return copyFile(cmd.OutOrStdout(), nodes.Events(n)) // what it wrote before it ended
				}
				return c.Events(cmd.Context(), 0, follow, func(line []byte) error {
					_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", line)
					return err
				})
			}
			cl, err := lab.Dial(state, s.Name)
			if err != nil {
				return err
			}
			defer cl.Close()
			show := printEvents(cmd.OutOrStdout(), asJSON)
			return cl.Events(cmd.Context(), follow, func(e lab.Event) error { show(e); return nil })
		},
	}
	c.Flags().StringVar(&node, "node", "", "print the event log of this node (JSON lines)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the lab is down")
	stateFlag(c, &state)
	return c
}

func labDoCommand() *cobra.Command {
	var state, name string
	var loss float64
	var delay time.Duration
	var rate string
	c := &cobra.Command{
		Use: "do kill|stop|start|link-down|link-up|impair NODE|LINK", Short: "Let something happen to a lab that is up", Args: cobra.ExactArgs(2),
		Long: `What the actions of a topology file do as well, now: kill ends a node's process without a word, stop asks it to end, start starts it again;
link-down takes the carrier at both ends of a link, link-up gives it back. impair gives a link new delay, loss and rate: what is
not named there is none. Links are called by their two nodes, unless the topology names them: a-b.`,
		Example: "  janos lab do kill b\n  janos lab do link-down a-c\n  janos lab do impair a-b --delay 20ms --loss 0.01 --rate 10Mbit",
		RunE: func(cmd *cobra.Command, args []string) error {
			a := lab.Action{Do: lab.Verb(args[0]), Node: args[1]}
			switch a.Do {
			case lab.LinkDown, lab.LinkUp:
				a.Node, a.Link = "", args[1]
			case lab.Impair:
				a.Node, a.Link = "", args[1]
				a.Impair = linkmodel.Impairment{Delay: delay, Loss: loss}
				if rate != "" {
					r, err := linkmodel.ParseRate(rate)
					if err != nil {
						return errs.New(errs.Invalid, "%w", err)
					}
					a.Impair.Rate = r
				}
			case lab.Kill, lab.Stop, lab.Start:
			default:
				return errs.New(errs.Invalid, "%q is not one of kill, stop, start, link-down, link-up, impair", args[0])
			}
			cl, err := dialLab(state, name)
			if err != nil {
				return err
			}
			defer cl.Close()
			return cl.Do(cmd.Context(), a)
		},
	}
	c.Flags().StringVar(&name, "lab", "", "name or topology file of the lab (default the only one)")
	c.Flags().DurationVar(&delay, "delay", 0, "impair: delay")
	c.Flags().Float64Var(&loss, "loss", 0, "impair: loss, 0 to 1")
	c.Flags().StringVar(&rate, "rate", "", "impair: rate, such as 10Mbit")
	stateFlag(c, &state)
	return c
}

func labCountersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "counters DIR", Short: "Print the kernel's counters of every interface of a lab, as JSON", Hidden: true, Args: cobra.ExactArgs(1),
		Run: func(_ *cobra.Command, args []string) { os.Exit(lab.CountersMain(args, os.Stdout, os.Stderr)) },
	}
}

func labDownCommand() *cobra.Command {
	var state string
	c := &cobra.Command{
		Use: "down [FILE|NAME]", Short: "Take a lab down, and remove what dead ones have left", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			swept, err := lab.Sweep(state)
			for _, s := range swept {
				fmt.Fprintf(cmd.OutOrStdout(), "removed what lab %s had left\n", s)
			}
			if err != nil {
				return err
			}
			name, err := labName(state, optional(args))
			if err != nil {
				if len(swept) > 0 && errs.KindOf(err) == errs.NotFound {
					return nil
				}
				return err
			}
			cl, err := lab.Dial(state, name)
			if err != nil {
				for _, s := range swept {
					if s == name {
						return nil
					}
				}
				return err
			}
			defer cl.Close()
			if err := cl.Down(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %s is down\n", name)
			return nil
		},
	}
	stateFlag(c, &state)
	return c
}
