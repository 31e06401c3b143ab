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
	Edges    []Edge // sorted by From, FromPort, To, ToPort unless Options.KeepOrder; none twice
	Requires []string
	Provides []string
	Defines  []Define // with Options.KeepVars

	classes map[string]*class
}

// Define is a global variable, whose value stands as it was written.
type Define struct{ Name, Value string }

// Node is an element of a Graph.
type Node struct {
	Name  string
	Class string
	Args  []string // with quotes, without comments
	Pos   errs.Pos // of the declaration
	// Text is the configuration string as it was written, if Options.KeepVars asked for it. Whoever changes Args empties it.
	Text string
}

// Config returns the arguments as one configuration string.
func (n *Node) Config() string {
	if n.Text != "" {
		return n.Text
	}
	return JoinArgs(n.Args)
}

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
func (g *Graph) String() string { return g.text(false) }

// Marked is String with a "# LINE FILE" before each declaration, so that errors of whoever reads it name the places
// of the original.
func (g *Graph) Marked() string { return g.text(true) }

func (g *Graph) text(marks bool) string {
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
	for i, d := range g.Defines {
		b.WriteString([]string{"define(", ", "}[min(i, 1)] + "$" + d.Name + " " + d.Value)
	}
	if len(g.Defines) > 0 {
		b.WriteString(");\n\n")
	}
	for i := range g.Elements {
		n := &g.Elements[i]
		if marks {
			b.WriteString("# " + strconv.Itoa(n.Pos.Line) + " \"" + Escape(n.Pos.File) + "\"\n")
		}
		b.WriteString(n.Name + " :: " + n.Class)
		if c := n.Config(); c != "" {
			b.WriteString("(" + c + ")")
		}
		b.WriteString(";\n")
	}
	if len(g.Edges) > 0 {
		if marks { // what follows has places in this text only
			b.WriteString("# " + strconv.Itoa(strings.Count(b.String(), "\n")+2) + " \"\"\n")
		} else {
			b.WriteString("\n")
		}
		g.writeEdges(&b, marks)
	}
	return b.String()
}

// writeEdges writes the connections as chains: one that ends at input 0 of an element goes on with the first one from output 0. greedy is
// for connections in the order of the text: the chain that comes first goes on; else it is that of the first connection.
func (g *Graph) writeEdges(b *strings.Builder, greedy bool) {
	leaving := make(map[int]int, len(g.Elements))  // element -> first connection from its output 0
	entered := make(map[int]bool, len(g.Elements)) // elements with something at input 0
	for i := len(g.Edges) - 1; i >= 0; i-- {
		e := &g.Edges[i]
		if e.FromPort == 0 {
			leaving[e.From] = i
		}
		if e.ToPort == 0 {
			entered[e.To] = true
		}
	}
	// after returns the connection that may continue i in a chain, or -1.
	after := func(i int) int {
		n, ok := leaving[g.Edges[i].To]
		if !ok || g.Edges[i].ToPort != 0 || n == i {
			return -1
		}
		return n
	}
	next := make([]int, len(g.Edges))
	continued := make([]bool, len(g.Edges))
	for i, e := range g.Edges {
		next[i] = -1
		if greedy {
			next[i] = after(i)
			first, ok := leaving[e.From]
			continued[i] = ok && first == i && entered[e.From]
		} else if n := after(i); n >= 0 && !continued[n] {
			next[i], continued[n] = n, true
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
