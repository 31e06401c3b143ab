package tool

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// edit is a graph that is being changed: elements keep their numbers, and what is removed leaves a hole until commit.
type edit struct {
	g     *lang.Graph
	gone  []bool // elements
	free  []bool // edges that are gone
	names map[string]int
	ins   [][]int // for each element the edges that lead to it, also those that are gone
	outs  [][]int
}

// port is a port of an element; whether an input or an output is said where it is used.
type port struct{ el, n int }

func newEdit(g *lang.Graph) *edit {
	e := &edit{g: g, gone: make([]bool, len(g.Elements)), free: make([]bool, len(g.Edges)), names: make(map[string]int, len(g.Elements))}
	for i := range g.Elements {
		e.names[g.Elements[i].Name] = i
	}
	e.list()
	return e
}

// list makes ins and outs.
func (e *edit) list() {
	e.ins, e.outs = make([][]int, len(e.gone)), make([][]int, len(e.gone))
	for k, ed := range e.g.Edges {
		e.outs[ed.From], e.ins[ed.To] = append(e.outs[ed.From], k), append(e.ins[ed.To], k)
	}
}

// commit takes out the holes.
func (e *edit) commit() {
	at := make([]int, len(e.gone))
	var els []lang.Node
	for i, gone := range e.gone {
		at[i] = len(els)
		if !gone {
			els = append(els, e.g.Elements[i])
		}
	}
	var edges []lang.Edge
	for i, ed := range e.g.Edges {
		if !e.free[i] && !e.gone[ed.From] && !e.gone[ed.To] {
			ed.From, ed.To = at[ed.From], at[ed.To]
			edges = append(edges, ed)
		}
	}
	e.g.Elements, e.g.Edges = els, edges
	*e = *newEdit(e.g)
}

// class returns what is known of an element's class.
func (e *edit) class(i int) *click.Class { return ClassOf(e.g.Elements[i].Class) }

// label is how messages name an element.
func (e *edit) label(i int) string { return e.g.Elements[i].Name + " :: " + e.g.Elements[i].Class }

// arg returns argument n of an element as it will be when the configuration runs, "" if there is none.
func (e *edit) arg(i, n int) string {
	args := e.g.Elements[i].Args
	if n >= len(args) {
		return ""
	}
	return lang.Unquote(e.g.Expand(args[n]))
}

// number returns the integer that argument n is, without a keyword.
func (e *edit) number(i, n int) (int, bool) {
	words := lang.SplitWords(e.arg(i, n))
	if len(words) == 0 {
		return 0, false
	}
	v, err := strconv.ParseInt(words[len(words)-1], 0, 32)
	return int(v), err == nil
}

// key returns the value of a keyword argument.
func (e *edit) key(i int, name string) (string, bool) {
	for n := range e.g.Elements[i].Args {
		if w, v := lang.NextWord(e.arg(i, n)); w == name {
			return v, true
		}
	}
	return "", false
}

// add puts in an element; the name is made unused by a number behind it.
func (e *edit) add(n lang.Node) int {
	base := n.Name
	for k := 2; ; k++ {
		if _, taken := e.names[n.Name]; !taken {
			break
		}
		n.Name = base + "_" + strconv.Itoa(k)
	}
	e.names[n.Name] = len(e.g.Elements)
	e.g.Elements = append(e.g.Elements, n)
	e.gone, e.ins, e.outs = append(e.gone, false), append(e.ins, nil), append(e.outs, nil)
	return len(e.g.Elements) - 1
}

// anonymous puts in an element as if it were written without a name.
func (e *edit) anonymous(class, mark string, pos errs.Pos, args ...string) int {
	return e.add(lang.Node{Name: class + mark + "@" + strconv.Itoa(len(e.g.Elements)+1), Class: class, Args: args, Pos: pos})
}

func (e *edit) drop(i int) {
	e.gone[i] = true
	delete(e.names, e.g.Elements[i].Name)
	for _, k := range e.ins[i] {
		e.free[k] = true
	}
	for _, k := range e.outs[i] {
		e.free[k] = true
	}
}

// join connects two ports unless they are.
func (e *edit) join(from, to port, pos errs.Pos) {
	near := e.outs[from.el]
	if len(e.ins[to.el]) < len(near) {
		near = e.ins[to.el]
	}
	for _, k := range near {
		if ed := &e.g.Edges[k]; !e.free[k] && ed.From == from.el && ed.FromPort == from.n && ed.To == to.el && ed.ToPort == to.n {
			return
		}
	}
	k := len(e.g.Edges)
	e.g.Edges = append(e.g.Edges, lang.Edge{From: from.el, FromPort: from.n, To: to.el, ToPort: to.n, Pos: pos})
	e.free = append(e.free, false)
	e.outs[from.el], e.ins[to.el] = append(e.outs[from.el], k), append(e.ins[to.el], k)
}

// edges calls fn for every connection that is there.
func (e *edit) edges(fn func(k int, ed lang.Edge)) {
	for k := 0; k < len(e.g.Edges); k++ {
		if !e.free[k] {
			fn(k, e.g.Edges[k])
		}
	}
}

// into returns the output ports that are connected to an input.
func (e *edit) into(p port) (out []port) {
	for _, k := range e.ins[p.el] {
		if ed := &e.g.Edges[k]; !e.free[k] && ed.ToPort == p.n {
			out = append(out, port{ed.From, ed.FromPort})
		}
	}
	return out
}

// from returns the input ports that an output is connected to.
func (e *edit) from(p port) (out []port) {
	for _, k := range e.outs[p.el] {
		if ed := &e.g.Edges[k]; !e.free[k] && ed.FromPort == p.n {
			out = append(out, port{ed.To, ed.ToPort})
		}
	}
	return out
}

// ports returns how many ports of an element connections use.
func (e *edit) ports(i int) (nin, nout int) {
	for _, k := range e.ins[i] {
		if !e.free[k] {
			nin = max(nin, e.g.Edges[k].ToPort+1)
		}
	}
	for _, k := range e.outs[i] {
		if !e.free[k] {
			nout = max(nout, e.g.Edges[k].FromPort+1)
		}
	}
	return nin, nout
}

// tidy forgets connections that are gone, if they are many.
func (e *edit) tidy() {
	n := 0
	for k := range e.free {
		if !e.free[k] {
			n++
		}
	}
	if len(e.free) < 2*n+100 {
		return
	}
	n = 0
	for k, gone := range e.free {
		if !gone {
			e.g.Edges[n] = e.g.Edges[k]
			n++
		}
	}
	e.g.Edges, e.free = e.g.Edges[:n], make([]bool, n)
	e.list()
}

// counts returns how many ports the connections of each element use.
func (e *edit) counts() (nin, nout []int) {
	nin, nout = make([]int, len(e.gone)), make([]int, len(e.gone))
	e.edges(func(_ int, ed lang.Edge) {
		nin[ed.To] = max(nin[ed.To], ed.ToPort+1)
		nout[ed.From] = max(nout[ed.From], ed.FromPort+1)
	})
	return nin, nout
}

// bypass takes out an element through which packets go from one input to one output, and connects what is before and behind it.
func (e *edit) bypass(i, in, out int) {
	before, behind := e.into(port{i, in}), e.from(port{i, out})
	pos := e.g.Elements[i].Pos
	e.drop(i)
	for _, b := range before {
		for _, a := range behind {
			if b.el != i && a.el != i {
				e.join(b, a, pos)
			}
		}
	}
}

// anonymousName reports whether a name was made by the language and not by the user.
func anonymousName(name string) bool { return strings.Contains(name, "@") }
