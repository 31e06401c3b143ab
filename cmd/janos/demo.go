package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/lab/demo"
)

func demoCommand() *cobra.Command {
	var capsules, report string
	c := &cobra.Command{
		Use: "demo [DIR]", Short: "A laboratory network that loads and runs capsules, loses a router, and is attacked", Args: cobra.MaximumNArgs(1),
		Long: `Builds the network of DIR/lab.yaml (default examples/first-network), starts a node in every host and router, and goes
through ping, multicast, ordinary traffic, the death of a router and an attack. Every count is checked against
the kernel's counters. Exits with 0 and "demo: ok", or says what failed. Nothing is left behind.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "examples/first-network"
			if len(args) == 1 {
				dir = args[0]
			}
			form, why, done, err := formOf(cmd)
			if done || err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			if capsules == "" {
				capsules = filepath.Join(dir, "..", "capsules")
			}
			return demo.Run(cmd.Context(), demo.Options{
				Topology: filepath.Join(dir, "lab.yaml"), Capsules: capsules, Janos: self, JSON: report, Form: form, Why: why,
				Out: cmd.OutOrStdout(), Terminal: isTerminal(os.Stdout),
			})
		},
	}
	c.Flags().StringVar(&capsules, "capsules", "", "directory of the bundles (default DIR/../capsules)")
	c.Flags().StringVar(&report, "json", "demo-out/demo.json", "where to write the report for programs; empty: nowhere")
	return c
}

// isTerminal reports whether f is a terminal, where progress can be shown.
func isTerminal(f *os.File) bool {
	fi, err := f.Stat()
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
