package lang

import (
	"fmt"
	"sort"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Options of Flatten. The zero value is useful.
type Options struct {
	// IsClass reports whether name is an element class. It decides only whether an identifier
	// that is declared further down is that element or an anonymous one of the class.
	IsClass func(name string) bool
	// Vars override global define()s; names have no dollar sign.
	Vars map[string]string
	// Library finds the text for require(library NAME). The file name says whether two
	// libraries are the same one. Nil refuses libraries.
	Library func(name string) (file, text string, err error)
	// MaxElements bounds the flat graph; 0 means DefaultMaxElements.
	MaxElements int
	// Lines leaves the columns out of the places in errors, as Click does.
	Lines bool
	// KeepVars leaves references to global variables as they are and puts the variables into Graph.Defines, those of Vars
	// included. Configuration strings keep their form.
	KeepVars bool
	// KeepOrder leaves connections in the order in which they were written.
	KeepOrder bool
}

// DefaultMaxElements is how many elements a flat graph may have when Options does not say.
const DefaultMaxElements = 200_000

const (
	maxText       = 16 << 20 // bytes of all expanded configuration strings
	maxNameLength = 4 << 10
)

func (o *Options) maxElements() int {
	if o.MaxElements > 0 {
		return o.MaxElements
	}
	return DefaultMaxElements
}

// ParseGraph is Parse and Flatten. The error, an errs.List's, has all errors of both.
func ParseGraph(name, src string, opt Options) (*Graph, error) {
	list := errs.List{Lines: opt.Lines}
	g := Flatten(Parse(name, src, &list), opt, &list)
	for i := range g.Elements {
		if opt.Lines {
			g.Elements[i].Pos.Col = 0
		}
	}
	return g, list.Err()
}

// Flatten expands compounds, variables, groups and tunnels of f. Errors are added to list;
// if there are any, the result lacks what they concern.
func Flatten(f *File, opt Options, list *errs.List) *Graph {
	g := &Graph{classes: map[string]*class{}}
	a := &analyzer{opt: &opt, errors: list, used: map[string]bool{}, included: map[string]bool{f.Name: true}, graph: g}
	before := list.Len()
	top := newScope(nil, errs.Pos{File: f.Name})
	top.collect(f.Stmts)
	a.stmts(top, f.Stmts, noEnds)
	a.finish(top)
	if list.Len() > before {
		// Expansion of a broken tree would mostly report consequences.
		x := &flattener{a: a, g: g, quiet: true}
		x.run(top)
		return g
	}
	x := &flattener{a: a, g: g}
	x.run(top)
	return g
}

// flattener instantiates scopes, breadth first, so that the elements of one level precede those
// of the next.
type flattener struct {
	a     *analyzer
	g     *Graph
	x     expander
	quiet bool
	todo  []instance
	nodes int              // ids given out
	real  []int            // id -> index in the graph, -1 for tunnel ends, -2 for those that lead into a compound
	edges []edge           // between ids
	names map[string]int32 // flat names
	stop  bool
}

type instance struct {
	scope  *scope
	env    *env
	prefix string
	in     int // ids of the ends; -1 at top level
	out    int
}

func (x *flattener) errorf(pos errs.Pos, format string, args ...any) {
	if !x.quiet {
		x.a.errorf(pos, format, args...)
	}
}

func (x *flattener) id(node int) int {
	x.real = append(x.real, node)
	x.nodes++
	return x.nodes - 1
}

func (x *flattener) run(top *scope) {
	x.x.left = maxText
	x.names = map[string]int32{}
	e := &env{def: top, vars: map[string]string{}, raw: map[string]bool{}}
	if x.a.opt.KeepVars {
		x.keep(top)
	} else {
		for k, v := range top.vars {
			e.vars[k], e.raw[k] = v, true
		}
		for k, v := range x.a.opt.Vars {
			e.vars[k] = v
			delete(e.raw, k)
		}
	}
	x.todo = []instance{{scope: top, env: e, in: -1, out: -1}}
	for i := 0; i < len(x.todo) && !x.stop; i++ {
		x.instantiate(x.todo[i])
		x.todo[i] = instance{}
	}
	x.tunnels()
}

// keep makes the global variables part of the graph instead of expanding them.
func (x *flattener) keep(top *scope) {
	x.x.kept = map[string]bool{}
	add := func(name, value string) {
		if v, ok := x.a.opt.Vars[name]; ok {
			if value = v; v != "" && (!balanced(v) || JoinArgs(SplitArgs(v)) != v || len(SplitArgs(v)) != 1) {
				value = `"` + Escape(v) + `"` // it could not stand in a define
			}
		}
		if !x.x.kept[name] {
			x.x.kept[name] = true
			x.g.Defines = append(x.g.Defines, Define{name, value})
		}
	}
	for _, name := range top.order {
		add(name, top.vars[name])
	}
	rest := make([]string, 0, len(x.a.opt.Vars))
	for name := range x.a.opt.Vars {
		rest = append(rest, name)
	}
	sort.Strings(rest)
	for _, name := range rest {
		add(name, "")
	}
}

func (x *flattener) instantiate(in instance) {
	ids := make([][2]int, len(in.scope.members)) // where connections to and from a member go
	for i, m := range in.scope.members {
		switch {
		case m.tunnel:
			if in.in >= 0 && i < 2 {
				id := [2]int{in.in, in.out}[i]
				ids[i] = [2]int{id, id}
				continue
			}
			id := x.id(-1)
			ids[i] = [2]int{id, id}
		case m.class == nil:
			id := x.id(-1)
			ids[i] = [2]int{id, id}
		default:
			ids[i] = x.member(in, m)
		}
		if x.stop {
			return
		}
	}
	for _, e := range in.scope.edges {
		x.edges = append(x.edges, edge{ids[e.from][1], e.fromPort, ids[e.to][0], e.toPort, e.pos})
	}
	if len(x.edges) > 8*x.a.opt.maxElements() {
		x.errorf(in.scope.pos, "the configuration expands to more than %d connections", 8*x.a.opt.maxElements())
		x.stop = true
	}
}

// member makes an element, or a pair of tunnel ends and further work for a compound one.
func (x *flattener) member(in instance, m *member) [2]int {
	name := in.prefix + m.name
	var config string
	if m.config != nil {
		config = x.x.expand(m.config.Text, in.env)
		if x.x.left < 0 {
			x.errorf(m.pos, "variables expand to more than %d bytes", maxText)
			x.stop = true
			return [2]int{}
		}
	}
	args := SplitArgs(config)
	if len(name) > maxNameLength {
		x.errorf(m.pos, "the name of an element has more than %d bytes", maxNameLength)
		x.stop = true
		return [2]int{}
	}
	if x.nodes >= 2*x.a.opt.maxElements() || len(x.g.Elements) >= x.a.opt.maxElements() {
		x.errorf(m.pos, "the configuration expands to more than %d elements", x.a.opt.maxElements())
		x.stop = true
		return [2]int{}
	}
	def, cl, vars := x.choose(in, m, name, args)
	if def != nil {
		lex := in.env
		for lex.def != def.parent {
			lex = lex.outer
		}
		e := &env{outer: lex, def: def, vars: vars, raw: map[string]bool{}}
		for k, v := range def.vars {
			e.vars[k], e.raw[k] = v, true
		}
		sub := instance{scope: def, env: e, prefix: name + "/", in: x.id(-2), out: x.id(-1)}
		x.todo = append(x.todo, sub)
		return [2]int{sub.in, sub.out}
	}
	if cl == nil {
		id := x.id(-1)
		return [2]int{id, id}
	}
	for _, arg := range args {
		if !balanced(arg) {
			x.errorf(m.pos, "the configuration string of '%s :: %s' has unbalanced quotes or parentheses: '%s'", name, cl.name, clip(arg))
			break
		}
	}
	if other, dup := x.names[name]; dup {
		x.errorf(m.pos, "redeclaration of element '%s'\n%s: element '%s' previously declared here", name, x.g.Elements[other].Pos, name)
	} else if x.a.used[name] {
		x.errorf(m.pos, "class '%s' used as element name", name)
	}
	x.names[name] = int32(len(x.g.Elements))
	text := ""
	if x.a.opt.KeepVars && len(args) > 0 {
		text = config
	}
	x.g.Elements = append(x.g.Elements, Node{Name: name, Class: cl.name, Args: args, Pos: m.pos, Text: text})
	id := x.id(len(x.g.Elements) - 1)
	return [2]int{id, id}
}

// choose finds the definition that fits a use of a class: a compound one with its variables,
// or a class of package click, or (nil, nil) after an error.
func (x *flattener) choose(in instance, m *member, name string, args []string) (*scope, *class, map[string]string) {
	if !m.class.compound() {
		return nil, m.class, nil
	}
	var reasons []string
	for c := m.class; c != nil; c = c.next {
		if !c.compound() {
			return nil, c, nil
		}
		for _, d := range c.defs {
			vars, why := d.bind(args)
			if why == "" {
				why = d.portsFit(m)
			}
			if why == "" {
				return d, c, vars
			}
			reasons = append(reasons, fmt.Sprintf("'%s': %s", d.signature(m.class.name), why))
		}
	}
	label := name
	if m.class.name != "" {
		label += " :: " + m.class.name
	}
	if len(reasons) == 1 {
		x.errorf(m.pos, "compound element '%s' does not fit its definition %s", label, reasons[0])
	} else {
		x.errorf(m.pos, "no match for '%s', %s, %s, %s\n  candidates are: %s", label, plural(m.nin, "input"), plural(m.nout, "output"),
			plural(len(args), "argument"), strings.Join(reasons, "\n    "))
	}
	return nil, nil, nil
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// signature shows a definition's parameters.
func (s *scope) signature(name string) string {
	var f []string
	for _, p := range s.formals {
		f = append(f, strings.TrimSpace(p.Key+" $"+p.Name))
	}
	if name == "" {
		name = "{...}"
	}
	if len(f) == 0 {
		return name
	}
	return name + "(" + strings.Join(f, ", ") + ")"
}

func (s *scope) portsFit(m *member) string {
	switch {
	case m.nin > s.nin:
		return fmt.Sprintf("no input %d, it has %s", m.nin-1, plural(s.nin, "input"))
	case m.nin < s.nin:
		return fmt.Sprintf("input %d unused", m.nin)
	case m.nout > s.nout:
		return fmt.Sprintf("no output %d, it has %s", m.nout-1, plural(s.nout, "output"))
	case m.nout < s.nout:
		return fmt.Sprintf("output %d unused", m.nout)
	}
	return ""
}

// bind gives the parameters their values, or says why the arguments do not fit.
func (s *scope) bind(args []string) (map[string]string, string) {
	vars := map[string]string{}
	keys := map[string]string{} // keyword -> parameter
	var positional []string
	rest := ""
	for _, f := range s.formals {
		switch f.Key {
		case "":
			positional = append(positional, f.Name)
		case "__REST__":
			rest = f.Name
		default:
			keys[f.Key] = f.Name
		}
	}
	var others, dup []string
	for _, arg := range args {
		word, value := NextWord(arg)
		if name, ok := keys[word]; ok {
			if _, twice := vars[name]; twice {
				dup = append(dup, word)
			}
			vars[name] = value
		} else {
			others = append(others, arg)
		}
	}
	if len(dup) > 0 {
		return nil, fmt.Sprintf("keyword '%s' is given twice", dup[0])
	}
	for _, f := range s.formals {
		if f.Key != "" && f.Key != "__REST__" {
			if _, ok := vars[f.Name]; !ok {
				return nil, fmt.Sprintf("missing '%s' parameter", f.Key)
			}
		}
	}
	if len(others) < len(positional) {
		return nil, "too few arguments"
	}
	if len(others) > len(positional) && rest == "" {
		return nil, "too many arguments"
	}
	for i, name := range positional {
		vars[name] = others[i]
	}
	if rest != "" {
		vars[rest] = strings.Join(others[len(positional):], ", ")
	}
	return vars, ""
}

// tunnels replaces connections that lead through tunnel ends by direct ones.
func (x *flattener) tunnels() {
	type port struct{ id, port int }
	through := map[port][]edge{}
	for _, e := range x.edges {
		if x.real[e.from] < 0 {
			k := port{e.from, e.fromPort}
			through[k] = append(through[k], e)
		}
	}
	var via [3][]Edge // direct ones, those that lead out of a compound, and into one
	have := make(map[Edge]struct{}, len(x.edges))
	budget := 16 * x.a.opt.maxElements()
	for _, e := range x.edges {
		if x.real[e.from] < 0 {
			continue
		}
		var seen map[port]bool
		work := []edge{e}
		for len(work) > 0 {
			if budget--; budget < 0 {
				x.errorf(e.pos, "the connections through compound elements expand without end")
				return
			}
			t := work[0]
			work = work[1:]
			if r := x.real[t.to]; r >= 0 {
				g := Edge{From: x.real[e.from], FromPort: e.fromPort, To: r, ToPort: t.toPort, Pos: e.pos}
				k := g
				k.Pos = errs.Pos{}
				if _, dup := have[k]; !dup {
					have[k] = struct{}{}
					x.g.Edges = append(x.g.Edges, g)
					way := 0
					if x.real[e.to] < 0 {
						way = -x.real[e.to]
					}
					via[way] = append(via[way], g)
				}
				continue
			}
			k := port{t.to, t.toPort}
			if seen == nil {
				seen = map[port]bool{}
			}
			if !seen[k] {
				seen[k] = true
				work = append(work, through[k]...)
			}
		}
	}
	if !x.a.opt.KeepOrder {
		x.g.sortEdges()
		return
	}
	edges := make([]Edge, 0, len(x.g.Edges))
	for way := range via {
		edges = append(edges, via[way]...)
	}
	x.g.Edges = edges
}
