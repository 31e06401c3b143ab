package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/bench"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "bench", Short: "Measure packet rates and costs so that they can be defended",
		Long: `Measures scenarios side by side, interleaved in rounds: a warm-up and at least five that count. What is printed is the median with the least
and the greatest; ratios are computed within a round. The report names the machine, what else ran on it, and a yardstick
loop of the same run, so that figures of different machines can be set against each other.

docs/benchmarks.md explains how to read it.`,
	}
	c.AddCommand(benchListCommand(), benchRunCommand(), benchCompareCommand())
	return c
}

func benchListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the scenarios", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type line struct {
				Name   string `json:"name"`
				Tier   string `json:"tier"`
				Driver string `json:"driver,omitempty"`
				Root   bool   `json:"root"`
				Title  string `json:"title"`
				Text   string `json:"text"`
			}
			lines := []line{}
			for _, s := range bench.Scenarios() {
				lines = append(lines, line{s.Name, s.Tier, s.Driver, s.Root, s.Title, s.Text})
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(lines)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, l := range lines {
				needs := ""
				if l.Root {
					needs = " (root)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s%s\n", l.Name, l.Tier, l.Title, needs)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with what exactly is measured")
	return c
}

func benchRunCommand() *cobra.Command {
	var file, to string
	o := bench.Options{}
	c := &cobra.Command{
		Use: "run NAME...", Short: "Measure scenarios, a tier of them, or all", Args: cobra.MinimumNArgs(1),
		Long: `Measures the named scenarios; the name of a tier (memory, socket, kernel) stands for its scenarios, and "all" for all.

With --in and --out, packet-l2fwd and xdp-l2fwd make no network of their own: they send by the first interface and expect the frames at the
second, and what lies between them - a cable, a switch, a router on another machine - is what is measured. The frames carry UDP packets
from 10.0.0.2 to 10.0.1.2. Loopback, and interfaces that a default route goes by, are refused without --force. Nothing of the interfaces
stays changed.

A round is measured again where other programs had more than a tenth of the machine meanwhile, in up to half as many cases as there are rounds.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			list, err := bench.Select(names)
			if err != nil {
				return err
			}
			mac, err := net.ParseMAC(to)
			if err != nil || len(mac) != len(o.To) {
				return errs.New(errs.Invalid, "--to: %q is no hardware address, such as 02:00:00:00:0a:02", to)
			}
			copy(o.To[:], mac)
			o.Clock, o.Program = clock.NewReal(), versionText()
			if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
				o.Progress = func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), "\r\033[K"+format, args...) }
				defer fmt.Fprint(cmd.ErrOrStderr(), "\r\033[K")
			}
			var out *os.File
			if file != "" { // before the work: a name that cannot be written should not cost minutes
				if out, err = os.Create(file); err != nil {
					return errs.New(errs.Invalid, "--json: %w", err)
				}
				defer out.Close()
			}
			rep, err := bench.Run(cmd.Context(), list, o)
			if rep == nil {
				if out != nil {
					_ = os.Remove(file)
				}
				return err
			}
			if o.Progress != nil {
				o.Progress("")
			}
			if werr := rep.Text(cmd.OutOrStdout()); err == nil {
				err = werr
			}
			if out != nil {
				if werr := rep.Encode(out); err == nil {
					err = werr
				}
			}
			if err == nil && rep.Skipped() == len(rep.Results) {
				err = errs.New(errs.NotSupported, "nothing could be measured here: %s", rep.Results[0].Skipped)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&file, "json", "", "write the report as JSON to `FILE`")
	f.IntVar(&o.Reps, "reps", 0, "rounds that count, at least 5 (0: 5, or 2 with --quick)")
	f.DurationVar(&o.Time, "time", 0, "how long one measurement of one row takes, 1ms to 1m (0: 100ms, or 20ms with --quick)")
	f.Uint64Var(&o.Seed, "seed", 1, "of all traffic")
	f.StringVar(&o.In, "in", "", "`interface` by which frames go into what is measured")
	f.StringVar(&o.Out, "out", "", "`interface` at which they come out")
	f.StringVar(&o.Click, "click", "", "`path` of a click program that runs the graphs beside ours, and forwards beside packet-l2fwd")
	f.BoolVar(&o.Force, "force", false, "take --in and --out even if the host itself needs them")
	f.BoolVar(&o.Quick, "quick", false, "two short rounds, to see that the scenarios work here: no figure of it is publishable")
	f.StringVar(&to, "to", "02:00:00:00:0a:02", "with --in: hardware `address` that frames are sent to, for devices that look at it")
	return c
}

func benchCompareCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "compare A B", Short: "Set two JSON reports beside each other", Args: cobra.ExactArgs(2),
		Long: `Prints for each metric that both reports have the medians, B through A, and whether the ranges from least to greatest overlap. Where they
do, no difference is shown, whatever the medians say.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := bench.ReadReport(args[0])
			if err != nil {
				return err
			}
			b, err := bench.ReadReport(args[1])
			if err != nil {
				return err
			}
			cmp := bench.Compare(a, b)
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(cmp)
			}
			return cmp.Text(cmd.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
