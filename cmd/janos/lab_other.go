//go:build !linux

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/lab"
)

// labSystemCommands are those that need Linux: here there are none.
func labSystemCommands() []*cobra.Command { return nil }

// runReal runs the one form of a network that there is without Linux.
func runReal(cmd *cobra.Command, t *lab.Topology, f *runFlags) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "network namespaces need Linux; running in one process, without the hosts' own stacks")
	return runInside(cmd, t, f)
}

// formOf returns the one form that there is without Linux.
func formOf(*cobra.Command) (form lab.Form, why string, done bool, err error) {
	return lab.OneProcess, "network namespaces need Linux", false, nil
}
