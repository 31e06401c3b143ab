package tool

import (
	"slices"
	"strings"

	"github.com/janos-os/janos/click/elements/fast"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// classifiers are what FastClassify works on.
var classifiers = map[string]bool{"Classifier": true, "IPClassifier": true, "IPFilter": true}

// maxPatterns is how many patterns classifiers have together that are made one; the programs of longer ones use tables, which
// combined ones do not.
const maxPatterns = 64

// FastOptions are for FastClassify; the zero value is useful.
type FastOptions struct {
	NoCombine bool // leave classifiers apart that follow each other
}

// FastClassify turns Classifier, IPClassifier and IPFilter elements into FastClassifiers, each with the classifiers that directly follow it and have
// no other input. It returns how many classifiers it took. Handlers of those that follow another one are gone.
func FastClassify(g *lang.Graph, o FastOptions) int { return fastClassify(g, o, nil) }

func fastClassify(g *lang.Graph, o FastOptions, not []string) int {
	f := &fastener{edit: newEdit(g), not: not}
	f.nin, f.nout = f.counts()
	taken := 0
	for i := range g.Elements {
		if f.gone[i] || !f.classifier(i) || f.follows(i, o) >= 0 || f.nin[i] != 1 || f.nout[i] == 0 {
			continue
		}
		taken += f.take(i, o)
	}
	f.commit()
	return taken
}

type fastener struct {
	*edit
	nin, nout []int
	not       []string // classes that stay
}

func (f *fastener) classifier(i int) bool {
	c := f.g.Elements[i].Class
	return classifiers[c] && !slices.Contains(f.not, c)
}

// follows returns the classifier that element i is directly behind and will be made one with, or -1.
func (f *fastener) follows(i int, o FastOptions) int {
	from := f.into(port{i, 0})
	if o.NoCombine || len(from) != 1 || from[0].el == i || f.nin[i] != 1 || !f.classifier(from[0].el) || f.nin[from[0].el] != 1 ||
		len(f.from(from[0])) != 1 || !f.simple(i) || !f.simple(from[0].el) ||
		compoundOf(f.g.Elements[i].Name) != compoundOf(f.g.Elements[from[0].el].Name) {
		return -1
	}
	for seen, at := map[int]bool{i: true}, from[0].el; ; { // circles of classifiers stay
		if seen[at] {
			return -1
		}
		seen[at] = true
		before := f.into(port{at, 0})
		if len(before) != 1 || !f.classifier(before[0].el) {
			break
		}
		at = before[0].el
	}
	return from[0].el
}

// compoundOf returns the part of a name that says where names of addresses are looked up.
func compoundOf(name string) string { return name[:strings.LastIndexByte(name, '/')+1] }

// simple reports whether an element's patterns are few and contain no variables, which would be replaced within quotes.
func (f *fastener) simple(i int) bool {
	n := &f.g.Elements[i]
	return len(n.Args) <= maxPatterns && n.Config() == f.g.Expand(n.Config())
}

// take makes a FastClassifier of element i and those behind it.
func (f *fastener) take(head int, o FastOptions) int {
	if !f.simple(head) {
		return 0
	}
	type leads struct{ from, to port } // out of the whole
	var parts []fast.Part
	var outs []leads
	patterns := 0
	list := []int{head}
	with := map[int]bool{head: true}
	for k := 0; k < len(list); k++ {
		i := list[k]
		n := &f.g.Elements[i]
		patterns += len(n.Args)
		p := fast.Part{Name: n.Name, Class: n.Class, Config: lang.JoinArgs(n.Args)}
		for out := range f.nout[i] {
			to := f.from(port{i, out})
			if len(to) == 1 && !with[to[0].el] && f.classifier(to[0].el) && to[0].n == 0 && f.follows(to[0].el, o) == i &&
				patterns+len(f.g.Elements[to[0].el].Args) <= maxPatterns {
				with[to[0].el] = true
				patterns += len(f.g.Elements[to[0].el].Args)
				list = append(list, to[0].el)
				p.Outputs = append(p.Outputs, fast.Output{Port: -1, Part: f.g.Elements[to[0].el].Name})
				continue
			}
			if len(to) == 0 {
				return 0 // package click reports it under the names that the user knows
			}
			at := 0
			if len(outs) > 0 {
				at = outs[len(outs)-1].from.n + 1
			}
			for _, t := range to {
				outs = append(outs, leads{port{head, at}, t})
			}
			p.Outputs = append(p.Outputs, fast.Output{Port: at})
		}
		if k > 0 {
			patterns -= len(n.Args) // counted when it was put on the list
		}
		parts = append(parts, p)
	}
	if len(outs) == 0 {
		return 0
	}
	pos := f.g.Elements[head].Pos
	before := f.into(port{head, 0})
	name := f.g.Elements[head].Name
	for _, i := range list {
		f.drop(i)
	}
	// The head's place and name stay.
	var args []string
	for i := range parts {
		args = append(args, parts[i].String())
	}
	f.g.Elements[head] = lang.Node{Name: name, Class: "FastClassifier", Args: args, Pos: pos}
	f.gone[head], f.names[name] = false, head
	inside := func(p port) port {
		if with[p.el] { // a way back to the head
			p.el = head
		}
		return p
	}
	for _, b := range before {
		if !with[b.el] {
			f.join(b, port{head, 0}, pos)
		}
	}
	for _, l := range outs {
		f.join(l.from, inside(l.to), pos)
	}
	return len(list)
}

// SlowClassify is the reverse of FastClassify.
func SlowClassify(g *lang.Graph) error {
	var list errs.List
	list.Lines = true
	e := newEdit(g)
	for i := range g.Elements {
		if g.Elements[i].Class != "FastClassifier" {
			continue
		}
		parts, err := fast.ParseParts(g.Elements[i].Args)
		if err != nil {
			list.Addf(g.Elements[i].Pos, "'%s': %v", e.label(i), err)
			continue
		}
		pos := g.Elements[i].Pos
		name := g.Elements[i].Name
		before := e.into(port{i, 0})
		behind := map[int][]port{}
		for _, p := range parts {
			for _, o := range p.Outputs {
				if o.Port >= 0 && behind[o.Port] == nil {
					behind[o.Port] = e.from(port{i, o.Port})
				}
			}
		}
		e.drop(i)
		at := map[string]int{}
		for k, p := range parts {
			n := lang.Node{Name: p.Name, Class: p.Class, Args: lang.SplitArgs(p.Config), Pos: pos}
			if k > 0 {
				at[p.Name] = e.add(n)
				continue
			}
			n.Name = name
			e.g.Elements[i], e.gone[i], e.names[name] = n, false, i
			at[p.Name] = i
		}
		for _, b := range before {
			e.join(b, port{i, 0}, pos)
		}
		for _, p := range parts {
			for out, o := range p.Outputs {
				from := port{at[p.Name], out}
				if o.Port < 0 {
					e.join(from, port{at[o.Part], 0}, pos)
				}
				for _, t := range behind[o.Port] {
					e.join(from, t, pos)
				}
			}
		}
	}
	e.commit()
	return list.Err()
}

var fastCommand = command{
	name: "click-fastclassifier", about: "[OPTION]... [VAR=VALUE]... [FILE]",
	short: "Makes one FastClassifier of classifiers that follow each other.",
	options: options(input, []option{{0, "no-combine", "leave classifiers apart"}, {0, "no-classes", "leave the configuration as it is"},
		{'k', "kernel", "accepted; nothing has to be compiled"}, {'u', "user", "accepted"}, {'q', "quiet", "accepted"},
		{'s', "source", "print the FastClassifiers only"}, {'c', "config", "the configuration only, without what else the archive has"},
		{'r', "reverse", "turn FastClassifiers into what they were made of"}}, common),
	run: func(c *call) error {
		g, err := c.graph()
		if err != nil {
			return err
		}
		switch {
		case c.has("reverse"):
			if err := SlowClassify(g); err != nil {
				return err
			}
		case !c.has("no-classes"):
			FastClassify(g, FastOptions{NoCombine: c.has("no-combine")})
		}
		if c.has("source") {
			return c.write(declarations(g, "FastClassifier"))
		}
		return c.writeGraph(g)
	},
}

// declarations prints the elements of one class.
func declarations(g *lang.Graph, class string) string {
	only := &lang.Graph{}
	for i := range g.Elements {
		if g.Elements[i].Class == class {
			only.Elements = append(only.Elements, g.Elements[i])
		}
	}
	return only.String()
}
