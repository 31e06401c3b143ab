package tool

import (
	"html"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// defaultTemplate is the page that click-pretty fills in if no other template is given.
const defaultTemplate = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Click configuration</title>
<style>
body { font-family: sans-serif; margin: 2em; }
pre { line-height: 1.35; }
.c-cmt { color: #777; font-style: italic; }
.c-kw { color: #705; font-weight: bold; }
.c-cfg { color: #046; }
.c-cd, .c-ed { font-weight: bold; }
.c-err { color: #b00; text-decoration: underline wavy; }
a { color: inherit; }
.columns { display: flex; gap: 3em; }
</style>
</head>
<body>
<h1>Configuration</h1>
<pre><~config></pre>
<h2>Elements</h2>
<div class="columns">
<ul><~elements column="1/2" entry="<li><b><~name link></b> :: <~type link><br><~ninputs english>, <~noutputs english></li>"></ul>
<ul><~elements column="2/2" entry="<li><b><~name link></b> :: <~type link><br><~ninputs english>, <~noutputs english></li>"></ul>
</div>
<h2>Classes</h2>
<ul><~elements typeentry="<li><~type link>: <~typerefs entry='<~name link>' sep=', '></li>"></ul>
</body>
</html>
`

// dotTemplate is the label of an element in a drawing.
const dotTemplate = `<~if test="<~anonymous>" then="<~type>" else="<~name> :: <~type>">`

// PrettyOptions are for Pretty; the zero value is useful.
type PrettyOptions struct {
	Template string            // "": the default one
	Defines  map[string]string // tags of one's own
	ClassURL string            // of the documentation of a class, with %s for its name
	Groups   map[string]string // the same, for classes of a group
}

// maxPretty bounds what a template can expand to.
const maxPretty = 64 << 20

// page is what tags are about.
type page struct {
	o       *PrettyOptions
	src     string // the configuration as it was written
	g       *lang.Graph
	in, out [][]click.Kind
	into    map[port][]port
	from    map[port][]port
	errors  error
	classes []string // those used, by name
	left    int      // bytes that may still be written
	depth   int
	over    bool
}

// here is what a tag within a template is about: an element, a class, or a port.
type here struct {
	el     int    // -1: none
	class  string // "": none
	port   int    // -1: none
	output bool
	peer   bool              // the port is the other end of a connection
	attrs  map[string]string // of the list that the entry is in
}

func newPage(src string, g *lang.Graph, problems error, o *PrettyOptions) *page {
	p := &page{o: o, src: src, g: g, errors: problems, into: map[port][]port{}, from: map[port][]port{}, left: maxPretty}
	p.in, p.out = Kinds(g)
	for _, e := range g.Edges {
		f, t := port{e.From, e.FromPort}, port{e.To, e.ToPort}
		p.from[f], p.into[t] = append(p.from[f], t), append(p.into[t], f)
	}
	seen := map[string]bool{}
	for i := range g.Elements {
		if c := g.Elements[i].Class; !seen[c] {
			seen[c] = true
			p.classes = append(p.classes, c)
		}
	}
	sort.Strings(p.classes)
	return p
}

// Pretty fills a template in. src is the configuration as it was written, g what it flattens to, problems what was wrong with it.
func Pretty(src string, g *lang.Graph, problems error, o PrettyOptions) (string, error) {
	if o.Template == "" {
		o.Template = defaultTemplate
	}
	p := newPage(src, g, problems, &o)
	s := p.expand(o.Template, here{el: -1, port: -1})
	if p.over {
		return "", errs.New(errs.Limit, "the template expands to more than %d bytes", maxPretty)
	}
	return s, nil
}

// Label expands a template for one element, without HTML.
func labels(g *lang.Graph, template string, o PrettyOptions) func(i int) string {
	p := newPage("", g, nil, &o)
	return func(i int) string { return html.UnescapeString(p.expand(template, here{el: i, port: -1})) }
}

// tag is <~name attribute=value ...>.
type tag struct {
	name  string
	attrs map[string]string
}

// parseTag reads the tag at the start of s and returns its length; 0 if there is none.
func parseTag(s string) (tag, int) {
	t := tag{attrs: map[string]string{}}
	i := 2 // behind <~
	word := func() string {
		start := i
		for i < len(s) && (s[i] == '-' || s[i] == '_' || s[i] >= '0' && s[i] <= '9' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z') {
			i++
		}
		return strings.ToLower(s[start:i])
	}
	if t.name = word(); t.name == "" {
		return t, 0
	}
	for i < len(s) {
		switch c := s[i]; {
		case c == '>':
			return t, i + 1
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '/':
			i++
		default:
			name := word()
			if name == "" {
				return t, 0
			}
			if i >= len(s) || s[i] != '=' {
				t.attrs[name] = name
				continue
			}
			i++
			if i < len(s) && (s[i] == '"' || s[i] == '\'') {
				end := strings.IndexByte(s[i+1:], s[i])
				if end < 0 {
					return t, 0
				}
				t.attrs[name] = s[i+1 : i+1+end]
				i += end + 2
				continue
			}
			start := i
			for i < len(s) && s[i] != '>' && s[i] != ' ' && s[i] != '\t' && s[i] != '\n' {
				i++
			}
			t.attrs[name] = s[start:i]
		}
	}
	return t, 0
}

// maxTagDepth bounds tags that expand to others.
const maxTagDepth = 16

func (p *page) expand(s string, h here) string {
	if p.depth >= maxTagDepth || p.over {
		return ""
	}
	p.depth++
	defer func() { p.depth-- }()
	var b strings.Builder
	for s != "" {
		i := strings.Index(s, "<~")
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		t, n := parseTag(s)
		if n == 0 {
			b.WriteString("<~")
			s = s[2:]
			continue
		}
		b.WriteString(p.tag(t, h))
		s = s[n:]
		if b.Len() > p.left {
			p.over = true
			return ""
		}
	}
	p.left -= b.Len()
	p.over = p.over || p.left < 0
	return b.String()
}

// tag expands one tag; unknown ones and those that mean nothing here vanish.
func (p *page) tag(t tag, h here) string {
	if text, ok := p.o.Defines[t.name]; ok {
		return p.expand(text, h)
	}
	attr := func(names ...string) string { // the tag's own, else that of the list
		if v, ok := t.attrs[names[0]]; ok {
			return v
		}
		for _, n := range names[1:] {
			if v, ok := h.attrs[n]; ok {
				return v
			}
		}
		return ""
	}
	switch t.name {
	case "elements":
		return p.elements(t)
	case "if":
		return p.condition(t, h)
	case "config":
		if h.el < 0 {
			if h.class != "" {
				return ""
			}
			return p.config()
		}
		c := lang.JoinArgs(p.g.Elements[h.el].Args)
		if n, err := strconv.Atoi(t.attrs["limit"]); err == nil && n >= 0 {
			c = shorten(c, n)
		}
		if c != "" && t.attrs["parens"] != "" {
			c = "(" + c + ")"
		}
		return html.EscapeString(c)
	case "type":
		c := h.class
		if h.el >= 0 {
			c = p.g.Elements[h.el].Class
		}
		if _, link := t.attrs["link"]; link && c != "" {
			return p.classLink(c)
		}
		return html.EscapeString(c)
	case "typerefs":
		c := h.class
		if h.el >= 0 {
			c = p.g.Elements[h.el].Class
		}
		var list []string
		for _, i := range p.byName() {
			if p.g.Elements[i].Class == c {
				list = append(list, p.expand(attr("entry", "typeref"), here{el: i, port: -1, attrs: h.attrs}))
			}
		}
		return strings.Join(list, t.attrs["sep"])
	}
	if h.el < 0 {
		if t.name == "name" && h.class != "" {
			return html.EscapeString(h.class)
		}
		return ""
	}
	n := &p.g.Elements[h.el]
	switch t.name {
	case "name":
		switch t.attrs["link"] {
		case "":
			return html.EscapeString(n.Name)
		case "type":
			if u := p.url(n.Class); u != "" {
				return "<a href='" + html.EscapeString(u) + "'>" + html.EscapeString(n.Name) + "</a>"
			}
			return html.EscapeString(n.Name)
		}
		return "<a href='#e-" + html.EscapeString(url.PathEscape(n.Name)) + "'>" + html.EscapeString(n.Name) + "</a>"
	case "anonymous":
		if anonymousName(n.Name[strings.LastIndexByte(n.Name, '/')+1:]) {
			return "yes"
		}
		return ""
	case "configlink":
		return "<a href='#e-" + html.EscapeString(url.PathEscape(n.Name)) + "'>" + p.expand(attr("text", "configlink"), h) + "</a>"
	case "ninputs":
		return count(len(p.in[h.el]), "input", t)
	case "noutputs":
		return count(len(p.out[h.el]), "output", t)
	case "inputs", "outputs":
		side := strings.TrimSuffix(t.name, "s")
		ports := len(p.in[h.el])
		if side == "output" {
			ports = len(p.out[h.el])
		}
		if ports == 0 {
			return p.expand(attr("noentry", "no"+side+"entry"), h)
		}
		var list []string
		for k := range ports {
			list = append(list, p.expand(attr("entry", side+"entry"), here{el: h.el, port: k, output: side == "output", attrs: h.attrs}))
		}
		return strings.Join(list, t.attrs["sep"])
	}
	if h.port < 0 {
		return ""
	}
	switch t.name {
	case "port":
		return strconv.Itoa(h.port)
	case "processing":
		if h.output {
			return p.out[h.el][h.port].String()
		}
		return p.in[h.el][h.port].String()
	case "inputconnections", "outputconnections":
		side := strings.TrimSuffix(t.name, "connections")
		peers := p.into[port{h.el, h.port}]
		if side == "output" {
			peers = p.from[port{h.el, h.port}]
		}
		if (side == "output") != h.output || len(peers) == 0 {
			return p.expand(attr("noentry", "no"+side+"connection"), h)
		}
		var list []string
		for _, q := range peers {
			list = append(list, p.expand(attr("entry", side+"connection"), here{el: q.el, port: q.n, output: side != "output", peer: true, attrs: h.attrs}))
		}
		return strings.Join(list, t.attrs["sep"])
	}
	return ""
}

func count(n int, noun string, t tag) string {
	if _, ok := t.attrs["english"]; !ok {
		return strconv.Itoa(n)
	}
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// condition expands <~if>.
func (p *page) condition(t tag, h here) string {
	test := p.expand(t.attrs["test"], h)
	yes := test != ""
	for op, want := range t.attrs {
		var f func(c int) bool
		switch op {
		case "eq":
			f = func(c int) bool { return c == 0 }
		case "ne":
			f = func(c int) bool { return c != 0 }
		case "gt":
			f = func(c int) bool { return c > 0 }
		case "lt":
			f = func(c int) bool { return c < 0 }
		case "ge":
			f = func(c int) bool { return c >= 0 }
		case "le":
			f = func(c int) bool { return c <= 0 }
		default:
			continue
		}
		other := p.expand(want, h)
		c := strings.Compare(test, other)
		if a, err := strconv.Atoi(test); err == nil {
			if b, err := strconv.Atoi(other); err == nil {
				c = a - b
			}
		}
		yes = f(c)
	}
	if yes {
		return p.expand(t.attrs["then"], h)
	}
	return p.expand(t.attrs["else"], h)
}

// byName returns the elements in the order of their names.
func (p *page) byName() []int {
	list := make([]int, len(p.g.Elements))
	for i := range list {
		list[i] = i
	}
	sort.SliceStable(list, func(a, b int) bool { return p.g.Elements[list[a]].Name < p.g.Elements[list[b]].Name })
	return list
}

// elements expands <~elements>: those and classes by name, as entry and typeentry say.
func (p *page) elements(t tag) string {
	type item struct{ name, text string }
	var items []item
	if e, ok := t.attrs["entry"]; ok {
		for _, i := range p.byName() {
			items = append(items, item{p.g.Elements[i].Name, p.expand(e, here{el: i, port: -1, attrs: t.attrs})})
		}
	}
	if e, ok := t.attrs["typeentry"]; ok {
		for _, c := range p.classes {
			items = append(items, item{c, p.expand(e, here{el: -1, class: c, port: -1, attrs: t.attrs})})
		}
	}
	sort.SliceStable(items, func(a, b int) bool { return items[a].name < items[b].name })
	first, last := 0, len(items)
	if which, of, ok := strings.Cut(t.attrs["column"], "/"); ok {
		w, err1 := strconv.Atoi(which)
		n, err2 := strconv.Atoi(of)
		if err1 == nil && err2 == nil && w >= 1 && w <= n {
			first, last = len(items)*(w-1)/n, len(items)*w/n
		}
	}
	var list []string
	for _, i := range items[first:last] {
		list = append(list, i.text)
	}
	return strings.Join(list, t.attrs["sep"])
}

// url returns where a class is documented, or "".
func (p *page) url(class string) string {
	u := p.o.ClassURL
	if c := click.LookupClass(class); c != nil {
		if g, ok := p.o.Groups[c.Doc.Group]; ok {
			u = g
		}
	}
	return strings.Replace(u, "%s", url.PathEscape(class), 1)
}

func (p *page) classLink(class string) string {
	u := p.url(class)
	if u == "" {
		return html.EscapeString(class)
	}
	return "<a href='" + html.EscapeString(u) + "'>" + html.EscapeString(class) + "</a>"
}

var prettyCommand = command{
	name: "click-pretty", about: "[OPTION]... [VAR=VALUE]... [FILE]",
	short: "Shows a configuration as HTML, by a template, or draws it.",
	options: options(input, []option{{'t', "template=", "fill in the template in FILE"}, {'T', "template-text=", "fill in this template"},
		{'d', "define=", "NAME=TEXT: a tag of one's own"}, {'u', "class-docs=", "where classes are documented; %s is the class"},
		{0, "package-docs=", "GROUP=URL: the same for classes of a group"}, {0, "userlevel", "accepted; there is one driver"}, {'k', "linuxmodule", "accepted"},
		{'l', "kernel", "accepted"}, {'b', "bsdmodule", "accepted"}, {0, "write-template", "print the template as it is"},
		{0, "dot", "a drawing for dot(1); the template is the label of an element"}, {0, "svg", "a drawing"}}, common),
	run: func(c *call) error {
		o := PrettyOptions{Defines: map[string]string{}, ClassURL: c.value("class-docs"), Groups: map[string]string{}}
		for flag, to := range map[string]map[string]string{"define": o.Defines, "package-docs": o.Groups} {
			for _, d := range c.set[flag] {
				name, text, ok := strings.Cut(d, "=")
				if !ok || name == "" {
					return c.fail(errs.New(errs.Invalid, "bad --%s '%s', expected NAME=TEXT", flag, d))
				}
				if flag == "define" {
					name = strings.ToLower(name)
				}
				to[name] = text
			}
		}
		switch {
		case c.has("template-text"):
			o.Template = c.value("template-text")
		case c.has("template"):
			_, text, err := c.read(c.value("template"))
			if err != nil {
				return err
			}
			o.Template = text
		case c.has("dot"):
			o.Template = dotTemplate
		default:
			o.Template = defaultTemplate
		}
		if c.has("write-template") {
			return c.write(o.Template)
		}
		name, src := "config", c.value("expression")
		if !c.has("expression") {
			var err error
			if name, src, err = c.read(c.value("file")); err == nil {
				src, err = lang.Source(src)
			}
			if err != nil {
				return err
			}
		}
		c.columns = true // to mark what is wrong
		g, problems := c.flat(name, src, false)
		if problems != nil {
			c.note(problems.Error())
		}
		if c.has("dot") {
			return c.write(DOT(g, labels(g, o.Template, o)))
		}
		if c.has("svg") {
			return c.write(SVG(g))
		}
		s, err := Pretty(src, g, problems, o)
		if err != nil {
			return err
		}
		return c.write(s)
	},
}
