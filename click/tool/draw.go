package tool

import (
	"fmt"
	"html"
	"sort"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

// label is what a drawing writes on an element: its class, and its name if it has one of its own.
func label(n *lang.Node) string {
	if anonymousName(n.Name[strings.LastIndexByte(n.Name, '/')+1:]) {
		return n.Class
	}
	return n.Name + " :: " + n.Class
}

// Outline describes a graph in lines: for each element its declaration, how packets move over its ports, and where its outputs lead.
func Outline(g *lang.Graph) string {
	in, out := Kinds(g)
	from := map[port][]string{}
	for _, e := range g.Edges {
		to := g.Elements[e.To].Name
		if e.ToPort > 0 {
			to = "[" + strconv.Itoa(e.ToPort) + "]" + to
		}
		from[port{e.From, e.FromPort}] = append(from[port{e.From, e.FromPort}], to)
	}
	kinds := func(ks []click.Kind) string {
		s := make([]string, len(ks))
		for i, k := range ks {
			s[i] = k.String()
		}
		if len(s) == 0 {
			return "none"
		}
		return strings.Join(s, " ")
	}
	var b strings.Builder
	for i := range g.Elements {
		n := &g.Elements[i]
		b.WriteString(n.Name + " :: " + n.Class)
		if c := lang.JoinArgs(n.Args); c != "" {
			b.WriteString("(" + shorten(c, 100) + ")")
		}
		fmt.Fprintf(&b, "\n    inputs: %s; outputs: %s\n", kinds(in[i]), kinds(out[i]))
		for p := range out[i] {
			fmt.Fprintf(&b, "    [%d] -> %s\n", p, strings.Join(from[port{i, p}], ", "))
		}
	}
	return b.String()
}

func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	cut := n
	for cut > 0 && s[cut]&0xc0 == 0x80 { // not within a character
		cut--
	}
	return s[:cut] + "..."
}

// DOT draws a graph in the language of dot(1). text says what is written on an element; nil: its class, and its name if it has one of its
// own. Push connections are solid, pull connections dashed.
func DOT(g *lang.Graph, text func(i int) string) string {
	_, out := Kinds(g)
	var b strings.Builder
	b.WriteString("digraph clickrouter {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n  edge [fontname=\"sans-serif\", fontsize=8];\n")
	for i := range g.Elements {
		s := label(&g.Elements[i])
		if text != nil {
			s = text(i)
		}
		fmt.Fprintf(&b, "  n%d [label=%s];\n", i, dotQuote(s))
	}
	for _, e := range g.Edges {
		var attrs []string
		if out[e.From][e.FromPort] == click.PullKind {
			attrs = append(attrs, "style=dashed")
		}
		if e.FromPort > 0 {
			attrs = append(attrs, fmt.Sprintf("taillabel=\"%d\"", e.FromPort))
		}
		if e.ToPort > 0 {
			attrs = append(attrs, fmt.Sprintf("headlabel=\"%d\"", e.ToPort))
		}
		fmt.Fprintf(&b, "  n%d -> n%d", e.From, e.To)
		if len(attrs) > 0 {
			b.WriteString(" [" + strings.Join(attrs, ", ") + "]")
		}
		b.WriteString(";\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// Sizes of a drawing, in pixels.
const (
	boxHeight  = 24
	charWidth  = 7
	layerSpace = 56
	boxSpace   = 18
	margin     = 16
)

// SVG draws a graph: layers from top to bottom, push connections solid, pull connections dashed, ports other than 0 with their numbers.
func SVG(g *lang.Graph) string {
	_, out := Kinds(g)
	layer := layers(g)
	rows := [][]int{}
	for i, l := range layer {
		for len(rows) <= l {
			rows = append(rows, nil)
		}
		rows[l] = append(rows[l], i)
	}
	straighten(g, rows, layer)
	x, w := make([]int, len(g.Elements)), make([]int, len(g.Elements))
	width := 0
	rowWidth := make([]int, len(rows))
	for r, row := range rows {
		for _, i := range row {
			w[i] = max(charWidth*len(label(&g.Elements[i]))+12, 40)
			x[i] = rowWidth[r]
			rowWidth[r] += w[i] + boxSpace
		}
		width = max(width, rowWidth[r])
	}
	for r, row := range rows {
		for _, i := range row {
			x[i] += margin + (width-rowWidth[r])/2
		}
	}
	y := func(i int) int { return margin + layer[i]*(boxHeight+layerSpace) }
	height := 2*margin + len(rows)*(boxHeight+layerSpace) - layerSpace
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="monospace" font-size="11">`+"\n", width+2*margin, max(height, 2*margin))
	b.WriteString(`<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>` + "\n")
	_, nout := newEdit(g).counts()
	nin, _ := newEdit(g).counts()
	at := func(i, port, n int) int { return x[i] + w[i]*(port+1)/(n+1) }
	for _, e := range g.Edges {
		x1, y1 := at(e.From, e.FromPort, nout[e.From]), y(e.From)+boxHeight
		x2, y2 := at(e.To, e.ToPort, nin[e.To]), y(e.To)
		dash := ""
		if out[e.From][e.FromPort] == click.PullKind {
			dash = ` stroke-dasharray="4 3"`
		}
		bend := layerSpace / 2
		if y2 <= y1 { // back to an earlier layer, or within one
			bend = layerSpace
		}
		fmt.Fprintf(&b, `<path d="M%d %dC%d %d %d %d %d %d" fill="none" stroke="#555"%s marker-end="url(#to)"/>`+"\n", x1, y1, x1, y1+bend, x2, y2-bend, x2, y2, dash)
		if e.FromPort > 0 {
			fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="9">%d</text>`+"\n", x1+2, y1+9, e.FromPort)
		}
		if e.ToPort > 0 {
			fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="9">%d</text>`+"\n", x2+2, y2-3, e.ToPort)
		}
	}
	for i := range g.Elements {
		n := &g.Elements[i]
		fmt.Fprintf(&b, `<g><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="#eef3fa" stroke="#336"/><text x="%d" y="%d" text-anchor="middle">%s</text></g>`+"\n",
			html.EscapeString(n.Name+" :: "+n.Class+"("+shorten(lang.JoinArgs(n.Args), 200)+")"), x[i], y(i), w[i], boxHeight, x[i]+w[i]/2, y(i)+16, html.EscapeString(label(n)))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// layers gives each element a layer below those that lead to it, circles apart.
func layers(g *lang.Graph) []int {
	to := make([][]int, len(g.Elements))
	for _, e := range g.Edges {
		to[e.From] = append(to[e.From], e.To)
	}
	const (
		fresh = iota
		open
		done
	)
	state := make([]int, len(g.Elements))
	var order []int // in reverse: those that are led to come first
	next := make([]int, len(g.Elements))
	back := map[[2]int]bool{}
	for root := range g.Elements {
		if state[root] != fresh {
			continue
		}
		stack := []int{root}
		state[root] = open
		for len(stack) > 0 {
			i := stack[len(stack)-1]
			if next[i] == len(to[i]) {
				state[i] = done
				order = append(order, i)
				stack = stack[:len(stack)-1]
				continue
			}
			j := to[i][next[i]]
			next[i]++
			switch state[j] {
			case fresh:
				state[j] = open
				stack = append(stack, j)
			case open:
				back[[2]int{i, j}] = true
			}
		}
	}
	layer := make([]int, len(g.Elements))
	for k := len(order) - 1; k >= 0; k-- {
		i := order[k]
		for _, j := range to[i] {
			if !back[[2]int{i, j}] {
				layer[j] = max(layer[j], layer[i]+1)
			}
		}
	}
	return layer
}

// straighten orders the elements of each layer by the mean place of those that lead to them, so that fewer connections cross.
func straighten(g *lang.Graph, rows [][]int, layer []int) {
	into := make([][]int, len(g.Elements))
	for _, e := range g.Edges {
		if layer[e.From] < layer[e.To] {
			into[e.To] = append(into[e.To], e.From)
		}
	}
	place := make([]float64, len(g.Elements))
	for _, row := range rows {
		mean := func(i int) float64 {
			if len(into[i]) == 0 {
				return place[i]
			}
			sum := 0.0
			for _, f := range into[i] {
				sum += place[f]
			}
			return sum / float64(len(into[i]))
		}
		key := map[int]float64{}
		for k, i := range row {
			place[i] = float64(k) / float64(len(row))
			key[i] = mean(i)
		}
		sortBy(row, key)
		for k, i := range row {
			place[i] = float64(k) / float64(len(row))
		}
	}
}

func sortBy(row []int, key map[int]float64) {
	sort.SliceStable(row, func(a, b int) bool { return key[row[a]] < key[row[b]] })
}
