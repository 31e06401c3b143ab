package tool

import (
	"errors"
	"html"
	"net/url"
	"sort"
	"strings"

	"github.com/janos-os/janos/errs"
)

// piece is a token of a configuration as it is shown.
type piece struct {
	kind  byte // 'i' identifier, 'c' comment, '(' configuration string, 0 anything else
	text  string
	start int
	scope int // of an identifier
}

// scope is the text between a pair of braces, or the whole.
type scope struct {
	outer int // -1: none
	name  string
	decl  map[string]string // elements -> class
	class map[string]bool   // compound classes
}

// highlighter marks the parts of a configuration up.
type highlighter struct {
	p      *page
	pieces []piece
	scopes []scope
}

const maxScopes = 10_000

// config shows the configuration with its parts marked and references linked.
func (p *page) config() string {
	h := &highlighter{p: p}
	h.split(p.src)
	h.declare()
	wrong := h.problems()
	var b strings.Builder
	for i := range h.pieces {
		x := &h.pieces[i]
		s := html.EscapeString(x.text)
		switch x.kind {
		case 'c':
			s = "<span class='c-cmt'>" + s + "</span>"
		case '(':
			s = "<span class='c-cfg'>" + s + "</span>"
		case 'i':
			s = h.identifier(i, s)
		}
		for len(wrong) > 0 && wrong[0].at < x.start+len(x.text) {
			if wrong[0].at >= x.start && strings.TrimSpace(x.text) != "" {
				s = "<span class='c-err' title='" + html.EscapeString(wrong[0].text) + "'>" + s + "</span>"
			}
			wrong = wrong[1:]
		}
		b.WriteString(s)
	}
	return b.String()
}

func identByte(c byte) bool {
	return c == '_' || c == '@' || c == '/' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// split cuts the text into pieces and finds the scopes.
func (h *highlighter) split(s string) {
	h.scopes = []scope{{outer: -1, decl: map[string]string{}, class: map[string]bool{}}}
	at := 0
	last := "" // identifier or sign before, comments and space apart
	add := func(kind byte, start, end int) {
		h.pieces = append(h.pieces, piece{kind: kind, text: s[start:end], start: start, scope: at})
	}
	for i := 0; i < len(s); {
		start := i
		switch {
		case strings.HasPrefix(s[i:], "//"), s[i] == '#' && (i == 0 || s[i-1] == '\n'):
			if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(s)
			}
			add('c', start, i)
		case strings.HasPrefix(s[i:], "/*"):
			if n := strings.Index(s[i+2:], "*/"); n >= 0 {
				i += n + 4
			} else {
				i = len(s)
			}
			add('c', start, i)
		case identByte(s[i]):
			for i < len(s) && identByte(s[i]) && !strings.HasPrefix(s[i:], "//") && !strings.HasPrefix(s[i:], "/*") {
				i++
			}
			add('i', start, i)
			last = s[start:i]
		case s[i] == '(' && (last == "}" || last != "" && identByte(last[0])):
			i++
			add(0, start, i)
			n := configEnd(s[i:])
			if n > 0 {
				add('(', i, i+n)
			}
			i += n
			last = ")"
		default:
			switch {
			case s[i] == '{' && len(h.scopes) < maxScopes:
				add(0, start, i+1)
				h.scopes = append(h.scopes, scope{outer: at, decl: map[string]string{}, class: map[string]bool{}})
				at = len(h.scopes) - 1
			case s[i] == '}' && h.scopes[at].outer >= 0:
				at = h.scopes[at].outer
				add(0, start, i+1)
			case strings.HasPrefix(s[i:], "::"), strings.HasPrefix(s[i:], "->"), strings.HasPrefix(s[i:], "=>"):
				add(0, start, i+2)
				i++
			default:
				add(0, start, i+1)
			}
			i++
			if text := strings.TrimSpace(s[start:i]); text != "" {
				last = text
			}
		}
	}
}

// configEnd returns how long the configuration string at the start of s is, up to the parenthesis that closes it.
func configEnd(s string) int {
	depth := 0
	var in byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case in != 0:
			if c == '\\' && in == '"' {
				i++
			} else if c == in {
				in = 0
			}
		case c == '"' || c == '\'':
			in = c
		case strings.HasPrefix(s[i:], "//"):
			n := strings.IndexByte(s[i:], '\n')
			if n < 0 {
				return len(s)
			}
			i += n
		case strings.HasPrefix(s[i:], "/*"):
			n := strings.Index(s[i:], "*/")
			if n < 0 {
				return len(s)
			}
			i += n + 1
		case c == '(':
			depth++
		case c == ')':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return len(s)
}

// near returns the text of the next piece in a direction that is no space and no comment.
func (h *highlighter) near(i, step int) (string, int) {
	for i += step; i >= 0 && i < len(h.pieces); i += step {
		if x := &h.pieces[i]; x.kind != 'c' && strings.TrimSpace(x.text) != "" {
			return x.text, i
		}
	}
	return "", i
}

// declare notes the elements and classes that each scope declares.
func (h *highlighter) declare() {
	for i := range h.pieces {
		x := &h.pieces[i]
		if x.kind != 'i' {
			continue
		}
		before, _ := h.near(i, -1)
		if before == "elementclass" {
			h.scopes[x.scope].class[x.text] = true
			if next, k := h.near(i, 1); next == "{" && k+1 < len(h.pieces) {
				h.scopes[h.pieces[k+1].scope].name = x.text
			}
			continue
		}
		if class, ok := h.declaration(i); ok {
			h.scopes[x.scope].decl[x.text] = class
		}
	}
}

// declaration reports whether an identifier is one of those before a "::", and which class is behind it.
func (h *highlighter) declaration(i int) (class string, ok bool) {
	if h.pieces[i].text == "elementclass" {
		return "", false
	}
	for k := i; ; {
		next, at := h.near(k, 1)
		switch next {
		case "::":
			class, _ := h.near(at, 1)
			return class, true
		case ",": // a list of declarations is a statement of its own
			if before, _ := h.near(i, -1); before == "->" || before == "=>" || before == "]" {
				return "", false
			}
			name, n := h.near(at, 1)
			if name == "" || !identByte(name[0]) {
				return "", false
			}
			k = n
		default:
			return "", false
		}
	}
}

// full is the name of an element in the anchors: with the classes that it is in.
func (h *highlighter) full(scope int, name string) string {
	for s := scope; s >= 0; s = h.scopes[s].outer {
		if h.scopes[s].name != "" {
			name = h.scopes[s].name + "/" + name
		}
	}
	return name
}

// identifier marks piece i, whose text is s.
func (h *highlighter) identifier(i int, s string) string {
	x := &h.pieces[i]
	anchor := func(kind, name string) string { return kind + "-" + html.EscapeString(url.PathEscape(name)) }
	before, _ := h.near(i, -1)
	switch x.text {
	case "elementclass", "require", "provide", "define":
		return "<span class='c-kw'>" + s + "</span>"
	case "input", "output":
		if h.scopes[x.scope].outer >= 0 {
			return "<span class='c-kw'>" + s + "</span>"
		}
	}
	switch {
	case before == "[" || before == "$" || before == "${":
		return s
	case before == "elementclass":
		return "<a name='" + anchor("c", h.full(x.scope, x.text)) + "'><span class='c-cd'>" + s + "</span></a>"
	case before != "::":
		if _, ok := h.declaration(i); ok {
			return "<a name='" + anchor("e", h.full(x.scope, x.text)) + "'><span class='c-ed'>" + s + "</span></a>"
		}
		if class, ok := h.scopes[x.scope].decl[x.text]; ok {
			return "<a href='#" + anchor("e", h.full(x.scope, x.text)) + "'><span title='" + html.EscapeString(x.text+" :: "+class) + "'>" + s + "</span></a>"
		}
	}
	for sc := x.scope; sc >= 0; sc = h.scopes[sc].outer {
		if h.scopes[sc].class[x.text] {
			return "<a href='#" + anchor("c", h.full(sc, x.text)) + "'>" + s + "</a>"
		}
	}
	if Known(x.text) {
		return h.p.classLink(x.text)
	}
	return s
}

// problem is an error and where in the text it is.
type problem struct {
	at   int
	text string
}

// problems finds the places of errors; those in other files are left out.
func (h *highlighter) problems() []problem {
	var lines []int
	for i, c := range "\n" + h.p.src {
		if c == '\n' {
			lines = append(lines, i)
		}
	}
	var out []problem
	var walk func(err error)
	walk = func(err error) {
		switch e := err.(type) {
		case nil:
		case *errs.At:
			if e.Pos.Line >= 1 && e.Pos.Line <= len(lines) {
				at := lines[e.Pos.Line-1] + max(e.Pos.Col-1, 0)
				for at < len(h.p.src) && (h.p.src[at] == ' ' || h.p.src[at] == '\t') {
					at++
				}
				out = append(out, problem{at, e.Err.Error()})
			}
		case interface{ Unwrap() []error }:
			for _, e := range e.Unwrap() {
				walk(e)
			}
		default:
			walk(errors.Unwrap(err))
		}
	}
	walk(h.p.errors)
	sort.SliceStable(out, func(i, j int) bool { return out[i].at < out[j].at })
	return out
}
