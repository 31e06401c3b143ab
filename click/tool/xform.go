package tool

// The way of Xform, in the order of this file:
//
//  1. ReadPatterns makes flat graphs of pattern texts
//  2. match looks for a place in the configuration where a pattern fits
//  3. replace puts the replacement there; 2 and 3 are repeated until no pattern fits

import (
	"slices"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// Pattern is a piece of a configuration and what is to be put in its place.
type Pattern struct {
	Name string
	from *body
	to   *body
	fits func(vars map[string]string) bool // nil: with all values
}

// body is one side of a pattern. Elements 0 and 1 of its graph are its input and its output.
type body struct{ g *lang.Graph }

const (
	inEnd  = 0
	outEnd = 1
)

const replacementSuffix = "_Replacement"

// ReadPatterns reads a text that has compound classes X and X_Replacement, in the order of the Xs. With reverse the replacements
// are what is looked for. Classes without a partner may be used in patterns.
func ReadPatterns(name, text string, reverse bool) ([]Pattern, error) {
	list := errs.List{Lines: true}
	f := lang.Parse(name, text, &list)
	if err := list.Err(); err != nil {
		return nil, err
	}
	defs := map[string]*lang.ClassStmt{}
	var order []string
	for _, st := range f.Stmts {
		if c, ok := st.(*lang.ClassStmt); ok && c.Class.Compound != nil {
			if defs[c.Name] == nil {
				order = append(order, c.Name)
			}
			defs[c.Name] = c
		}
	}
	var shared []lang.Stmt // for use in patterns
	for _, st := range f.Stmts {
		if c, ok := st.(*lang.ClassStmt); ok {
			base := strings.TrimSuffix(c.Name, replacementSuffix)
			if base != c.Name && defs[base] != nil || defs[c.Name+replacementSuffix] != nil {
				continue
			}
		}
		if _, ok := st.(*lang.Connection); !ok {
			shared = append(shared, st)
		}
	}
	var out []Pattern
	for _, n := range order {
		r := defs[n+replacementSuffix]
		if r == nil {
			continue
		}
		p := Pattern{Name: n, from: readBody(f.Name, shared, defs[n], &list), to: readBody(f.Name, shared, r, &list)}
		if p.from == nil || p.to == nil {
			continue
		}
		if a, b := p.from.ports(), p.to.ports(); a != b {
			list.Addf(r.Pos, "'%s' has %s, '%s' has %s", n, a, r.Name, b)
			continue
		}
		if reverse {
			p.from, p.to = p.to, p.from
		}
		if len(p.from.g.Elements) > 2 {
			out = append(out, p)
		}
	}
	return out, list.Err()
}

// endClass is the class of the elements that stand for input and output. No identifier begins with a minus.
const endClass = "-end"

// readBody flattens the text between the braces of a class as if it were a configuration with elements input and output.
func readBody(name string, shared []lang.Stmt, c *lang.ClassStmt, list *errs.List) *body {
	if len(c.Class.Compound.Defs) != 1 || c.Class.Compound.Extend {
		list.Addf(c.Pos, "pattern '%s' has more than one definition", c.Name)
		return nil
	}
	def := c.Class.Compound.Defs[0]
	stmts := slices.Clone(shared)
	for _, st := range def.Stmts {
		if k, ok := st.(*lang.Connection); ok {
			st = named(k)
		}
		stmts = append(stmts, st)
	}
	for _, n := range []string{"input", "output"} { // behind the others, whose numbers they would change
		stmts = append(stmts, &lang.Connection{Pos: def.Pos, Hops: []lang.Hop{{Elements: []*lang.Element{
			{Pos: def.Pos, Name: n, Class: &lang.Class{Pos: def.Pos, Name: endClass}}}}}})
	}
	before := list.Len()
	g := lang.Flatten(&lang.File{Name: name, Stmts: stmts}, lang.Options{IsClass: Known, KeepVars: true, KeepOrder: true}, list)
	if list.Len() > before {
		return nil
	}
	var order []int // new place -> old
	for i := range g.Elements {
		if n := &g.Elements[i]; n.Class == endClass {
			order = append(order, i)
		}
	}
	for i := range g.Elements {
		if g.Elements[i].Class != endClass {
			order = append(order, i)
		}
	}
	at := make([]int, len(order))
	els := make([]lang.Node, len(order))
	for to, from := range order {
		at[from], els[to] = to, g.Elements[from]
	}
	g.Elements = els
	for i := range g.Edges {
		ed := &g.Edges[i]
		ed.From, ed.To = at[ed.From], at[ed.To]
	}
	for _, side := range []int{inEnd, outEnd} {
		used, n := map[int]bool{}, 0
		for _, ed := range g.Edges {
			if side == inEnd && ed.From == inEnd {
				used[ed.FromPort], n = true, max(n, ed.FromPort+1)
			} else if side == outEnd && ed.To == outEnd {
				used[ed.ToPort], n = true, max(n, ed.ToPort+1)
			}
		}
		for p := range n {
			if !used[p] {
				list.Addf(c.Pos, "'%s' %s %d missing", c.Name, g.Elements[side].Name, p)
				return nil
			}
		}
	}
	return &body{g}
}

// named returns k with the names of input and output where an arrow alone stands for them.
func named(k *lang.Connection) *lang.Connection {
	out := *k
	out.Hops = slices.Clone(k.Hops)
	for i := range out.Hops {
		h := &out.Hops[i]
		if len(h.Elements) > 0 {
			continue
		}
		e := &lang.Element{Pos: k.Pos, Name: "input", Out: h.Ports}
		if i > 0 {
			e = &lang.Element{Pos: k.Pos, Name: "output", In: h.Ports}
		}
		h.Elements, h.Ports = []*lang.Element{e}, nil
	}
	return &out
}

func (b *body) ports() string {
	in, out := 0, 0
	for _, ed := range b.g.Edges {
		if ed.From == inEnd {
			in = max(in, ed.FromPort+1)
		}
		if ed.To == outEnd {
			out = max(out, ed.ToPort+1)
		}
	}
	return strconv.Itoa(in) + " inputs and " + strconv.Itoa(out) + " outputs"
}

// maxReplacements bounds patterns that fit what they make of each other; configurations may have two more for each of their elements.
const maxReplacements = 1000

// maxTries bounds the search for places where patterns fit, which takes long if parts of a pattern are not connected to each other.
const maxTries = 20_000_000

// Xform replaces what the patterns match until nothing is left to match, and returns how many times it did. A pattern does not match what
// it has made itself. Patterns that go on for ever end with an error, after what they have done until then.
func Xform(g *lang.Graph, patterns []Pattern) (int, error) {
	x := &xform{edit: newEdit(g), made: make([]int, len(g.Elements)), prefixes: map[string]bool{}, numbers: map[string]int{}}
	for i := range g.Elements {
		if n := strings.IndexByte(g.Elements[i].Name, '/'); n > 0 {
			x.prefixes[g.Elements[i].Name[:n+1]] = true
		}
	}
	x.limit = maxTries + 1000*len(g.Elements)
	count, most := 0, maxReplacements+2*len(g.Elements)
	for changed := true; changed; {
		changed = false
		for i := range patterns {
			p := &patterns[i]
			for {
				m := x.match(p, i+1)
				if x.tries > x.limit {
					x.commit()
					return count, errs.New(errs.Limit, "finding out whether '%s' matches takes too long; are its elements connected?", p.Name)
				}
				if m == nil {
					break
				}
				x.replace(p, i+1, m)
				changed = true
				if count++; count >= most {
					x.commit()
					return count, errs.New(errs.Limit, "after %d replacements patterns still match; do '%s' and others undo each other?", count, p.Name)
				}
			}
		}
	}
	x.commit()
	return count, nil
}

type xform struct {
	*edit
	made  []int // number of the pattern that made an element, from 1
	slots []int // of removed elements, for new ones
	tries int   // so far
	limit int   // of them
	// prefixes are those of names, which no replacement gets again; numbers are the last ones that replacements of each pattern got.
	prefixes map[string]bool
	numbers  map[string]int
}

// match is a place where a pattern fits.
type match struct {
	of   []int             // element of the pattern -> element of the configuration
	vars map[string]string // with the dollar sign
}

// match finds the first place where p fits, in the order of the elements, or nil.
func (x *xform) match(p *Pattern, number int) *match {
	g := p.from.g
	byClass := map[string][]int{}
	for i := range x.g.Elements {
		if !x.gone[i] {
			byClass[x.g.Elements[i].Class] = append(byClass[x.g.Elements[i].Class], i)
		}
	}
	m := &match{of: make([]int, len(g.Elements)), vars: map[string]string{}}
	for i := range m.of {
		m.of[i] = -1
	}
	used := map[int]bool{}
	var try func(n int) bool
	try = func(n int) bool {
		x.tries++
		if n == len(g.Elements) {
			return x.fits(p, number, m) && (p.fits == nil || p.fits(m.vars))
		}
		for _, el := range x.candidates(g, n, m, byClass) {
			if x.tries++; x.tries > x.limit {
				return false
			}
			if used[el] || x.g.Elements[el].Class != g.Elements[n].Class || !x.linked(g, n, el, m) {
				continue
			}
			vars, ok := bind(g.Elements[n].Args, x.g.Elements[el].Args, m.vars)
			if !ok {
				continue
			}
			had := m.vars
			m.of[n], m.vars, used[el] = el, vars, true
			if try(n + 1) {
				return true
			}
			m.of[n], m.vars = -1, had
			delete(used, el)
		}
		return false
	}
	if !try(outEnd + 1) {
		return nil
	}
	return m
}

// candidates returns the elements that n could be: neighbours of what has been found already, if n has any, else all of its class.
func (x *xform) candidates(g *lang.Graph, n int, m *match, byClass map[string][]int) []int {
	for _, ed := range g.Edges {
		var near []port
		switch {
		case ed.To == n && ed.From > outEnd && m.of[ed.From] >= 0:
			near = x.from(port{m.of[ed.From], ed.FromPort})
		case ed.From == n && ed.To > outEnd && m.of[ed.To] >= 0:
			near = x.into(port{m.of[ed.To], ed.ToPort})
		default:
			continue
		}
		var out []int
		for _, p := range near {
			out = append(out, p.el)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return byClass[g.Elements[n].Class]
}

// linked reports whether el, for n, has the connections to what has been found already.
func (x *xform) linked(g *lang.Graph, n, el int, m *match) bool {
	at := func(i int) int {
		if i == n {
			return el
		}
		return m.of[i]
	}
	for _, ed := range g.Edges {
		if ed.From != n && ed.To != n || ed.From <= outEnd || ed.To <= outEnd || at(ed.From) < 0 || at(ed.To) < 0 {
			continue
		}
		if !slices.Contains(x.from(port{at(ed.From), ed.FromPort}), port{at(ed.To), ed.ToPort}) {
			return false
		}
	}
	return true
}

// bind compares arguments with those of a pattern. A pattern's argument that is a variable matches any one, the same at every place. It
// returns the variables, vars with those that are new.
func bind(pattern, args []string, vars map[string]string) (map[string]string, bool) {
	if len(pattern) != len(args) {
		return nil, false
	}
	out, copied := vars, false
	for i, p := range pattern {
		if !isVariable(p) {
			if p != args[i] {
				return nil, false
			}
			continue
		}
		if v, ok := out[p]; ok {
			if v != args[i] {
				return nil, false
			}
			continue
		}
		if !copied {
			out, copied = make(map[string]string, len(vars)+1), true
			for k, v := range vars {
				out[k] = v
			}
		}
		out[p] = args[i]
	}
	return out, true
}

func isVariable(s string) bool {
	return len(s) > 1 && s[0] == '$' && strings.IndexFunc(s[1:], func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// fits checks the connections around a match: each one inside is in the pattern, each one that leads in or out belongs to a port
// of the pattern, and is there for all elements that the port leads to. Every port of the pattern is in use.
func (x *xform) fits(p *Pattern, number int, m *match) bool {
	g := p.from.g
	back := make(map[int]int, len(m.of))
	own := true
	for n := outEnd + 1; n < len(m.of); n++ {
		back[m.of[n]] = n
		own = own && x.made[m.of[n]] == number
	}
	if own {
		return false // the pattern made all of it
	}
	inside := map[[2]port]bool{}
	ins, outs := map[port][]int{}, map[port][]int{} // element's port -> ports of the pattern
	entry, exit := map[int][]port{}, map[int][]port{}
	for _, ed := range g.Edges {
		f, t := port{ed.From, ed.FromPort}, port{ed.To, ed.ToPort}
		switch {
		case ed.From == inEnd && ed.To == outEnd:
			return false // nothing to hold on to
		case ed.From == inEnd:
			ins[t] = append(ins[t], f.n)
			entry[f.n] = append(entry[f.n], t)
		case ed.To == outEnd:
			outs[f] = append(outs[f], t.n)
			exit[t.n] = append(exit[t.n], f)
		default:
			inside[[2]port{f, t}] = true
		}
	}
	usedIn, usedOut := map[int]bool{}, map[int]bool{}
	ok := true
	x.around(m, func(ed lang.Edge) {
		f, fin := back[ed.From]
		t, tin := back[ed.To]
		switch {
		case !ok || !fin && !tin:
		case fin && tin:
			ok = inside[[2]port{{f, ed.FromPort}, {t, ed.ToPort}}]
		case tin:
			outside, found := port{ed.From, ed.FromPort}, false
			for _, i := range ins[port{t, ed.ToPort}] {
				all := true
				for _, q := range entry[i] {
					all = all && slices.Contains(x.from(outside), port{m.of[q.el], q.n})
				}
				if all {
					found, usedIn[i] = true, true
				}
			}
			ok = found
		default:
			outside, found := port{ed.To, ed.ToPort}, false
			for _, o := range outs[port{f, ed.FromPort}] {
				all := true
				for _, q := range exit[o] {
					all = all && slices.Contains(x.from(port{m.of[q.el], q.n}), outside)
				}
				if all {
					found, usedOut[o] = true, true
				}
			}
			ok = found
		}
	})
	return ok && len(usedIn) == len(entry) && len(usedOut) == len(exit)
}

// around calls fn for the connections of the elements of a match, in the order of the configuration.
func (x *xform) around(m *match, fn func(ed lang.Edge)) {
	var list []int
	for _, el := range m.of[outEnd+1:] {
		list = append(append(list, x.ins[el]...), x.outs[el]...)
	}
	slices.Sort(list)
	for _, k := range slices.Compact(list) {
		if !x.free[k] {
			fn(x.g.Edges[k])
		}
	}
}

// replace puts the replacement in the place of a match.
func (x *xform) replace(p *Pattern, number int, m *match) {
	x.tidy()
	from, to := p.from.g, p.to.g
	// What leads in and out, in the order of the configuration.
	back := make(map[int]int, len(m.of))
	for n := outEnd + 1; n < len(m.of); n++ {
		back[m.of[n]] = n
	}
	type border struct {
		outside port
		port    int // of the pattern
		in      bool
		pos     errs.Pos
	}
	var borders []border
	note := func(b border) {
		if !slices.ContainsFunc(borders, func(o border) bool { return o.outside == b.outside && o.port == b.port && o.in == b.in }) {
			borders = append(borders, b)
		}
	}
	x.around(m, func(ed lang.Edge) {
		f, fin := back[ed.From]
		t, tin := back[ed.To]
		if fin == tin {
			return
		}
		for _, pe := range from.Edges {
			switch {
			case tin && pe.From == inEnd && pe.To == t && pe.ToPort == ed.ToPort:
				all := true
				for _, q := range from.Edges {
					all = all && (q.From != inEnd || q.FromPort != pe.FromPort || slices.Contains(x.from(port{ed.From, ed.FromPort}), port{m.of[q.To], q.ToPort}))
				}
				if all {
					note(border{port{ed.From, ed.FromPort}, pe.FromPort, true, ed.Pos})
				}
			case fin && pe.To == outEnd && pe.From == f && pe.FromPort == ed.FromPort:
				all := true
				for _, q := range from.Edges {
					all = all && (q.To != outEnd || q.ToPort != pe.ToPort || slices.Contains(x.from(port{m.of[q.From], q.FromPort}), port{ed.To, ed.ToPort}))
				}
				if all {
					note(border{port{ed.To, ed.ToPort}, pe.ToPort, false, ed.Pos})
				}
			}
		}
	})
	names := map[string]string{} // of the pattern's elements, for those of the same name in the replacement
	pos := x.g.Elements[m.of[outEnd+1]].Pos
	for n := outEnd + 1; n < len(m.of); n++ {
		names[from.Elements[n].Name] = x.g.Elements[m.of[n]].Name
		x.drop(m.of[n])
		x.slots = append(x.slots, m.of[n])
	}
	prefix := ""
	for k := x.numbers[p.Name] + 1; ; k++ {
		prefix = p.Name + "@" + strconv.Itoa(k) + "/"
		if !x.prefixes[prefix] {
			x.prefixes[prefix], x.numbers[p.Name] = true, k
			break
		}
	}
	// Click's tool takes three places for a moment, so that the elements have the same order as with it.
	held := []int{x.place(), x.place(), x.place()}
	at := make([]int, len(to.Elements))
	for n := outEnd + 1; n < len(to.Elements); n++ {
		el := to.Elements[n]
		name, kept := names[el.Name]
		if !kept {
			name = prefix + el.Name
		}
		var args []string
		for _, a := range el.Args {
			if v, ok := m.vars[a]; ok {
				a = v
			}
			args = append(args, a)
		}
		at[n] = x.put(lang.Node{Name: name, Class: el.Class, Args: args, Pos: pos}, number)
	}
	slices.Sort(held)
	x.slots = append(x.slots, held...)
	for _, ed := range to.Edges {
		if ed.From > outEnd && ed.To > outEnd {
			x.join(port{at[ed.From], ed.FromPort}, port{at[ed.To], ed.ToPort}, pos)
		}
	}
	for _, b := range borders {
		for _, ed := range to.Edges {
			switch {
			case b.in && ed.From == inEnd && ed.FromPort == b.port && ed.To > outEnd:
				x.join(b.outside, port{at[ed.To], ed.ToPort}, b.pos)
			case !b.in && ed.To == outEnd && ed.ToPort == b.port && ed.From > outEnd:
				x.join(port{at[ed.From], ed.FromPort}, b.outside, b.pos)
			case b.in && ed.From == inEnd && ed.FromPort == b.port: // straight through
				for _, o := range borders {
					if !o.in && o.port == ed.ToPort {
						x.join(b.outside, o.outside, b.pos)
					}
				}
			}
		}
	}
}

// place returns a free place for an element.
func (x *xform) place() int {
	if n := len(x.slots); n > 0 {
		i := x.slots[n-1]
		x.slots = x.slots[:n-1]
		return i
	}
	x.g.Elements = append(x.g.Elements, lang.Node{})
	x.gone, x.made = append(x.gone, true), append(x.made, 0)
	x.ins, x.outs = append(x.ins, nil), append(x.outs, nil)
	return len(x.gone) - 1
}

func (x *xform) put(n lang.Node, number int) int {
	i := x.place()
	// Connections of what was here are gone; its name is not in names any more.
	base := n.Name
	for k := 2; ; k++ {
		if _, taken := x.names[n.Name]; !taken {
			break
		}
		n.Name = base + "_" + strconv.Itoa(k)
	}
	x.g.Elements[i], x.gone[i], x.made[i], x.names[n.Name] = n, false, number, i
	return i
}

var xformCommand = command{
	name: "click-xform", about: "[OPTION]... [VAR=VALUE]... [FILE [PATTERNFILE]...]",
	short: "Replaces pieces of a configuration that match patterns.",
	options: options(input, []option{{'p', "patterns=", "read patterns from FILE; may be given several times"}, {'r', "reverse", "replace the replacements by the patterns"},
		{'c', "config", "the configuration only, without what else the archive has"}}, common),
	plain: func(c *call, word string) error {
		switch {
		case c.variable(word):
		case len(c.set["file"])+len(c.set["expression"]) == 0 || c.has("expression"):
			c.set["file"] = append(c.set["file"], word)
		default:
			c.set["patterns"] = append(c.set["patterns"], word)
		}
		return nil
	},
	run: func(c *call) error {
		var patterns []Pattern
		for _, f := range c.set["patterns"] {
			name, text, err := c.read(f)
			if err == nil {
				text, err = lang.Source(text)
			}
			if err != nil {
				return err
			}
			p, err := ReadPatterns(name, text, c.has("reverse"))
			if err != nil {
				return err
			}
			patterns = append(patterns, p...)
		}
		if len(patterns) == 0 {
			c.note("warning: no patterns read")
		}
		g, err := c.graph()
		if err != nil {
			return err
		}
		if _, err := Xform(g, patterns); err != nil {
			return err
		}
		return c.writeGraph(g)
	},
}
