package tool

// The way of Align, in the order of this file:
//
//  1. want: what each input needs, from its element and from what is behind it
//  2. have: what each output gives, from its element and from what is before it
//  3. an Align goes into each connection where what comes is not what is needed
//  4. Aligns that change nothing, or whose work the next one does again, are taken out
//  5. an AlignmentInfo tells elements what they can rely on

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// alignment says that the first byte is offset bytes behind a multiple of modulus. Modulus 1 says nothing; 0 is for where no packet comes.
type alignment struct{ modulus, offset int }

func aligned(modulus, offset int) alignment {
	if modulus <= 1 {
		return alignment{modulus, 0}
	}
	return alignment{modulus, ((offset % modulus) + modulus) % modulus}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return max(a, -a)
}

// or is what is known of packets of which each has one of the alignments.
func (a alignment) or(b alignment) alignment {
	switch {
	case a.modulus == 0:
		return b
	case b.modulus == 0:
		return a
	}
	return aligned(gcd(gcd(a.modulus, b.modulus), a.offset-b.offset), a.offset)
}

// and is what packets need that need both; ok is false if nothing has both.
func (a alignment) and(b alignment) (c alignment, ok bool) {
	if a.modulus < b.modulus {
		a, b = b, a
	}
	g := gcd(max(a.modulus, 1), max(b.modulus, 1))
	if (a.offset-b.offset)%g != 0 {
		return a, false
	}
	if g == max(b.modulus, 1) { // a says more
		return a, true
	}
	l := a.modulus / g * b.modulus
	for o := a.offset; o < l; o += a.modulus {
		if o%b.modulus == b.offset {
			return aligned(l, o), true
		}
	}
	return a, false
}

// gives reports whether packets with a have b.
func (a alignment) gives(b alignment) bool {
	return b.modulus <= 1 || a.modulus == 0 || a.modulus%b.modulus == 0 && a.offset%b.modulus == b.offset
}

func (a alignment) moved(n int) alignment { return aligned(a.modulus, a.offset+n) }

// maxModulus bounds what arguments may ask for.
const maxModulus = 1 << 16

// aligning is what a class has to do with alignment.
type aligning struct {
	wants  alignment
	skips  bool      // less so many bytes as its first argument or OFFSET says
	likes  bool      // what it wants may have any offset
	moves  int       // by how much the first byte moves on the way through
	strips int       // 1: and by the first argument; -1: back by it
	makes  alignment // of packets that it makes, or that leave it whatever came; modulus 0: as they came
	asks   bool      // it looks into AlignmentInfo
	aligns bool      // it is an Align
}

var aligns = map[string]aligning{
	"CheckIPHeader": {wants: alignment{4, 0}, skips: true, asks: true}, "CheckIPHeader2": {wants: alignment{4, 0}, skips: true, asks: true},
	"MarkIPHeader": {wants: alignment{4, 0}, skips: true}, "Classifier": {wants: alignment{4, 0}, likes: true, asks: true},
	"IPInputCombo": {wants: alignment{4, 2}, moves: 14, asks: true}, "IPEncap": {wants: alignment{4, 0}},
	"ICMPPingEncap": {wants: alignment{4, 0}, asks: true}, "UDPIPEncap": {wants: alignment{4, 0}, asks: true},
	"DynamicUDPIPEncap": {asks: true}, "ICMPIPEncap": {asks: true}, "StoreUDPTimeSeqRecord": {wants: alignment{4, 0}},
	"ToHost": {wants: alignment{4, 2}}, "ToLinux": {wants: alignment{4, 2}},
	"ARPResponder": {wants: alignment{2, 0}, makes: alignment{1, 0}},
	"Strip":        {strips: 1}, "Unstrip": {strips: -1}, "EtherEncap": {moves: -14}, "ARPQuerier": {moves: -14}, "EtherVLANEncap": {moves: -18},
	"FromDevice": {makes: alignment{4, 2}}, "PollDevice": {makes: alignment{4, 2}}, "FromHost": {makes: alignment{4, 2}}, "FromLinux": {makes: alignment{4, 2}},
	"InfiniteSource": {makes: alignment{4, 0}}, "RatedSource": {makes: alignment{4, 0}}, "ICMPError": {makes: alignment{4, 0}},
}

// AlignOptions are for Align; the zero value is useful.
type AlignOptions struct {
	// Assertions inserts a CheckAlign before each element that needs an alignment, instead of Aligns where it is missing.
	Assertions bool
}

const alignMark = "@click_align"

// Align inserts Align elements so that packets have the alignment that elements of Click need on machines that do not read words from
// any address, and an AlignmentInfo. It returns how many Aligns were added.
func Align(g *lang.Graph, o AlignOptions) (int, error) {
	a := &aligner{edit: newEdit(g)}
	for i := range g.Elements { // of an earlier run
		if g.Elements[i].Class == "AlignmentInfo" && strings.HasPrefix(g.Elements[i].Name, "AlignmentInfo"+alignMark) {
			a.drop(i)
		}
	}
	a.commit()
	a.read()
	a.problems = a.list.Err() // later they are the same
	if o.Assertions {
		a.assert()
		a.commit()
		return 0, a.problems
	}
	before := a.countAligns()
	a.solve()
	a.insert()
	a.prune()
	added := max(a.countAligns()-before, 0)
	a.commit()
	a.read()
	a.solve()
	a.inform()
	a.commit()
	return added, a.problems
}

type aligner struct {
	*edit
	facts     []aligning // with the arguments of the element put in
	nin, nout []int
	want      [][]alignment // of inputs
	have      [][]alignment // of outputs
	list      errs.List
	problems  error
}

func (a *aligner) countAligns() (n int) {
	for i := range a.g.Elements {
		if !a.gone[i] && a.g.Elements[i].Class == "Align" {
			n++
		}
	}
	return n
}

// read finds out what each element does.
func (a *aligner) read() {
	a.nin, a.nout = a.counts()
	a.facts = make([]aligning, len(a.g.Elements))
	for i := range a.g.Elements {
		n := &a.g.Elements[i]
		f := aligns[n.Class]
		arg := 0
		argument := func(keys ...string) {
			for _, k := range keys {
				if v, ok := a.key(i, k); ok {
					m, err := strconv.Atoi(v)
					if err != nil {
						a.list.Addf(n.Pos, "While analyzing alignment for '%s':\n  %s: expected an integer, not '%s'", a.label(i), k, v)
					}
					arg = m
					return
				}
			}
			if text := a.arg(i, 0); text != "" && !strings.Contains(text, " ") {
				v, ok := a.number(i, 0)
				if !ok && f.strips != 0 {
					a.list.Addf(n.Pos, "While analyzing alignment for '%s':\n  %s: expected an integer, not '%s'", a.label(i), keys[0], text)
				}
				arg = v
			}
		}
		switch {
		case f.skips:
			argument("OFFSET")
			if n.Class == "CheckIPHeader2" { // its positional argument is a list of addresses
				if _, ok := a.key(i, "OFFSET"); !ok {
					arg = 0
				}
			}
			f.wants = f.wants.moved(-arg)
		case f.strips != 0:
			argument("LENGTH")
			f.moves += f.strips * arg
		case n.Class == "Align":
			m, ok := a.number(i, 0)
			off, ok2 := a.number(i, 1)
			if !ok || !ok2 || m < 1 || m > maxModulus {
				a.list.Addf(n.Pos, "While analyzing alignment for '%s':\n  bad arguments", a.label(i))
				f.makes = alignment{1, 0}
				break
			}
			f.makes, f.aligns = aligned(m, off), true
		case n.Class == "Idle":
		case f.makes.modulus == 0 && a.nin[i] == 0:
			f.makes = alignment{1, 0}
		}
		a.facts[i] = f
	}
}

// rounds bounds the search for a fixed point; alignments only lose information, so that few are needed.
const rounds = 64

// pruneWork bounds how many elements and connections are looked at to take out Aligns.
const pruneWork = 20_000_000

// solve computes what outputs have and what inputs want.
func (a *aligner) solve() {
	n := len(a.g.Elements)
	a.have, a.want = make([][]alignment, n), make([][]alignment, n)
	flows := make([]func(in, out int) bool, n)
	for i := range n {
		a.have[i], a.want[i] = make([]alignment, a.nout[i]), make([]alignment, a.nin[i])
		flows[i] = a.class(i).Flows()
		for p := range a.want[i] {
			a.want[i][p] = alignment{1, 0}
		}
	}
	for changed, round := true, 0; changed && round < rounds; round++ {
		changed = false
		came := a.arriving()
		for i := range n {
			if a.gone[i] {
				continue
			}
			for out := range a.have[i] {
				h := a.facts[i].makes
				if h.modulus == 0 {
					for in := range came[i] {
						if flows[i](in, out) && came[i][in].modulus != 0 {
							h = h.or(came[i][in].moved(a.facts[i].moves))
						}
					}
				}
				if h != a.have[i][out] {
					a.have[i][out], changed = h, true
				}
			}
		}
	}
	came := a.arriving()
	for changed, round := true, 0; changed && round < rounds; round++ {
		changed = false
		for i := n - 1; i >= 0; i-- {
			for in := range a.want[i] {
				if a.gone[i] {
					continue
				}
				w := a.behind(i, in, came[i][in], flows[i])
				if w != a.want[i][in] {
					a.want[i][in], changed = w, true
				}
			}
		}
	}
}

// behind is what input in of element i needs, for itself and for those that get its packets.
func (a *aligner) behind(i, in int, comes alignment, flows func(in, out int) bool) alignment {
	f := &a.facts[i]
	own := alignment{1, 0}
	if f.wants.modulus > 0 {
		own = f.wants
	}
	if f.makes.modulus > 0 {
		return own // what is behind does not depend on what comes
	}
	all := alignment{1, 0}
	ok := true
	for _, k := range a.outs[i] {
		if ed := &a.g.Edges[k]; !a.free[k] && flows(in, ed.FromPort) && ok {
			all, ok = all.and(a.want[ed.To][ed.ToPort].moved(-f.moves))
		}
	}
	if !ok {
		all = alignment{1, 0} // they contradict each other: each gets its own
	}
	if f.likes {
		switch {
		case all.modulus%own.modulus == 0:
			return all
		case comes.modulus > 0 && comes.modulus%own.modulus == 0:
			own = aligned(own.modulus, comes.offset)
		}
	}
	if both, ok := own.and(all); ok {
		return both
	}
	return own
}

// arriving is what comes to each input.
func (a *aligner) arriving() [][]alignment {
	came := make([][]alignment, len(a.want))
	for i := range came {
		came[i] = make([]alignment, len(a.want[i]))
	}
	a.edges(func(_ int, ed lang.Edge) {
		p := &came[ed.To][ed.ToPort]
		*p = p.or(a.have[ed.From][ed.FromPort])
	})
	return came
}

// insert puts an Align before each input that needs one, for those of its connections that do.
func (a *aligner) insert() {
	for i := range a.want {
		for in, w := range a.want[i] {
			var bad []port
			for _, p := range a.into(port{i, in}) {
				if !a.have[p.el][p.n].gives(w) {
					bad = append(bad, p)
				}
			}
			if len(bad) > 0 && !a.gone[i] {
				a.between(bad, port{i, in}, "Align", strconv.Itoa(w.modulus), strconv.Itoa(w.offset))
			}
		}
	}
}

// between puts an element into connections to one input.
func (a *aligner) between(from []port, to port, class string, args ...string) int {
	pos := a.g.Elements[to.el].Pos
	e := a.anonymous(class, alignMark, pos, args...)
	for _, p := range from {
		a.cut(p, to)
		a.join(p, port{e, 0}, pos)
	}
	a.join(port{e, 0}, to, pos)
	return e
}

// cut removes a connection.
func (e *edit) cut(from, to port) {
	for _, k := range e.outs[from.el] {
		if ed := &e.g.Edges[k]; ed.FromPort == from.n && ed.To == to.el && ed.ToPort == to.n {
			e.free[k] = true
		}
	}
}

// prune takes connections around Aligns that change nothing and past Aligns behind which another one follows, and removes those that are left without
// connections on one side.
func (a *aligner) prune() {
	most := min(max(pruneWork/(len(a.g.Elements)+len(a.g.Edges)+1), 16), rounds*rounds)
	for changed, round := true, 0; changed && round < most; round++ {
		changed = false
		a.read()
		a.solve()
		for i := 0; i < len(a.g.Elements) && !changed; i++ {
			if a.gone[i] || !a.facts[i].aligns {
				continue
			}
			targets, sources := a.from(port{i, 0}), a.into(port{i, 0})
			makes := a.facts[i].makes
			for _, s := range sources {
				if s.el != i && a.have[s.el][s.n].modulus != 0 && a.have[s.el][s.n].gives(makes) {
					a.cut(s, port{i, 0})
					for _, t := range targets {
						a.join(s, t, a.g.Elements[i].Pos)
					}
					changed = true
				}
			}
			if changed {
				break
			}
			for _, t := range targets {
				if t.el != i && t.n == 0 && a.facts[t.el].aligns {
					a.cut(port{i, 0}, t)
					for _, s := range sources {
						a.join(s, t, a.g.Elements[i].Pos)
					}
					changed = true
				}
			}
		}
		for i := range a.g.Elements {
			if !a.gone[i] && a.facts[i].aligns && changed && (len(a.from(port{i, 0})) == 0 || len(a.into(port{i, 0})) == 0) {
				a.drop(i)
			}
		}
	}
}

// inform adds the AlignmentInfo.
func (a *aligner) inform() {
	var args []string
	var pos errs.Pos
	came := a.arriving()
	for i := range a.g.Elements {
		if !a.facts[i].asks {
			continue
		}
		s := a.g.Elements[i].Name
		for _, c := range came[i] {
			s += "  " + strconv.Itoa(max(c.modulus, 1)) + " " + strconv.Itoa(c.offset)
		}
		args = append(args, s)
		pos = a.g.Elements[i].Pos
	}
	if len(args) == 0 {
		return
	}
	i := a.anonymous("AlignmentInfo", alignMark, pos, args...)
	a.g.Elements[i].Text = strings.Join(args, ",\n  ")
}

// assert puts a CheckAlign before each element that needs an alignment.
func (a *aligner) assert() {
	for i := range a.facts {
		for in := range a.nin[i] {
			w := a.facts[i].wants
			if w.modulus == 0 || a.facts[i].likes {
				continue
			}
			if from := a.into(port{i, in}); len(from) > 0 {
				a.between(from, port{i, in}, "CheckAlign", strconv.Itoa(w.modulus), strconv.Itoa(w.offset), "ASSERT true")
			}
		}
	}
}

var alignCommand = command{
	name: "click-align", about: "[OPTION]... [VAR=VALUE]... [FILE]",
	short: "Adds the Align elements that machines need which read words only from aligned addresses.",
	options: options(input, []option{{0, "assertions", "insert CheckAlign before elements instead"}, {'b', "bsdmodule", "accepted; there is one driver"},
		{'l', "linuxmodule", "accepted"}, {'u', "userlevel", "accepted"}}, common),
	run: func(c *call) error {
		g, err := c.graph()
		if err != nil {
			return err
		}
		n, err := Align(g, AlignOptions{Assertions: c.has("assertions")})
		if err != nil {
			c.note(err.Error())
		}
		if n > 0 {
			c.note("warning: added " + strconv.Itoa(n) + " Align elements")
		}
		return c.writeGraph(g)
	},
}
