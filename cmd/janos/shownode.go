package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

func printLinks(w io.Writer, ls []node.LinkState) {
	fmt.Fprintln(w, "link\tinterface\tasked\tdriver\tstate\topened\twhy")
	for _, l := range ls {
		driver := l.Driver
		if l.Mode != "" {
			driver += ", " + l.Mode
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Name, l.Device, l.Asked, driver, l.State, l.Opened, l.Why)
		for _, t := range l.Tried {
			fmt.Fprintf(w, "\t\t\t%s\trefused\t\t%s\n", t.Driver, t.Why)
		}
		for _, n := range l.Notes {
			fmt.Fprintf(w, "\t\t\t\twithout\t\t%s\n", n)
		}
	}
}

// use prints what is used of a resource, and its limit if it has one.
func use(u resctl.Usage) string {
	switch u.Limit {
	case resctl.Unlimited:
		return fmt.Sprint(u.Use)
	case resctl.Nothing:
		return fmt.Sprintf("%d/none", u.Use)
	}
	return fmt.Sprintf("%d/%d", u.Use, u.Limit)
}

func printDomains(w io.Writer, ds []node.DomainState) {
	fmt.Fprintln(w, "domain\tstate\tshare\tworker\truns\tlongest\tbound\tmemory\tframes\tpool\tcredential")
	for _, d := range ds {
		bound := "none"
		if d.Runs.Bound != 0 {
			bound = d.Runs.Bound.String()
		}
		pool := d.Pool
		if pool == "" {
			pool = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Path, d.State, d.Share, d.Worker, d.Runs.Runs, d.Runs.Longest.Round(time.Microsecond), bound,
			use(d.Memory), use(d.Frames), pool, d.Cred)
		if d.Reason != "" {
			fmt.Fprintf(w, "  ended: %s\n", d.Reason)
		}
		if d.Rights != nil {
			fmt.Fprintf(w, "  rights: %s\n", strings.Join(d.Rights, ", "))
		}
		if d.Files != nil {
			fmt.Fprintf(w, "  files: %d open, %d bytes read, %d written, %d refused\n", d.Files.Open, d.Files.Read, d.Files.Written, d.Files.Refused)
		}
	}
}

func printPools(w io.Writer, ps []node.PoolState) {
	fmt.Fprintln(w, "pool\tbytes\tpeak\trefused\tdeadline\tpressures\tended\tshare\tdomains")
	for _, p := range ps {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%d\t%d\t%d\t%s\n", p.Path, use(p.Stats.Usage), p.Stats.Peak, p.Stats.Drops, p.Deadline, p.Stats.Pressures, p.Stats.Ended, p.Share,
			strings.Join(p.Domains, ", "))
	}
}

// threads is what janos show threads prints: those who run, and what.
type threads struct {
	Workers []nodeos.WorkerStats `json:"workers"`
	Domains []control.Domain     `json:"domains"`
}

func printThreads(w io.Writer, t threads) {
	fmt.Fprintln(w, "worker\tturns\town time")
	for i, x := range t.Workers {
		fmt.Fprintf(w, "%d\t%d\t%s\n", i, x.Turns, x.Unbilled.Round(time.Microsecond))
	}
	fmt.Fprintln(w, "\ndomain\ttask\truns\tpackets\ttime\tlongest")
	for _, d := range t.Domains {
		for _, x := range d.Tasks {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", d.Path, x.Name, x.Runs, x.Packets, x.Time.Round(time.Microsecond), x.Longest.Round(time.Microsecond))
		}
	}
}
