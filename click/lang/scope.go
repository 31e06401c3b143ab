package lang

import (
	"fmt"
	"strings"

	"github.com/janos-os/janos/errs"
)

// scope is one definition of a compound element, or the whole file, with every name resolved
// as far as that is possible without arguments.
type scope struct {
	parent  *scope
	pos     errs.Pos
	formals []Formal
	members []*member // of a compound: 0 is its input, 1 its output
	names   map[string]int
	later   map[string]bool // declared somewhere in this scope
	classes map[string]*class
	vars    map[string]string // define()d
	order   []string          // their names as they come
	edges   []edge
	count   int // elements so far, for the names of anonymous ones
	nin     int // ports of a compound
	nout    int
}

// member is an element of a scope, or one end of a tunnel.
type member struct {
	name      string
	class     *class // nil for tunnel ends and for what was declared wrongly
	config    *Config
	pos       errs.Pos
	tunnel    bool
	nin, nout int // ports that the scope's connections use
}

type edge struct {
	from, fromPort, to, toPort int
	pos                        errs.Pos
}

// class is an element class as visible at some place.
type class struct {
	name string
	pos  errs.Pos
	defs []*scope
	next *class // tried when no definition matches; nil defs and nil next: a class of package click
}

func (c *class) compound() bool { return c.defs != nil }

// analyzer turns trees into scopes.
type analyzer struct {
	opt      *Options
	errors   *errs.List
	used     map[string]bool // names used as classes, anywhere so far
	included map[string]bool
	graph    *Graph
	edges    int
}

func (a *analyzer) errorf(pos errs.Pos, format string, args ...any) {
	a.errors.Addf(pos, format, args...)
}

func newScope(parent *scope, pos errs.Pos) *scope {
	return &scope{parent: parent, pos: pos, names: map[string]int{}, later: map[string]bool{},
		classes: map[string]*class{}, vars: map[string]string{}}
}

// ends are the tunnel ends that "input" and "output" mean at some place.
type ends struct{ in, out int }

var noEnds = ends{-1, -1}

// collect notes the names that stmts declare in this scope, groups included.
func (s *scope) collect(stmts []Stmt) {
	for _, st := range stmts {
		c, ok := st.(*Connection)
		if !ok {
			continue
		}
		for _, h := range c.Hops {
			for i, e := range h.Elements {
				if e.Class != nil && e.Name != "" {
					s.later[e.Name] = true
					for j := i - 1; len(c.Hops) == 1 && j >= 0 && h.Elements[j].Class == nil && !h.Elements[j].IsGroup; j-- {
						s.later[h.Elements[j].Name] = true
					}
				}
				s.collect(e.Group)
			}
		}
	}
}

func (a *analyzer) stmts(s *scope, stmts []Stmt, in ends) {
	for _, st := range stmts {
		switch st := st.(type) {
		case *Connection:
			a.connection(s, st, in)
		case *ClassStmt:
			a.classStmt(s, st)
		case *DefineStmt:
			a.define(s, st)
		case *RequireStmt:
			a.require(s, st, in)
		}
	}
}

func (a *analyzer) define(s *scope, st *DefineStmt) {
	for _, arg := range SplitArgs(st.Config.Text) {
		word, value := NextWord(arg)
		name := strings.TrimPrefix(word, "$")
		bad := name == "" || name == word
		for i := 0; i < len(name); i++ {
			bad = bad || !isVar(name[i])
		}
		if bad {
			a.errorf(st.Config.Pos, "bad definition '%s', expected '$NAME VALUE'", clip(arg))
			continue
		}
		_, dup := s.vars[name]
		for _, f := range s.formals {
			dup = dup || f.Name == name
		}
		if dup {
			a.errorf(st.Config.Pos, "parameter '$%s' is defined twice in this scope", name)
			continue
		}
		s.vars[name] = value
		s.order = append(s.order, name)
	}
}

func (a *analyzer) require(s *scope, st *RequireStmt, in ends) {
	for _, arg := range SplitArgs(st.Config.Text) {
		words := SplitWords(arg)
		if len(words) == 0 {
			continue
		}
		kind, name := "package", Unquote(words[0])
		if len(words) > 1 {
			kind, name = words[0], Unquote(words[1])
		}
		switch {
		case len(words) > 2 || kind != "package" && kind != "library":
			a.errorf(st.Config.Pos, "bad requirement '%s', expected 'package NAME' or 'library FILE'", clip(arg))
		case st.Provide:
			a.graph.Provides = append(a.graph.Provides, name)
		case kind == "package":
			a.graph.Requires = append(a.graph.Requires, name)
		case s.parent != nil || in != noEnds:
			a.errorf(st.Pos, "'require(library)' is only possible at file scope")
		case a.opt.Library == nil:
			a.errorf(st.Pos, "no library '%s': this configuration may not read files", name)
		default:
			file, text, err := a.opt.Library(name)
			if err != nil {
				a.errors.Add(&errs.At{Pos: st.Pos, Err: errs.New(errs.NotFound, "library '%s': %w", name, err)})
				continue
			}
			if a.included[file] {
				continue
			}
			a.included[file] = true
			if len(a.included) > maxLibraries {
				a.errorf(st.Pos, "more than %d libraries", maxLibraries)
				continue
			}
			f := Parse(file, text, a.errors)
			s.collect(f.Stmts)
			a.stmts(s, f.Stmts, in)
		}
	}
}

const maxLibraries = 100

func (a *analyzer) classStmt(s *scope, st *ClassStmt) {
	if i, ok := s.names[st.Name]; ok {
		a.errorf(st.Pos, "'%s' is already used as an element name\n%s: element '%s' declared here", st.Name, s.members[i].pos, st.Name)
	}
	var c *class
	if st.Class.Compound == nil {
		c = a.classNamed(s, st.Class.Name)
	} else {
		c = a.compound(s, st.Class.Compound, st.Name)
		if st.Class.Compound.Extend {
			c.next = a.classNamed(s, st.Name)
		}
	}
	a.used[st.Name] = true
	s.classes[st.Name] = c
}

// classNamed finds the class that name means at this place.
func (a *analyzer) classNamed(s *scope, name string) *class {
	a.used[name] = true
	if c := a.visible(s, name); c != nil {
		return c
	}
	return a.graph.builtin(name)
}

func (a *analyzer) visible(s *scope, name string) *class {
	for ; s != nil; s = s.parent {
		if c := s.classes[name]; c != nil {
			return c
		}
	}
	return nil
}

func (a *analyzer) compound(s *scope, c *Compound, name string) *class {
	cl := &class{name: name, pos: c.Pos, defs: []*scope{}}
	for _, d := range c.Defs {
		b := newScope(s, d.Pos)
		b.formals = d.Formals
		b.members = []*member{{name: "input", tunnel: true, pos: d.Pos}, {name: "output", tunnel: true, pos: d.Pos}}
		b.collect(d.Stmts)
		a.stmts(b, d.Stmts, ends{0, 1})
		a.finish(b)
		b.nin = a.sequential(b, 0, d.Pos, "compound element", "input")
		b.nout = a.sequential(b, 1, d.Pos, "compound element", "output")
		cl.defs = append(cl.defs, b)
	}
	return cl
}

// finish counts the ports that the connections of s use.
func (a *analyzer) finish(s *scope) {
	for _, e := range s.edges {
		f, t := s.members[e.from], s.members[e.to]
		f.nout = max(f.nout, e.fromPort+1)
		t.nin = max(t.nin, e.toPort+1)
	}
}

// portSet returns which ports of member m are used as output (or else input) ports.
func (s *scope) portSet(m int, output bool) map[int]bool {
	set := map[int]bool{}
	for _, e := range s.edges {
		if output && e.from == m {
			set[e.fromPort] = true
		} else if !output && e.to == m {
			set[e.toPort] = true
		}
	}
	return set
}

// sequential checks that the pseudo-element m, seen from within, uses ports without gaps.
func (a *analyzer) sequential(s *scope, m int, pos errs.Pos, what, which string) int {
	set := s.portSet(m, which == "input")
	n := 0
	for p := range set {
		n = max(n, p+1)
	}
	for p := 0; p < n && len(set) < n; p++ {
		if !set[p] {
			a.errorf(pos, "%s %s %d unused", what, which, p)
			return n
		}
	}
	return n
}

// declare makes a member. An empty name asks for an anonymous one.
func (a *analyzer) declare(s *scope, name string, c *class, e *Element) int {
	s.count++
	if name == "" {
		k := s.count
		for {
			name = fmt.Sprintf("%s@%d", c.name, k)
			if _, taken := s.names[name]; !taken && !s.later[name] {
				break
			}
			k++
		}
	} else {
		if a.used[name] {
			a.errorf(e.Pos, "class '%s' used as element name", name)
		}
		if i, ok := s.names[name]; ok {
			m := s.members[i]
			if m.class == nil && !m.tunnel { // mentioned before
				m.class, m.config, m.pos = c, e.Config, e.Pos
				return i
			}
			a.errorf(e.Pos, "redeclaration of element '%s'\n%s: element '%s' previously declared here", name, m.pos, name)
			return i
		}
	}
	return s.add(&member{name: name, class: c, config: e.Config, pos: e.Pos})
}

func (s *scope) add(m *member) int {
	i := len(s.members)
	s.members = append(s.members, m)
	if !m.tunnel {
		s.names[m.name] = i
	}
	return i
}

// place is a resolved mention of an element.
type place struct {
	e       *Element
	in, out int   // members that connections to and from it mean, -1 if impossible
	ins     []int // ports meant when none are given
	outs    []int
	group   bool
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

var portZero = []int{0}

func (a *analyzer) connection(s *scope, c *Connection, in ends) {
	var prev []place
	for i, h := range c.Hops {
		cur := a.hop(s, c, i, in)
		first, last := i == 0, i == len(c.Hops)-1
		for _, p := range cur {
			if first && p.e.In != nil {
				a.errorf(p.e.In.Pos, "useless input port list, nothing is connected to it")
			} else if first && p.group && len(p.ins) > 0 {
				a.errorf(p.e.Pos, "element group input 0 is not connected from outside")
			}
			if last && p.e.Out != nil {
				a.errorf(p.e.Out.Pos, "useless output port list, it is connected to nothing")
			} else if last && p.group && len(p.outs) > 0 {
				a.errorf(p.e.Pos, "element group output 0 is not connected from outside")
			}
		}
		if !first {
			a.connect(s, h, prev, cur)
		}
		prev = cur
	}
}

// hop resolves the elements of hop i of c.
func (a *analyzer) hop(s *scope, c *Connection, i int, in ends) []place {
	h := c.Hops[i]
	if len(h.Elements) == 0 {
		pos, which, m := h.ArrowPos, "output", in.out
		e := &Element{In: h.Ports}
		if i == 0 {
			pos, which, m = c.Pos, "input", in.in
			e = &Element{Out: h.Ports}
		}
		if e.Pos = pos; m < 0 {
			a.errorf(pos, "no '%s' here: a chain may start or end with an arrow only in compound elements and groups", which)
			return nil
		}
		if i == 0 {
			return []place{{e: e, in: -1, out: m, outs: portZero}}
		}
		return []place{{e: e, in: m, out: -1, ins: portZero}}
	}
	out := make([]place, len(h.Elements))
	for j := len(h.Elements) - 1; j >= 0; j-- {
		// A standalone list takes its class from the declaration that ends it.
		e := h.Elements[j]
		if len(c.Hops) > 1 || e.Class != nil || e.IsGroup || j+1 == len(h.Elements) {
			continue
		}
		if n := h.Elements[j+1]; n.Class != nil && n.Name != "" {
			e.Class, e.Config = n.Class, n.Config
		}
	}
	shared := map[*Class]*class{}
	for j, e := range h.Elements {
		out[j] = a.place(s, e, in, shared)
	}
	return out
}

func (a *analyzer) place(s *scope, e *Element, in ends, shared map[*Class]*class) place {
	p := place{e: e, ins: portZero, outs: portZero}
	switch {
	case e.IsGroup:
		return a.group(s, e)
	case e.Class == nil && e.Name == "input" && in.in >= 0:
		p.in, p.out = -1, in.in
		return p
	case e.Class == nil && e.Name == "output" && in.in >= 0:
		p.in, p.out = in.out, -1
		return p
	case e.Class == nil:
		if i, ok := s.names[e.Name]; ok {
			p.in, p.out = i, i
			return p
		}
		if a.visible(s, e.Name) == nil && s.later[e.Name] && !(a.opt.IsClass != nil && a.opt.IsClass(e.Name)) {
			p.in = s.add(&member{name: e.Name, pos: e.Pos})
			p.out = p.in
			return p
		}
		p.in = a.declare(s, "", a.classNamed(s, e.Name), e)
	default:
		if (e.Name == "input" || e.Name == "output") && in.in >= 0 {
			a.errorf(e.Pos, "'%s' is a pseudoelement here and cannot be declared", e.Name)
		}
		cl := shared[e.Class]
		if cl == nil {
			if e.Class.Compound == nil {
				if i, ok := s.names[e.Class.Name]; ok && e.Name == "" {
					a.errorf(e.Pos, "'%s' is an element name and takes no configuration string here\n%s: element '%s' declared here",
						e.Class.Name, s.members[i].pos, e.Class.Name)
					p.in, p.out = i, i
					return p
				}
				cl = a.classNamed(s, e.Class.Name)
			} else {
				cl = a.compound(s, e.Class.Compound, "")
				if e.Class.Compound.Extend {
					a.errorf(e.Class.Pos, "'...' is only possible in an elementclass statement")
				}
			}
			shared[e.Class] = cl
		}
		p.in = a.declare(s, e.Name, cl, e)
	}
	p.out = p.in
	return p
}

// group resolves an element group. Its ends are members of the same scope.
func (a *analyzer) group(s *scope, e *Element) place {
	in := ends{in: s.add(&member{tunnel: true, pos: e.Pos})}
	in.out = s.add(&member{tunnel: true, pos: e.Pos})
	a.stmts(s, e.Group, in)
	n := a.sequential(s, in.in, e.Pos, "element group", "input")
	m := a.sequential(s, in.out, e.Pos, "element group", "output")
	return place{e: e, in: in.in, out: in.out, ins: seq(n), outs: seq(m), group: true}
}

// checkGroup compares a port list that was given for a group with the ports that it has.
func (a *analyzer) checkGroup(p place, side string, given *Ports, have []int) {
	set := map[int]bool{}
	for _, n := range given.Num {
		if n >= len(have) {
			a.errorf(given.Pos, "element group has no %s %d", side, n)
			return
		}
		set[n] = true
	}
	for n := range have {
		if !set[n] {
			a.errorf(p.e.Pos, "element group %s %d is not connected from outside", side, n)
			return
		}
	}
}

type endpoint struct {
	member, port int
	pos          errs.Pos
}

// endpoints lists the ports on one side of an arrow, and tells whether the side is a single
// element without ports, which a many-to-many arrow expands.
func (a *analyzer) endpoints(side []place, output bool) (list []endpoint, expandable bool) {
	for _, p := range side {
		m, given, ports, which := p.in, p.e.In, p.ins, "input"
		if output {
			m, given, ports, which = p.out, p.e.Out, p.outs, "output"
		}
		if m < 0 {
			if output {
				a.errorf(p.e.Pos, "pseudoelement 'output' may only be used as input")
			} else {
				a.errorf(p.e.Pos, "pseudoelement 'input' may only be used as output")
			}
			continue
		}
		if p.group && given != nil {
			a.checkGroup(p, which, given, ports)
		}
		expandable = len(side) == 1 && !p.group && given == nil
		if given != nil {
			ports = given.Num
		}
		for _, n := range ports {
			list = append(list, endpoint{m, n, p.e.Pos})
		}
	}
	return list, expandable
}

func (a *analyzer) connect(s *scope, h Hop, left, right []place) {
	from, fexp := a.endpoints(left, true)
	to, texp := a.endpoints(right, false)
	if len(left) == 0 || len(right) == 0 {
		return // an error has been reported
	}
	add := func(f, t endpoint) {
		if a.edges++; a.edges > a.opt.maxElements()*4 {
			if a.edges == a.opt.maxElements()*4+1 {
				a.errorf(h.ArrowPos, "more than %d connections", a.opt.maxElements()*4)
			}
			return
		}
		s.edges = append(s.edges, edge{f.member, f.port, t.member, t.port, f.pos})
	}
	if h.Arrow == "->" {
		if len(from) > 1 && len(to) > 1 {
			a.errorf(h.ArrowPos, "'->' cannot connect %d outputs to %d inputs, use '=>'", len(from), len(to))
			return
		}
		for _, f := range from {
			for _, t := range to {
				add(f, t)
			}
		}
		return
	}
	expand := func(one []endpoint, n int) []endpoint {
		out := make([]endpoint, n)
		for i := range out {
			out[i] = endpoint{one[0].member, i, one[0].pos}
		}
		return out
	}
	if fexp && len(from) == 1 {
		from = expand(from, len(to))
	} else if texp && len(to) == 1 {
		to = expand(to, len(from))
	}
	if len(from) != len(to) {
		a.errorf(h.ArrowPos, "'=>' connects as many outputs as inputs, but there are %d outputs and %d inputs", len(from), len(to))
		return
	}
	for i := range from {
		add(from[i], to[i])
	}
}

// clip shortens user text for a message.
func clip(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	return s
}
