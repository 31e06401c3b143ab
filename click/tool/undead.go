package tool

// The way of Undead, in the order of this file; it is repeated until nothing changes:
//
//  1. switches that never move, and elements that do nothing, become connections
//  2. what packets do not reach, and from where they do not leave, is removed
//  3. ports of schedulers and tees that lead nowhere are removed, and those with one port become connections
//  4. ports of what is left that have lost their connections get an Idle

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// UndeadOptions are for Undead; the zero value is useful.
type UndeadOptions struct {
	// Say is told what is taken for a source or a sink and what is removed.
	Say func(pos errs.Pos, text string)
}

// Undead removes dead code: elements that lie on no way from where packets begin to where they end, elements that pass on what they
// get, ports of schedulers and tees that no packet uses. Elements without ports stay, and those that arguments of others name. The effects of removed elements
// besides packets, such as files that they would have made, are gone. The error has what could not be understood; g is
// changed all the same.
func Undead(g *lang.Graph, o UndeadOptions) error {
	u := &undead{edit: newEdit(g), say: o.Say}
	if u.say == nil {
		u.say = func(errs.Pos, string) {}
	}
	u.inputs, u.outputs = u.counts()
	u.passes()
	first := true
	for changed := true; changed; {
		u.refer()
		changed = u.sweep(first)
		changed = u.shrink() || changed
		first = false
	}
	u.plug()
	u.commit()
	return u.list.Err()
}

type undead struct {
	*edit
	say             func(errs.Pos, string)
	list            errs.List
	inputs, outputs []int  // ports that each element is to have
	named           []bool // elements that arguments of others refer to
}

// passes takes out switches that always stand at the same place, and elements without effect.
func (u *undead) passes() {
	for i := range u.g.Elements {
		if u.gone[i] {
			continue
		}
		nin, nout := u.ports(i)
		switch n := &u.g.Elements[i]; n.Class {
		case "Null":
			if nin == 1 && nout == 1 {
				u.bypass(i, 0, 0)
			}
		case "StaticSwitch", "StaticPullSwitch":
			at, ok := u.number(i, 0)
			if !ok {
				u.list.Addf(n.Pos, "'%s': expected the number of a port, not '%s'", u.label(i), n.Config())
				continue
			}
			in, out := 0, at
			if n.Class == "StaticPullSwitch" {
				in, out = at, 0
			}
			if in < 0 || in >= nin || out < 0 || out >= nout {
				u.drop(i) // nothing gets through
				continue
			}
			u.bypass(i, in, out)
		}
	}
}

// refer finds the elements that arguments of others name, alone or with a handler.
func (u *undead) refer() {
	u.named = make([]bool, len(u.gone))
	note := func(from, word string) {
		for { // within its own compound first, then outwards
			i, ok := u.names[compoundOf(from)+word]
			if ok {
				u.named[i] = u.named[i] || u.g.Elements[i].Name != from
				return
			}
			if from = strings.TrimSuffix(compoundOf(from), "/"); from == "" {
				return
			}
		}
	}
	for i := range u.g.Elements {
		n := &u.g.Elements[i]
		if u.gone[i] || !u.refers(i) {
			continue
		}
		for a := range n.Args {
			for _, w := range strings.FieldsFunc(u.arg(i, a), func(r rune) bool { return strings.ContainsRune(" \t\n\"'(),;", r) }) {
				note(n.Name, w)
				if el, _, ok := strings.Cut(w, "."); ok {
					note(n.Name, el)
				}
			}
		}
	}
}

// refers reports whether the first argument of an element may be about others: not the name of a device or file.
func (u *undead) refers(i int) bool {
	switch u.g.Elements[i].Class {
	case "FromDevice", "ToDevice", "PollDevice", "FromDump", "ToDump":
		return false
	}
	return true
}

// sweep removes the elements that are not alive.
func (u *undead) sweep(tell bool) (changed bool) {
	nin, nout := u.counts()
	fed, drained := make([][]bool, len(u.gone)), make([][]bool, len(u.gone)) // inputs that packets reach, outputs from where they come to an end
	alive := make([][2]bool, len(u.gone))                                    // has packets; gets rid of them
	into, from := map[port][]port{}, map[port][]port{}
	u.edges(func(_ int, ed lang.Edge) {
		f, t := port{ed.From, ed.FromPort}, port{ed.To, ed.ToPort}
		from[f], into[t] = append(from[f], t), append(into[t], f)
	})
	var feed, drain func(p port)
	var work []func()
	feed = func(p port) { // packets come out of p
		for _, t := range from[p] {
			if fed[t.el][t.n] {
				continue
			}
			fed[t.el][t.n], alive[t.el][0] = true, true
			flows := u.class(t.el).Flows()
			for out := range nout[t.el] {
				if flows(t.n, out) {
					work = append(work, func() { feed(port{t.el, out}) })
				}
			}
		}
	}
	drain = func(p port) { // packets go into p
		for _, f := range into[p] {
			if drained[f.el][f.n] {
				continue
			}
			drained[f.el][f.n], alive[f.el][1] = true, true
			flows := u.class(f.el).Flows()
			for in := range nin[f.el] {
				if flows(in, f.n) {
					work = append(work, func() { drain(port{f.el, in}) })
				}
			}
		}
	}
	for i := range u.gone {
		fed[i], drained[i] = make([]bool, nin[i]), make([]bool, nout[i])
	}
	for i := range u.gone {
		if u.gone[i] {
			continue
		}
		e, known := ends[u.g.Elements[i].Class]
		if !known {
			e.source, e.sink = u.inputs[i] == 0, u.outputs[i] == 0
		}
		if tell {
			u.tell(i, e.source, e.sink)
		}
		if !known {
			u.loose(i, u.inputs[i], u.outputs[i], func(out int) {
				alive[i][0] = true
				work = append(work, func() { feed(port{i, out}) })
			}, func(in int) {
				alive[i][1] = true
				work = append(work, func() { drain(port{i, in}) })
			})
		}
		if e.source {
			alive[i][0] = true
			for out := range nout[i] {
				work = append(work, func() { feed(port{i, out}) })
			}
		}
		if e.sink {
			alive[i][1] = true
			for in := range nin[i] {
				work = append(work, func() { drain(port{i, in}) })
			}
		}
	}
	for len(work) > 0 {
		fn := work[len(work)-1]
		work = work[:len(work)-1]
		fn()
	}
	for i := range u.gone {
		if !u.gone[i] && !(alive[i][0] && alive[i][1]) && !u.named[i] {
			u.say(u.g.Elements[i].Pos, "removing '"+u.label(i)+"'")
			u.drop(i)
			changed = true
		}
	}
	return changed
}

// loose calls source for outputs whose packets come from no input, and sink for inputs whose packets go to no output.
func (u *undead) loose(i, nin, nout int, source, sink func(port int)) {
	flows := u.class(i).Flows()
	for in := range nin {
		to := false
		for out := range nout {
			to = to || flows(in, out)
		}
		if !to {
			sink(in)
		}
	}
	for out := range nout {
		from := false
		for in := range nin {
			from = from || flows(in, out)
		}
		if !from {
			source(out)
		}
	}
}

func (u *undead) tell(i int, source, sink bool) {
	what := ""
	switch {
	case source && sink:
		what = "source and sink"
	case source:
		what = "source"
	case sink:
		what = "sink"
	default:
		return
	}
	u.say(u.g.Elements[i].Pos, "'"+u.label(i)+"' is "+what)
}

// shrink takes away unused ports of schedulers and tees.
func (u *undead) shrink() (changed bool) {
	for i := range u.gone {
		n := &u.g.Elements[i]
		tee := tees[n.Class]
		if u.gone[i] || !tee && !schedulers[n.Class] {
			continue
		}
		nin, nout := u.ports(i)
		ports := nin
		if tee {
			ports = nout
		}
		first := 0
		if n.Class == "PullTee" {
			first = 1 // output 0 is where packets are pulled
		}
		used := make([]bool, ports)
		mine := u.ins[i]
		if tee {
			mine = u.outs[i]
		}
		for _, k := range mine {
			if ed := &u.g.Edges[k]; !u.free[k] && tee {
				used[ed.FromPort] = true
			} else if !u.free[k] {
				used[ed.ToPort] = true
			}
		}
		at, left := make([]int, ports), 0
		var args []string
		for p := range used {
			at[p] = left
			if used[p] || p < first {
				left++
				if p < len(n.Args) {
					args = append(args, n.Args[p])
				}
			}
		}
		if left < ports {
			changed = true
			if tee {
				u.outputs[i] = left
			} else {
				u.inputs[i] = left
			}
			for _, k := range mine {
				if ed := &u.g.Edges[k]; !u.free[k] && tee {
					ed.FromPort = at[ed.FromPort]
				} else if !u.free[k] {
					ed.ToPort = at[ed.ToPort]
				}
			}
			if n.Class == "StrideSched" || n.Class == "SimpleStrideSched" {
				n.Args, n.Text = args, ""
			}
		}
		if tee && left > 1 {
			n.Args, n.Text = []string{strconv.Itoa(left)}, "" // so that nobody has to count
		}
		if left == 1 && nout >= 1 && nin >= 1 && (tee || nout == 1) {
			what := "scheduler"
			if tee {
				what = "tee"
			}
			u.say(n.Pos, "removing redundant "+what+" '"+u.label(i)+"'")
			u.bypass(i, 0, 0)
			changed = true
		}
	}
	return changed
}

// plug connects an Idle to the ports that were in use and are no more.
func (u *undead) plug() {
	nin, nout := make([][]bool, len(u.gone)), make([][]bool, len(u.gone))
	for i := range u.gone {
		nin[i], nout[i] = make([]bool, u.inputs[i]), make([]bool, u.outputs[i])
	}
	u.edges(func(_ int, ed lang.Edge) { nout[ed.From][ed.FromPort], nin[ed.To][ed.ToPort] = true, true })
	idle, ins, outs := -1, 0, 0
	for i := range nin {
		if u.gone[i] {
			continue
		}
		pos := u.g.Elements[i].Pos
		need := func() int {
			if idle < 0 {
				idle = u.anonymous("Idle", "", pos)
			}
			return idle
		}
		for p, used := range nout[i] {
			if !used {
				u.join(port{i, p}, port{need(), ins}, pos)
				ins++
			}
		}
		for p, used := range nin[i] {
			if !used {
				u.join(port{need(), outs}, port{i, p}, pos)
				outs++
			}
		}
	}
}
