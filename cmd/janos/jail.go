package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/probe"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// A worker of a jail is this program. It does nothing else, so it does not come as far as main.
func init() { jail.Enter() }

// jailCommand prints what a worker of a jail may do.
func jailCommand() *cobra.Command {
	asJSON, interpreter := false, false
	c := &cobra.Command{
		Use: "jail", Short: "Print the system calls of a jail's worker, and try one on this machine", Args: cobra.NoArgs,
		Long: `Prints the system calls that a worker process of a jail may make, with what their arguments may be and what for.
Any other ends the process. Then it starts a worker and prints what else keeps it in on this machine. A node runs
protocols in jails when its node file says so (keys jails and ants.jail; docs/isolates.md).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			mode := vm.ModeAuto
			if interpreter {
				mode = vm.ModeInterpreter
			}
			j, err := jail.New(jail.Spec{Name: "probe", Mode: mode})
			if err != nil {
				return err
			}
			s := j.Status()
			if err := j.Close(); err != nil {
				return err
			}
			calls := jail.Calls(!interpreter)
			out := cmd.OutOrStdout()
			if asJSON {
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				return e.Encode(struct {
					Calls  []jail.Call  `json:"calls"`
					Sealed *jail.Sealed `json:"sealed"`
				}{calls, s.Sealed})
			}
			for i := range calls {
				fmt.Fprintf(out, "%-100s %s\n", calls[i].String(), calls[i].Why)
			}
			fmt.Fprintf(out, "\nnamespaces of its own: %v; root: %s; user: %d; no capabilities; no descriptors but those above;\n", s.Sealed.Namespaces, s.Sealed.Root, s.Sealed.User)
			fmt.Fprintf(out, "no core, no new processes, threads, files or descriptors; filter of %d instructions\n", s.Sealed.Filter)
			for _, m := range s.Sealed.Missing {
				fmt.Fprintf(out, "not on this machine: %s\n", m)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&interpreter, "interpreter", false, "of a jail with mode interpreter")
	return c
}

// probeJail starts a worker and reports what it lacks.
func probeJail() probe.Result {
	r := probe.Result{Group: "guests", Name: "jails", For: "protocols in processes without rights, keys jails and ants.jail of the node file"}
	j, err := jail.New(jail.Spec{Name: "probe"})
	if err != nil {
		r.Answer, r.Why, r.Remedy = probe.Inconclusive, err.Error(), "see janos capsule jail"
		if errors.Is(err, errs.NotSupported) {
			r.Answer = probe.No
		}
		return r
	}
	s := j.Status().Sealed
	if err := j.Close(); err != nil {
		r.Answer, r.Why = probe.Inconclusive, err.Error()
		return r
	}
	r.Answer, r.Why = probe.Yes, fmt.Sprintf("%d system calls, namespaces %s, root %s, user %d", s.Calls, strings.Join(s.Namespaces, " "), s.Root, s.User)
	if len(s.Missing) > 0 {
		r.Why += "; without " + strings.Join(s.Missing, "; ")
		r.Remedy = "start nodes as root, or allow user namespaces"
	}
	return r
}

func printJails(w io.Writer, js []jail.Status) {
	fmt.Fprintln(w, "jail\tprocess\tstarts\tdeaths\ttime\tkept in by\tthe last one ended because")
	for _, j := range js {
		pid, by := "none", ""
		if j.Alive {
			pid = fmt.Sprint(j.PID)
		}
		if s := j.Sealed; s != nil {
			by = fmt.Sprintf("%d calls, namespaces %s, root %s, user %d", s.Calls, strings.Join(s.Namespaces, " "), s.Root, s.User)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", j.Name, pid, j.Starts, j.Deaths, time.Duration(j.CPU).Round(time.Millisecond), by, j.Last)
		if j.Sealed != nil && len(j.Sealed.Missing) > 0 {
			fmt.Fprintf(w, "  without %s\n", strings.Join(j.Sealed.Missing, "; "))
		}
	}
}
