package lang

import (
	"strconv"
	"strings"
)

// env is where a compound instance, or the whole configuration, keeps its variables.
type env struct {
	outer *env   // of the place where the class was defined
	def   *scope // what was instantiated here
	vars  map[string]string
	raw   map[string]bool // define()d values are expanded when they are used
	busy  map[string]bool // being expanded, so that definitions may not run in circles
}

// lookup finds a variable, innermost scope first.
func (e *env) lookup(name string, x *expander) (string, bool) {
	for ; e != nil; e = e.outer {
		v, ok := e.vars[name]
		if !ok || e.busy[name] {
			continue
		}
		if e.raw[name] {
			if e.busy == nil {
				e.busy = map[string]bool{}
			}
			e.busy[name] = true
			v = x.expand(v, e)
			delete(e.busy, name)
		}
		return v, true
	}
	return "", false
}

// expander bounds what expansion may produce.
type expander struct {
	left  int // bytes
	depth int
	kept  map[string]bool // global variables that stay
}

const maxExpandDepth = 64

// expand replaces the variables in s. Unknown ones stay as they are. Nothing is replaced
// within single quotes; within double quotes a value keeps its bytes.
func (x *expander) expand(s string, e *env) string {
	if strings.IndexByte(s, '$') < 0 || x.depth > maxExpandDepth {
		return s
	}
	x.depth++
	defer func() { x.depth-- }()
	var b strings.Builder
	var in byte
	for i := 0; i < len(s); {
		c := s[i]
		if in == 0 {
			if n := commentLen(s[i:]); n > 0 {
				b.WriteString(s[i : i+n])
				i += n
				continue
			}
		}
		switch {
		case c == '\\' && in == 0 && i+1 < len(s) && s[i+1] == '<', c == '\\' && in == '"' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i += 2
			continue
		case in == 0 && (c == '"' || c == '\''):
			in = c
		case in != 0 && c == in:
			in = 0
		case c == '$' && in != '\'':
			v, n, ok := x.variable(s[i:], e)
			if ok {
				if in == '"' {
					v = escapeKeepDollar(Unquote(v))
				}
				if x.left -= len(v) + 1; x.left < 0 {
					return b.String()
				}
				b.WriteString(v)
				i += n
				continue
			}
		}
		b.WriteByte(c)
		i++
	}
	return b.String()
}

// escapeKeepDollar escapes a value for double quotes. A dollar sign in a value is not looked
// at again, except by a reader of the printed graph, who finds no such variable.
func escapeKeepDollar(s string) string { return strings.ReplaceAll(Escape(s), `\$`, `$`) }

// variable evaluates the reference at the start of s: $x, ${x}, ${x-default} or ${x[n]}.
func (x *expander) variable(s string, e *env) (value string, n int, ok bool) {
	i := 1
	if i < len(s) && s[i] == '{' {
		end := closingBrace(s)
		if end < 0 {
			return "", 0, false
		}
		j := 2
		for j < end && isVar(s[j]) {
			j++
		}
		name, op := s[2:j], s[j:end]
		if name == "" {
			return "", 0, false
		}
		v, found := e.lookup(name, x)
		switch {
		case !found && x.kept[name]:
			return "", 0, false
		case op == "":
			return v, end + 1, found
		case op[0] == '-':
			if !found {
				v = x.expand(op[1:], e)
			}
			return v, end + 1, true
		case op[0] == '[' && op[len(op)-1] == ']':
			k, err := strconv.Atoi(op[1 : len(op)-1])
			if err != nil || !found {
				return "", 0, false
			}
			words := SplitWords(v)
			if k < 0 || k >= len(words) {
				return "", end + 1, true
			}
			return words[k], end + 1, true
		}
		return "", 0, false
	}
	for i < len(s) && isVar(s[i]) {
		i++
	}
	if i == 1 {
		return "", 0, false
	}
	v, found := e.lookup(s[1:i], x)
	return v, i, found
}

// closingBrace returns the place of the brace that closes the one at s[1].
func closingBrace(s string) int {
	depth := 0
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// Expand replaces references to g's Defines in s, as a reader of the printed graph would.
func (g *Graph) Expand(s string) string {
	if len(g.Defines) == 0 {
		return s
	}
	e := &env{vars: map[string]string{}, raw: map[string]bool{}}
	for _, d := range g.Defines {
		e.vars[d.Name], e.raw[d.Name] = d.Value, true
	}
	x := expander{left: maxText}
	return x.expand(s, e)
}
