package tool

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

// others are classes of Click that configurations name and that may not be registered here.
var others = map[string]*click.Class{}

func init() {
	for _, c := range []click.Class{
		{Name: "AlignmentInfo", Ports: "0/0", Processing: "a"},
		{Name: "Align", Ports: "1/1", Processing: "a"},
		{Name: "CheckAlign", Ports: "1/1-2", Processing: "a/ah"},
		{Name: "PollDevice", Ports: "0/1", Processing: "h"},
		{Name: "FromHost", Ports: "0/1", Processing: "h"},
		{Name: "FromLinux", Ports: "0/1", Processing: "h"},
		{Name: "ToHost", Ports: "1/0", Processing: "h"},
		{Name: "ToHostSniffers", Ports: "1/0", Processing: "h"},
		{Name: "ToLinux", Ports: "1/0", Processing: "h"},
		{Name: "FromDump", Ports: "0/1-2", Processing: "a/ah"},
		{Name: "ToDump", Ports: "1/0-1", Processing: "a"},
		{Name: "FromDevice", Ports: "0/1-2", Processing: "h"},
		{Name: "ToDevice", Ports: "1/0-2", Processing: "l/h"},
		{Name: "CheckIPHeader2", Ports: "1/1-2", Processing: "a/ah"},
		{Name: "StaticPullSwitch", Ports: "-/1", Processing: "l"},
		{Name: "PullTee", Ports: "1/1-", Processing: "l/lh"},
		{Name: "DRRSched", Ports: "1-/1", Processing: "l"},
		{Name: "SimplePrioSched", Ports: "1-/1", Processing: "l"},
		{Name: "SimpleRoundRobinSched", Ports: "1-/1", Processing: "l"},
		{Name: "SimpleStrideSched", Ports: "1-/1", Processing: "l"},
		{Name: linkClass, Ports: "1-/1-", Processing: "l/h"},
	} {
		others[c.Name] = &c
	}
}

// ClassOf returns a registered class, or what is known of another of that name.
func ClassOf(name string) *click.Class {
	if c := click.LookupClass(name); c != nil {
		return c
	}
	if c := others[name]; c != nil {
		return c
	}
	return &click.Class{Name: name, Ports: "-/-", Processing: "a"}
}

// Known reports whether a class is registered or in the table.
func Known(name string) bool { return click.LookupClass(name) != nil || others[name] != nil }

// ends says of classes where packets begin or end, if it does not follow from their ports.
var ends = map[string]struct{ source, sink bool }{
	"Idle": {}, "Clipboard": {}, "Resize": {}, "StrideSwitch": {}, "TimeSortedSched": {},
	"RoundRobinSched": {}, "PrioSched": {}, "StrideSched": {}, "DRRSched": {}, "SimplePrioSched": {}, "SimpleRoundRobinSched": {}, "SimpleStrideSched": {},
	"InfiniteSource": {source: true}, "RandomSource": {source: true},
	"ToDevice": {sink: true}, "ToDump": {sink: true}, "ToIPSummaryDump": {sink: true},
	"FromRawSocket": {true, true}, "FromSocket": {true, true}, "KernelTap": {true, true}, "KernelTun": {true, true}, "McastSocket": {true, true},
	"RawSocket": {true, true}, "Socket": {true, true}, "ToRawSocket": {true, true}, "ToSocket": {true, true}, "UMLSwitch": {true, true}, linkClass: {true, true},
}

// schedulers pull from one of several inputs, and do nothing else.
var schedulers = map[string]bool{"RoundRobinSched": true, "PrioSched": true, "StrideSched": true, "DRRSched": true, "SimplePrioSched": true,
	"SimpleRoundRobinSched": true, "SimpleStrideSched": true}

// tees copy packets to all outputs.
var tees = map[string]bool{"Tee": true, "PullTee": true}

// Kinds decides for every port of a graph whether it pushes or pulls, as package click does. An agnostic port stays so where nothing
// decides, or where two neighbours contradict each other.
func Kinds(g *lang.Graph) (in, out [][]click.Kind) {
	e := newEdit(g)
	nin, nout := e.counts()
	in, out = make([][]click.Kind, len(g.Elements)), make([][]click.Kind, len(g.Elements))
	flows := make([]func(in, out int) bool, len(g.Elements))
	free := make([][2][]bool, len(g.Elements)) // the ports that the class leaves open
	for i := range g.Elements {
		c := e.class(i)
		li, lo := c.Least()
		in[i], out[i] = c.Kinds(max(nin[i], li), max(nout[i], lo))
		flows[i] = c.Flows()
		for side, kinds := range [...][]click.Kind{in[i], out[i]} {
			for _, k := range kinds {
				free[i][side] = append(free[i][side], k == click.AgnosticKind)
			}
		}
	}
	type end struct {
		port
		out bool
	}
	at := func(p end) *click.Kind {
		if p.out {
			return &out[p.el][p.n]
		}
		return &in[p.el][p.n]
	}
	var work []end
	set := func(p end, k click.Kind) {
		if x := at(p); *x == click.AgnosticKind {
			*x = k
			work = append(work, p)
		}
	}
	for i := range g.Elements {
		for n, k := range in[i] {
			if k != click.AgnosticKind {
				work = append(work, end{port{i, n}, false})
			}
		}
		for n, k := range out[i] {
			if k != click.AgnosticKind {
				work = append(work, end{port{i, n}, true})
			}
		}
	}
	for len(work) > 0 {
		p := work[0]
		work = work[1:]
		k := *at(p)
		if p.out {
			for _, t := range e.from(p.port) {
				set(end{t, false}, k)
			}
			for n := range in[p.el] {
				if free[p.el][1][p.n] && free[p.el][0][n] && flows[p.el](n, p.n) {
					set(end{port{p.el, n}, false}, k)
				}
			}
			continue
		}
		for _, f := range e.into(p.port) {
			set(end{f, true}, k)
		}
		for n := range out[p.el] {
			if free[p.el][0][p.n] && free[p.el][1][n] && flows[p.el](p.n, n) {
				set(end{port{p.el, n}, true}, k)
			}
		}
	}
	return in, out
}
