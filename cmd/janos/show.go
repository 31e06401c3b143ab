package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

func showCommand() *cobra.Command {
	var socket string
	var asJSON bool
	root := &cobra.Command{
		Use: "show", Short: "Look into a running node",
		Long: `Asks a running node over its control socket. Say which with --control or the environment variable
JANOS_CONTROL; in a laboratory "janos lab exec NODE janos show ..." sets it. With --json the answer is printed as the
node gave it.`,
	}
	root.PersistentFlags().StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	root.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")

	add := func(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, c *control.Client, args []string, out io.Writer) (any, func(w io.Writer), error)) *cobra.Command {
		c := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			path, err := socketOf(socket)
			if err != nil {
				return err
			}
			v, text, err := run(cmd.Context(), control.Dial(path), args, cmd.OutOrStdout())
			if err != nil || v == nil && text == nil {
				return err
			}
			if asJSON || text == nil {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(v)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			text(w)
			return w.Flush()
		}}
		root.AddCommand(c)
		return c
	}

	add("status", "Links, domains, channels, frames, workers", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		s, err := c.Status(ctx)
		return s, func(w io.Writer) { printStatus(w, &s) }, err
	})
	add("links", "What was tried to open each link, what runs, what is wrong", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		ls, err := c.Links(ctx)
		return ls, func(w io.Writer) { printLinks(w, ls) }, err
	})
	add("domains", "Domains: weight, bound and longest run, memory, rights, files", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		ds, err := c.Domains(ctx)
		return ds, func(w io.Writer) { printDomains(w, ds) }, err
	})
	add("pools", "Memory pools: use, limit, pressures, what is attached", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		ps, err := c.Pools(ctx)
		return ps, func(w io.Writer) { printPools(w, ps) }, err
	})
	add("jails", "Jails: worker processes, what keeps them in, how they ended", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		js, err := c.Jails(ctx)
		return js, func(w io.Writer) { printJails(w, js) }, err
	})
	add("threads", "Workers, and the runs of every task of every domain", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		s, err := c.Status(ctx)
		t := threads{s.Workers, s.Domains}
		return t, func(w io.Writer) { printThreads(w, t) }, err
	})
	add("config", "The node file, as the node has it now", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, out io.Writer) (any, func(io.Writer), error) {
		t, err := c.Config(ctx)
		return t, func(io.Writer) { io.WriteString(out, t) }, err
	})
	channels := add("channels", "In-, out- and cut-through channels: who has them, what does them, what they dropped", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		cs, err := c.Channels(ctx)
		return cs, func(w io.Writer) { printChannels(w, cs) }, err
	})
	channels.Long = channelsHelp
	add("accounts", "The account tree: use, limit and refusals of each resource", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		as, err := c.Accounts(ctx)
		return as, func(w io.Writer) { printAccounts(w, as) }, err
	})
	add("routes", "Neighbours, and routes to nodes and prefixes", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		r, err := c.Routes(ctx)
		if err != nil {
			return nil, nil, err
		}
		s, err := c.Status(ctx) // for the node's time
		return r, func(w io.Writer) {
			fmt.Fprintf(w, "node %s, table %d\n", r.Node, r.Version)
			fmt.Fprintln(w, "neighbour\tlink\taddress\tused\tlast hello ago")
			for _, n := range r.Neighbours {
				fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%.3fs\n", n.Node, n.LinkName, n.IP, n.Adjacent, max(0, s.Now.Sub(n.LastHello)).Seconds())
			}
			fmt.Fprintln(w, "\nroute to\tcost\tvia\tlink")
			for _, n := range r.Nodes {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", n.Node, n.Cost, n.Via.Node, n.Via.LinkName)
			}
			for _, p := range r.Prefixes {
				if p.Via == nil {
					fmt.Fprintf(w, "%s\t0\there\t\n", p.Prefix)
					continue
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Prefix, p.Cost, p.Via.Node, p.Via.LinkName)
			}
		}, err
	})
	add("ants", "Protocols, counters and drops of the ANTS execution environment", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		a, err := c.ANTS(ctx)
		return a, func(w io.Writer) { printANTS(w, &a) }, err
	})
	kills := add("kills", "Which capsules were killed, where and why", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		a, err := c.ANTS(ctx)
		return a.LastKills, func(w io.Writer) {
			fmt.Fprintf(w, "%d kills on node %s; the last %d:\n", a.Kills, a.Node, len(a.LastKills))
			fmt.Fprintln(w, "time\tdomain\tclass\treason\tfuel\tfunction\tbyte\tfrom")
			for _, k := range a.LastKills {
				fmt.Fprintf(w, "%.3fs\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", k.Time.Seconds(), last(k.Domain), k.Class, k.Reason, k.Fuel, place("%d", k.Func), place("0x%x", k.Offset), k.Src)
			}
		}, err
	})
	kills.Long = `Prints the last evaluations that ended in a fault: when (of the node's clock), in which domain (show accounts has its account, unless it
was ended for its faults), why, the fuel used until then, the place in the module, and the node that sent the capsule. "janos capsule run" evaluates
the same module and names the same place.`
	var format string
	graph := add("graph", "The element graph that runs: its configuration, or a drawing", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, out io.Writer) (any, func(io.Writer), error) {
		g, err := c.Graph(ctx)
		if err == nil {
			g, err = drawGraph(format, g)
		}
		return g, func(w io.Writer) { io.WriteString(out, g) }, err
	})
	graph.Flags().StringVar(&format, "format", "config", "config, text (ports and where they lead), dot (for graphviz) or svg")
	graph.Example = "  janos show graph --format svg > graph.svg"
	var over time.Duration
	rt := add("runtime", "Packets, bytes, drops and time of each element, in an interval", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, _ io.Writer) (any, func(io.Writer), error) {
		g, err := runtimeOnce(ctx, c, over)
		return g, func(w io.Writer) { printRuntime(w, &g, false) }, err
	})
	rt.Flags().DurationVar(&over, "for", time.Second, "how long to count")
	rt.Long = `Counts for a while what goes through each element of the graph, and prints it. Nothing is counted at other times, except
drops and runs of tasks. Time is what was spent in an element without what it called of others; counting itself adds
about 0.1 us to each call.`
	handler := add("handler ELEMENT.HANDLER [VALUE]", "Read a handler of the element graph, or write it", cobra.RangeArgs(1, 2), func(ctx context.Context, c *control.Client, args []string, out io.Writer) (any, func(io.Writer), error) {
		if len(args) == 2 {
			return nil, nil, c.WriteHandler(ctx, args[0], args[1])
		}
		v, err := c.ReadHandler(ctx, args[0])
		return v, func(io.Writer) { fmt.Fprintln(out, strings.TrimSuffix(v, "\n")) }, err
	})
	handler.Example = "  janos show handler list\n  janos show handler ants.handlers"
	var follow bool
	var kind string
	var count int
	events := add("events", "What happens on the node, as JSON lines", cobra.NoArgs, func(ctx context.Context, c *control.Client, _ []string, out io.Writer) (any, func(io.Writer), error) {
		if count < 0 {
			return nil, nil, errs.New(errs.Invalid, "--count %d: want 0 or more", count)
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		printed := 0
		return nil, nil, c.Events(ctx, 0, follow, func(line []byte) error {
			if kind != "" {
				var e struct{ Kind string }
				if err := json.Unmarshal(line, &e); err != nil {
					return errs.New(errs.Corrupt, "event: %w", err)
				}
				if e.Kind != kind {
					return nil
				}
			}
			if printed++; count > 0 && printed >= count {
				defer stop()
				if printed > count {
					return nil
				}
			}
			_, err := fmt.Fprintf(out, "%s\n", line)
			return err
		})
	})
	events.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	events.Flags().StringVar(&kind, "kind", "", "only events of this kind, such as capsule-killed")
	events.Flags().IntVar(&count, "count", 0, "end after so many; with --follow: wait for so many (default: all)")
	events.Example = "  janos show events\n  janos show events --follow --kind load-completed --count 1"
	return root
}

// last returns the last part of a domain's path, under which show accounts lists it.
func last(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// place writes a place in a module, which is negative where it is not known.
func place(format string, n int) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprintf(format, n)
}

func printStatus(w io.Writer, s *control.Status) {
	fmt.Fprintf(w, "%s %s, address %s, process %d\n", s.Kind, s.Node, s.Address, s.PID)
	if t := s.Trial; t != nil {
		fmt.Fprintf(w, "the %s is undone in %v unless it is confirmed (janos node confirm)\n", t.What, t.Left.Round(time.Second))
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "link\tdriver\taddresses\treceived\tsent\tdropped\tunclaimed")
	for _, l := range s.Links {
		fmt.Fprintf(w, "%s\t%s\t%v\t%d\t%d\t%d\t%d\n", l.Name, l.Driver, l.Prefixes, l.Stats.RxPackets, l.Stats.TxPackets, l.Stats.RxDrops+l.Stats.TxDrops, l.Stats.Unclaimed)
		for _, n := range l.Notes {
			fmt.Fprintf(w, "\t%s\t\t\t\t\t\n", n)
		}
	}
	fmt.Fprintln(w, "\ndomain\tstate\ttask\truns\tpackets\ttime")
	for _, d := range s.Domains {
		fmt.Fprintf(w, "%s\t%s\t\t\t\t\n", d.Path, d.State)
		for _, t := range d.Tasks {
			fmt.Fprintf(w, "\t\t%s\t%d\t%d\t%s\n", t.Name, t.Runs, t.Packets, t.Time.Round(time.Microsecond))
		}
	}
	fmt.Fprintln(w, "\nchannel\tdomain\tpackets\theld\tfull\tpoor")
	for _, c := range s.Channels {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", c.Protocol, c.Domain, c.Stats.Packets, c.Stats.Held, c.Stats.Full, c.Stats.Poor)
	}
	fmt.Fprint(w, "\nframes")
	var states []string
	for st := range s.Frames {
		states = append(states, st)
	}
	sort.Strings(states)
	for _, st := range states {
		fmt.Fprintf(w, " %s %d", st, s.Frames[st])
	}
	fmt.Fprintln(w)
}

func printAccounts(w io.Writer, as []control.Account) {
	fmt.Fprintln(w, "account\tshare\tcpu\tfuel\tmemory\tframes\tloads\trefused")
	for _, a := range as {
		name := strings.Repeat("  ", strings.Count(a.Path, "/")) + last(a.Path)
		of := func(r resctl.Resource) string {
			u := a.Usage[r.String()]
			text := fmt.Sprint(u.Use)
			if r == resctl.CPU {
				text = time.Duration(u.Use).Round(time.Microsecond).String()
			}
			switch {
			case u.Limit == resctl.Nothing:
				text += "/none"
			case u.Limit != 0:
				text += fmt.Sprintf("/%d", u.Limit)
			}
			return text
		}
		var drops uint64
		for _, u := range a.Usage {
			drops += u.Drops
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%d\n", name, a.Share, of(resctl.CPU), of(resctl.Fuel), of(resctl.Memory), of(resctl.Frames), of(resctl.CodeLoads), drops)
	}
}

func printANTS(w io.Writer, a *control.ANTS) {
	c := a.Counts
	fmt.Fprintf(w, "node %s: received %d, injected %d, evaluated %d, forwarded %d, delivered %d, killed %d\n", a.Node, c.Received, c.Injected, c.Evaluated, c.Forwarded, c.Delivered, a.Kills)
	fmt.Fprintf(w, "loads: begun %d, done %d, failed %d; served %d chunks in %d answers\n\n", c.Loads, c.LoadsDone, c.LoadsFailed, c.ChunksOut, c.Served)
	fmt.Fprintln(w, "protocol\tclass\tdomain\tstate\tevaluated\tforwarded\tdelivered\tfaults\tfuel\tengine")
	for _, p := range a.Protocols {
		fmt.Fprintf(w, "%s\t\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t\n", p.Name, last(p.Domain), p.State, p.Counts.Evaluated, p.Counts.Forwarded, p.Counts.Delivered, p.Counts.Faults, p.Counts.Fuel)
		for _, cl := range p.Classes {
			engine := "interpreted"
			if cl.Compiled {
				engine = "compiled"
			}
			if p.Jail != "" {
				engine = "jail " + p.Jail
			}
			fmt.Fprintf(w, "\t%s\t\t\t%d\t%d\t%d\t%d\t%d\t%s\n", cl.Name, cl.Counts.Evaluated, cl.Counts.Forwarded, cl.Counts.Delivered, cl.Counts.Faults, cl.Counts.Fuel, engine)
		}
	}
	if len(a.Drops) > 0 {
		fmt.Fprintln(w, "\ndropped\tcapsules")
		var causes []string
		for d := range a.Drops {
			causes = append(causes, d)
		}
		sort.Strings(causes)
		for _, d := range causes {
			fmt.Fprintf(w, "%s\t%d\n", d, a.Drops[d])
		}
	}
}
