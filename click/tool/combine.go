package tool

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// Component is one router of several that Combine puts together. Its name is an identifier without slash.
type Component struct {
	Name  string
	Graph *lang.Graph
}

// LinkSpec says that packets which leave one router by an element arrive at another one by an element. Elements are named by their own names or
// by those of their devices.
type LinkSpec struct{ From, FromElement, To, ToElement string }

// ParseLink reads NAME1.ELEMENT1=NAME2.ELEMENT2.
func ParseLink(s string) (LinkSpec, error) {
	from, to, ok := strings.Cut(s, "=")
	var l LinkSpec
	var ok1, ok2 bool
	l.From, l.FromElement, ok1 = strings.Cut(from, ".")
	l.To, l.ToElement, ok2 = strings.Cut(to, ".")
	if !ok || !ok1 || !ok2 || l.From == "" || l.FromElement == "" || l.To == "" || l.ToElement == "" {
		return l, errs.New(errs.Invalid, "bad link '%s', expected NAME1.ELEMENT1=NAME2.ELEMENT2", s)
	}
	return l, nil
}

const linkClass = "RouterLink"

// Combine makes one configuration of several: elements get the name of their router before their own, and elements at the ends of links become
// RouterLink elements, whose arguments are, for each of its ends, "ROUTER ELEMENT CLASS" and the configuration of that element. Global variables are
// expanded. Components are changed. warn is told about ends that are no devices.
func Combine(components []Component, links []LinkSpec, warn func(string)) (*lang.Graph, error) {
	all := &lang.Graph{}
	start := map[string]int{}
	for _, c := range components {
		if _, twice := start[c.Name]; twice {
			return nil, errs.New(errs.Invalid, "two routers named '%s'", c.Name)
		}
		if !identifier(c.Name) {
			return nil, errs.New(errs.Invalid, "router name '%s' is no identifier without a slash", c.Name)
		}
		start[c.Name] = len(all.Elements)
		ExpandVars(c.Graph)
		for _, n := range c.Graph.Elements {
			n.Name = c.Name + "/" + n.Name
			all.Elements = append(all.Elements, n)
		}
		for _, ed := range c.Graph.Edges {
			ed.From += start[c.Name]
			ed.To += start[c.Name]
			all.Edges = append(all.Edges, ed)
		}
		for _, r := range c.Graph.Requires {
			if !slices.Contains(all.Requires, r) {
				all.Requires = append(all.Requires, r)
			}
		}
	}
	e := newEdit(all)
	find := func(router, name string, classes ...string) (int, error) {
		if _, ok := start[router]; !ok {
			return 0, errs.New(errs.NotFound, "no router named '%s'", router)
		}
		if i, ok := e.names[router+"/"+name]; ok {
			if !slices.Contains(classes, e.g.Elements[i].Class) {
				warn(fmt.Sprintf("router '%s' element '%s' has unexpected class\n  expected %s, got %s", router, name, strings.Join(classes, " or "), e.g.Elements[i].Class))
			}
			return i, nil
		}
		at := -1
		for i := range e.g.Elements {
			if strings.HasPrefix(e.g.Elements[i].Name, router+"/") && slices.Contains(classes, e.g.Elements[i].Class) && e.arg(i, 0) == name {
				if at >= 0 {
					return 0, errs.New(errs.Invalid, "router '%s' has more than one element for device '%s'", router, name)
				}
				at = i
			}
		}
		if at < 0 {
			return 0, errs.New(errs.NotFound, "router '%s' has no element or device named '%s'", router, name)
		}
		return at, nil
	}
	type group struct{ from, to []int }
	var groups []*group
	add := func(list []int, i int) []int {
		if slices.Contains(list, i) {
			return list
		}
		return append(list, i)
	}
	for _, l := range links {
		f, err := find(l.From, l.FromElement, "ToDevice")
		if err != nil {
			return nil, err
		}
		t, err := find(l.To, l.ToElement, "FromDevice", "PollDevice")
		if err != nil {
			return nil, err
		}
		var into *group
		for k := 0; k < len(groups); k++ {
			g := groups[k]
			if !slices.Contains(g.from, f) && !slices.Contains(g.to, t) {
				continue
			}
			if into == nil {
				into = g
				continue
			}
			for _, i := range g.from { // the link joins two groups
				into.from = add(into.from, i)
			}
			for _, i := range g.to {
				into.to = add(into.to, i)
			}
			groups = slices.Delete(groups, k, k+1)
			k--
		}
		if into == nil {
			into = &group{}
			groups = append(groups, into)
		}
		into.from, into.to = add(into.from, f), add(into.to, t)
	}
	type end struct{ before, behind []port }
	for k, g := range groups {
		var args []string
		var ends []end
		for _, i := range append(slices.Clone(g.from), g.to...) {
			router, name, _ := strings.Cut(e.g.Elements[i].Name, "/")
			args = append(args, router+" "+name+" "+e.g.Elements[i].Class, oneArg(&e.g.Elements[i]))
			ends = append(ends, end{e.into(port{i, 0}), e.from(port{i, 0})})
		}
		pos := e.g.Elements[g.from[0]].Pos
		for _, i := range append(slices.Clone(g.from), g.to...) {
			e.drop(i)
		}
		link := e.add(lang.Node{Name: "link" + strconv.Itoa(k+1), Class: linkClass, Args: args, Pos: pos})
		for n := range g.from {
			for _, p := range ends[n].before {
				e.join(p, port{link, n}, pos)
			}
		}
		for n := range g.to {
			for _, p := range ends[len(g.from)+n].behind {
				e.join(port{link, n}, p, pos)
			}
		}
	}
	e.commit()
	return all, nil
}

func identifier(s string) bool {
	digits := true
	for _, r := range s {
		if r < '0' || r > '9' {
			digits = false
			if r != '_' && r != '@' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
				return false
			}
		}
	}
	return s != "" && !digits
}

// oneArg is an element's configuration as a single argument: as it is if it is one, else in quotes.
func oneArg(n *lang.Node) string {
	if len(n.Args) == 1 && n.Args[0] != "" && n.Args[0][0] != '"' {
		return n.Args[0]
	}
	return `"` + lang.Escape(lang.JoinArgs(n.Args)) + `"`
}

// Uncombine returns one of the routers that Combine has put together.
func Uncombine(g *lang.Graph, name string) (*lang.Graph, error) {
	e := newEdit(g)
	found := false
	prefix := name + "/"
	nin, _ := e.counts()
	for i, last := 0, len(g.Elements); i < last; i++ {
		if strings.HasPrefix(e.g.Elements[i].Name, prefix) {
			found = true
			continue
		}
		if e.g.Elements[i].Class != linkClass {
			continue
		}
		args := e.g.Elements[i].Args
		if len(args)%2 != 0 {
			return nil, errs.New(errs.Invalid, "'%s' has strange configuration", e.label(i))
		}
		for k := 0; k < len(args); k += 2 {
			words := lang.SplitWords(args[k])
			if len(words) != 3 {
				return nil, errs.New(errs.Invalid, "'%s' has strange configuration", e.label(i))
			}
			if words[0] != name {
				continue
			}
			found = true
			config := args[k+1]
			if strings.HasPrefix(config, `"`) {
				config = lang.Unquote(config)
			}
			pos := e.g.Elements[i].Pos
			end := e.add(lang.Node{Name: prefix + words[1], Class: words[2], Args: lang.SplitArgs(config), Pos: pos})
			if n := k / 2; n < nin[i] {
				for _, p := range e.into(port{i, n}) {
					e.join(p, port{end, 0}, pos)
				}
			} else {
				for _, p := range e.from(port{i, n - nin[i]}) {
					e.join(port{end, 0}, p, pos)
				}
			}
		}
	}
	if !found {
		return nil, errs.New(errs.NotFound, "no '%s' component", name)
	}
	for i := range e.g.Elements {
		if !strings.HasPrefix(e.g.Elements[i].Name, prefix) {
			e.drop(i)
		}
	}
	e.commit()
	for i := range e.g.Elements {
		e.g.Elements[i].Name = strings.TrimPrefix(e.g.Elements[i].Name, prefix)
	}
	return e.g, nil
}

// linkMap is what a combined archive says about RouterLink to Click's tools.
const linkMap = `<?xml version="1.0" standalone="yes"?>
<elementmap xmlns="http://www.lcdf.org/click/xml/">
  <entry name="RouterLink" processing="l/h" flowcode="x/x" flags="S3" />
</elementmap>
`

var combineCommand = command{
	name: "click-combine", about: "[OPTION]... NAME=FILE... NAME1.ELEMENT1=NAME2.ELEMENT2...",
	short: "Makes one configuration of several routers and the links between them.",
	options: options([]option{{'n', "name=", "name of the next router"}, {'f', "file=", "its configuration is in FILE"}, {'e', "expression=", "its configuration is the text EXPR"},
		{'l', "link=", "a link, NAME1.ELEMENT1=NAME2.ELEMENT2"}, {'c', "config", "the configuration only, not an archive"}}, common),
	plain: func(c *call, word string) error {
		name, value, ok := strings.Cut(word, "=")
		switch {
		case !ok:
			c.order = append(c.order, given{"file", word})
		case strings.Contains(name, "."):
			c.order = append(c.order, given{"link", word})
		default:
			c.order = append(c.order, given{"name", name}, given{"file", value})
		}
		return nil
	},
	several: true,
	run: func(c *call) error {
		var parts []Component
		var links []LinkSpec
		name := ""
		for _, o := range c.order {
			var text string
			var err error
			file := "config"
			switch o.name {
			case "name":
				name = o.value
				continue
			case "link":
				l, err := ParseLink(o.value)
				if err != nil {
					return c.fail(err)
				}
				links = append(links, l)
				continue
			case "file":
				if file, text, err = c.read(o.value); err == nil {
					text, err = lang.Source(text)
				}
				if err != nil {
					return err
				}
			case "expression":
				text = o.value
			default:
				continue
			}
			if name == "" {
				return c.fail(errs.New(errs.Invalid, "the configuration '%s' has no name, give NAME=FILE or --name", o.value))
			}
			g, err := c.flat(file, text, true)
			if err != nil {
				return err
			}
			parts = append(parts, Component{name, g})
			name = ""
		}
		if len(parts) == 0 {
			return c.fail(errs.New(errs.Invalid, "no routers"))
		}
		g, err := Combine(parts, links, func(s string) { c.note(c.name + ": warning: " + s) })
		if err != nil {
			return c.fail(err)
		}
		if c.has("config") {
			return c.writeGraph(g)
		}
		names := ""
		for _, p := range parts {
			names += p.Name + "\n"
		}
		c.members = []lang.Member{{Name: "elementmap.xml", Data: linkMap}, {Name: "componentmap", Data: names}}
		return c.writeGraph(g)
	},
}

// fail says which tool an error is of.
func (c *call) fail(err error) error { return errs.New(errs.KindOf(err), "%s: %w", c.name, err) }

var uncombineCommand = command{
	name: "click-uncombine", about: "[OPTION]... [FILE [ROUTER]]",
	short:   "Takes one router out of a configuration that click-combine has made.",
	options: options([]option{{'f', "file=", "read the configuration from FILE"}, {'e', "expression=", "the configuration is the text EXPR"}, {'n', "name=", "the router"}}, common),
	plain: func(c *call, word string) error {
		switch {
		case c.variable(word):
		case len(c.set["file"])+len(c.set["expression"]) == 0:
			c.set["file"] = []string{word}
		default:
			c.set["name"] = append(c.set["name"], word)
		}
		return nil
	},
	run: func(c *call) error {
		if !c.has("name") {
			return c.fail(errs.New(errs.Invalid, "no component specified"))
		}
		g, err := c.graph()
		if err != nil {
			return err
		}
		if g, err = Uncombine(g, c.value("name")); err != nil {
			return c.fail(err)
		}
		c.members = nil // they are about all routers
		return c.writeGraph(g)
	},
}
