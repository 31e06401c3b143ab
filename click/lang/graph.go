package lang

import (
	"sort"
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Graph is a flat configuration. It is inert: package click makes a router of it.
type Graph struct {
	Elements []Node
	Edges    []Edge // sorted by From, FromPort, To, ToPort; none twice
	Requires []string
	Provides []string

	classes map[string]*class
}

// Node is an element of a Graph.
type Node struct {
	Name  string
	Class string
	Args  []string // with quotes, without comments
	Pos   errs.Pos // of the declaration
}

// Config returns the arguments as one configuration string.
func (n *Node) Config() string { return JoinArgs(n.Args) }

// Edge is a connection from an output port to an input port.
type Edge struct {
	From, FromPort int
	To, ToPort     int
	Pos            errs.Pos
}

func (g *Graph) builtin(name string) *class {
	c := g.classes[name]
	if c == nil {
		c = &class{name: name}
		g.classes[name] = c
	}
	return c
}

func (g *Graph) sortEdges() {
	sort.Slice(g.Edges, func(i, j int) bool {
		a, b := &g.Edges[i], &g.Edges[j]
		switch {
		case a.From != b.From:
			return a.From < b.From
		case a.FromPort != b.FromPort:
			return a.FromPort < b.FromPort
		case a.To != b.To:
			return a.To < b.To
		}
		return a.ToPort < b.ToPort
	})
}

// Index returns the element of that name, or -1.
func (g *Graph) Index(name string) int {
	for i := range g.Elements {
		if g.Elements[i].Name == name {
			return i
		}
	}
	return -1
}

// String prints g in the flat form: requirements, declarations, connections with
// chains where output 0 goes on from input 0. Parsing the result gives g again.
func (g *Graph) String() string {
	var b strings.Builder
	list := func(word string, names []string) {
		if len(names) == 0 {
			return
		}
		q := make([]string, len(names))
		for i, n := range names {
			q[i] = Quote(n)
		}
		b.WriteString(word + "(" + strings.Join(q, ", ") + ");\n\n")
	}
	list("require", g.Requires)
	list("provide", g.Provides)
	for i := range g.Elements {
		n := &g.Elements[i]
		b.WriteString(n.Name + " :: " + n.Class)
		if c := n.Config(); c != "" {
			b.WriteString("(" + c + ")")
		}
		b.WriteString(";\n")
	}
	if len(g.Edges) > 0 {
		b.WriteString("\n")
		g.writeEdges(&b)
	}
	return b.String()
}

func (g *Graph) writeEdges(b *strings.Builder) {
	// next[i] is the connection that continues i in a chain: i ends at input 0, next[i]
	// leaves by output 0.
	leaving := make(map[int]int, len(g.Elements)) // element -> first connection from its output 0
	for i := len(g.Edges) - 1; i >= 0; i-- {
		if g.Edges[i].FromPort == 0 {
			leaving[g.Edges[i].From] = i
		}
	}
	next := make([]int, len(g.Edges))
	continued := make([]bool, len(g.Edges))
	for i, e := range g.Edges {
		next[i] = -1
		if n, ok := leaving[e.To]; ok && e.ToPort == 0 && n != i && !continued[n] {
			next[i] = n
			continued[n] = true
		}
	}
	done := make([]bool, len(g.Edges))
	chain := func(i int) {
		e := g.Edges[i]
		b.WriteString(g.Elements[e.From].Name)
		for first := true; ; first = false {
			done[i] = true
			e = g.Edges[i]
			if e.FromPort > 0 {
				b.WriteString(" [" + strconv.Itoa(e.FromPort) + "]")
			}
			if !first {
				b.WriteString("\n   ")
			}
			b.WriteString(" -> ")
			if e.ToPort > 0 {
				b.WriteString("[" + strconv.Itoa(e.ToPort) + "] ")
			}
			b.WriteString(g.Elements[e.To].Name)
			if i = next[i]; i < 0 || done[i] {
				break
			}
		}
		b.WriteString(";\n")
	}
	for i := range g.Edges {
		if !done[i] && !continued[i] {
			chain(i)
		}
	}
	for i := range g.Edges { // what is left runs in circles
		if !done[i] {
			chain(i)
		}
	}
}
