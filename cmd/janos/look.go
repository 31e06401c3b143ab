package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements" // for what is known of classes
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/click/tool"
	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
)

// drawGraph writes a configuration in one of the formats of show graph.
func drawGraph(format, config string) (string, error) {
	if format == "config" {
		return config, nil
	}
	g, err := lang.ParseGraph("graph", config, lang.Options{IsClass: tool.Known})
	if err != nil {
		return "", err
	}
	switch format {
	case "text":
		return tool.Outline(g), nil
	case "dot":
		return tool.DOT(g, nil), nil
	case "svg":
		return tool.SVG(g), nil
	}
	return "", errs.New(errs.Invalid, "--format %s: want config, text, dot or svg", format)
}

// printRuntime writes a line for each element. busy puts those first in which most time is spent.
func printRuntime(w io.Writer, g *control.GraphRuntime, busy bool) {
	els := append([]click.ElementCounts(nil), g.Elements...)
	if busy {
		sort.SliceStable(els, func(i, j int) bool { return els[i].Time > els[j].Time })
	}
	var total time.Duration
	for i := range els {
		total += els[i].Time
	}
	fmt.Fprintf(w, "over %v; %v in elements\n", g.Over.Round(time.Millisecond), total.Round(time.Microsecond))
	fmt.Fprintln(w, "element\tclass\tin\tout\tpackets/s\tMbit/s\tdrops\truns\ttime\tns/packet\tshare")
	for i := range els {
		e := &els[i]
		in, out := sum(e.In), sum(e.Out)
		most := in
		if out.Packets > in.Packets {
			most = out
		}
		each, share := "-", "-"
		if most.Packets > 0 {
			each = fmt.Sprintf("%.0f", float64(e.Time)/float64(most.Packets))
		}
		if total > 0 {
			share = fmt.Sprintf("%.1f%%", 100*float64(e.Time)/float64(total))
		}
		s := g.Over.Seconds()
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.0f\t%.3f\t%d\t%d\t%v\t%s\t%s\n", e.Name, e.Class, in.Packets, out.Packets, float64(most.Packets)/s, float64(most.Bytes)*8/1e6/s,
			e.Drops, e.Runs, e.Time.Round(time.Microsecond), each, share)
	}
}

func sum(ports []click.PortCounts) (t click.PortCounts) {
	for _, p := range ports {
		t.Packets += p.Packets
		t.Bytes += p.Bytes
		t.Calls += p.Calls
	}
	return t
}

// controlled gives a command the flag that says which node it asks.
func controlled(c *cobra.Command, run func(cmd *cobra.Command, c *control.Client, args []string) error) *cobra.Command {
	var socket string
	c.Flags().StringVar(&socket, "control", "", "control socket of the node (default $JANOS_CONTROL)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := socketOf(socket)
		if err != nil {
			return err
		}
		return run(cmd, control.Dial(path), args)
	}
	return c
}

func traceCommand() *cobra.Command {
	var count int
	var from string
	var asJSON bool
	c := controlled(&cobra.Command{
		Use: "trace", Short: "Follow the next packets through the element graph", Args: cobra.NoArgs,
		Long: `Prints the way of the next packets through the element graph: each element that they come to, and their headers there.
Packets are followed from where they come into being or, with --from, from a port of an element: ELEMENT[PORT] is an output,
[PORT]ELEMENT an input. Copies that elements make have a number behind a dot. It ends when all packets have begun and
none has moved for a second. Other packets take longer meanwhile.`,
		Example: "  janos trace --count 3\n  janos trace --from 'rt[1]' --json",
	}, func(cmd *cobra.Command, c *control.Client, _ []string) error {
		if count < 1 {
			return errs.New(errs.Invalid, "--count %d: want at least 1", count)
		}
		out := cmd.OutOrStdout()
		e := json.NewEncoder(out)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		defer w.Flush()
		began := 0
		err := c.Trace(cmd.Context(), count, from, func(t control.TraceLine) error {
			if asJSON {
				return e.Encode(t)
			}
			if t.Step == nil {
				fmt.Fprintf(w, "%d steps were lost\n", t.Lost)
				return nil
			}
			began = max(began, t.Packet)
			name := fmt.Sprint(t.Packet)
			if t.Copy > 0 {
				name += fmt.Sprintf(".%d", t.Copy)
			}
			fmt.Fprintf(w, "%s\t%.6fs\t%s\t%d bytes\t%s\n", name, t.After.Seconds(), stepOf(&t), t.Length, t.Headers)
			return nil
		})
		if err == nil && began < count && !asJSON && cmd.Context().Err() == nil {
			w.Flush()
			return errs.New(errs.Dead, "the graph ended after %d of %d packets", began, count)
		}
		return err
	})
	c.Flags().IntVarP(&count, "count", "n", 1, "packets to follow")
	c.Flags().StringVar(&from, "from", "", "follow packets from this port on")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	return c
}

func stepOf(t *control.TraceLine) string {
	s := t.From
	if t.FromPort > 0 {
		s += fmt.Sprintf("[%d]", t.FromPort)
	}
	s += " -> "
	if t.ToPort > 0 {
		s += fmt.Sprintf("[%d]", t.ToPort)
	}
	return s + t.To
}

func tcpdumpCommand() *cobra.Command {
	var count, snap int
	var file string
	c := controlled(&cobra.Command{
		Use: "tcpdump ELEMENT[PORT]", Short: "Capture the packets at a port of the element graph", Args: cobra.ExactArgs(1),
		Long: `Writes the packets that leave an output, ELEMENT[PORT], or come to an input, [PORT]ELEMENT, in the format pcapng, to standard output or a file, until
interrupted. A name alone is output 0, or input 0 of an element without outputs. Packets that come faster than they can be written are left out.`,
		Example: "  janos tcpdump 'rt[1]' | tcpdump -n -r -\n  janos tcpdump '[0]arp' --count 100 --write arp.pcapng",
	}, func(cmd *cobra.Command, c *control.Client, args []string) error {
		if count < 0 || snap < 0 {
			return errs.New(errs.Invalid, "--count and --snap: want 0 or more")
		}
		out := cmd.OutOrStdout()
		if file != "" && file != "-" {
			f, err := os.Create(file)
			if err != nil {
				return errs.New(errs.Invalid, "%w", err)
			}
			defer f.Close()
			out = f
		}
		return c.Capture(cmd.Context(), args[0], count, snap, out)
	})
	c.Flags().IntVarP(&count, "count", "c", 0, "end after so many packets (default: when interrupted)")
	c.Flags().IntVarP(&snap, "snap", "s", 0, "bytes of each packet (default: all)")
	c.Flags().StringVarP(&file, "write", "w", "", "file to write (default: standard output)")
	return c
}

func monitorCommand() *cobra.Command {
	var every time.Duration
	var count, lines int
	c := controlled(&cobra.Command{
		Use: "monitor", Short: "Watch what the elements of the graph do", Args: cobra.NoArgs,
		Long: `Prints, again and again, what the elements of the graph did in the last interval, those first in which most time was spent. On a terminal each table
takes the place of the one before. Packets take longer meanwhile.`,
		Example: "  janos monitor --every 2s --lines 20",
	}, func(cmd *cobra.Command, c *control.Client, _ []string) error {
		out := cmd.OutOrStdout()
		return c.GraphRuntime(cmd.Context(), every, count, func(g control.GraphRuntime) error {
			if terminal(out) {
				io.WriteString(out, "\x1b[H\x1b[2J")
			}
			var b strings.Builder
			w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
			printRuntime(w, &g, true)
			w.Flush()
			rows := strings.SplitAfter(b.String(), "\n")
			if lines > 0 && len(rows) > lines+2 {
				rows = rows[:lines+2]
			}
			_, err := fmt.Fprintln(out, strings.Join(rows, ""))
			return err
		})
	})
	c.Flags().DurationVar(&every, "every", time.Second, "interval")
	c.Flags().IntVar(&count, "count", 0, "end after so many intervals (default: when interrupted)")
	c.Flags().IntVar(&lines, "lines", 0, "print so many elements (default: all)")
	return c
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}

// runtimeOnce is one interval of show runtime.
func runtimeOnce(ctx context.Context, c *control.Client, every time.Duration) (g control.GraphRuntime, err error) {
	got := false
	err = c.GraphRuntime(ctx, every, 1, func(r control.GraphRuntime) error { g, got = r, true; return nil })
	if err == nil && !got && ctx.Err() == nil {
		err = errs.New(errs.Dead, "the graph ended")
	}
	return g, err
}
