package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/internal/probe"
	"github.com/janos-os/janos/nodeos"
)

// doctorReport is what doctor --json prints.
type doctorReport struct {
	Version string         `json:"version"`
	Drivers []string       `json:"drivers"` // for links, in this binary
	Results []probe.Result `json:"results"`
}

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Find out what works on this machine, and what would help", Args: cobra.NoArgs,
		Long: `Tries what nodes and laboratories need, and looks for the compilers that capsules are written with.
Every line says yes, no or inconclusive, and why; the latter two say what would help. What is made for it is made in network
namespaces that end at once; the machine's interfaces are looked at and not touched.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rs := append(probe.All(), probeJail())
			out := cmd.OutOrStdout()
			if asJSON {
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				return e.Encode(doctorReport{versionText(), nodeos.Drivers(), rs})
			}
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			group := ""
			for _, r := range rs {
				if r.Group != group {
					group = r.Group
					fmt.Fprintf(w, "%s\t\t\t\n", group)
				}
				text := r.Why
				if r.Answer != probe.Yes && r.Remedy != "" {
					text += " -> " + r.Remedy
				}
				fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", r.Name, r.Answer, r.For, text)
			}
			w.Flush()
			fmt.Fprintf(out, "\nlink drivers in this binary: %v; without a driver in the node file the first of xdp, packet, udp that opens is used\n", nodeos.Drivers())
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
