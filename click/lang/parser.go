package lang

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

const (
	maxNesting  = 200     // braces and parentheses within each other
	maxPort     = 1 << 16 // port numbers are below this
	maxErrors   = 100     // further syntax errors of one file are not interesting
	maxPortList = 1 << 12 // ports in one list
)

// Parse makes the tree of the configuration in src. The name is for messages. All
// syntax errors are added to list; the tree leaves out what could not be understood, and
// is never nil.
func Parse(name, src string, list *errs.List) *File {
	p := &parser{lex: newLexer(name, src, list), errors: list, start: list.Len()}
	p.advance()
	f := &File{Name: name}
	for {
		f.Stmts = append(f.Stmts, p.stmts()...)
		if p.tok.kind == tEOF || p.full() {
			return f
		}
		p.errorf(p.tok.pos, "unexpected %s", p.tok.describe())
		p.advance()
	}
}

type parser struct {
	lex    *lexer
	tok    token
	errors *errs.List
	start  int
	depth  int
	failed errs.Pos // of the last error: one report for one place
}

func (p *parser) advance() { p.tok = p.lex.next() }

func (p *parser) full() bool { return p.errors.Len()-p.start > maxErrors }

func (p *parser) errorf(pos errs.Pos, format string, args ...any) {
	if pos == p.failed && pos.Line > 0 || p.full() {
		return
	}
	p.failed = pos
	p.errors.Addf(pos, format, args...)
}

// skip steps over tokens up to a place at which a statement may start.
func (p *parser) skip() {
	depth := 0
	for {
		switch {
		case p.tok.kind == tEOF:
			return
		case depth == 0 && (p.tok.kind == tClass || p.tok.kind == tBars || p.tok.kind == tDefine || p.tok.kind == tRequire):
			return
		case p.tok.is(';') && depth == 0, p.tok.is('|') && depth == 0:
			return
		case p.tok.is('{'), p.tok.is('('), p.tok.is('['):
			depth++
		case p.tok.is('}'), p.tok.is(')'), p.tok.is(']'):
			if depth == 0 {
				return
			}
			depth--
		}
		p.advance()
	}
}

// enter guards against input that nests deeper than the stack should be.
func (p *parser) enter() bool {
	if p.depth++; p.depth <= maxNesting {
		return true
	}
	p.errorf(p.tok.pos, "braces and parentheses are nested more than %d deep", maxNesting)
	return false
}

// stmts reads statements up to a token that cannot start one.
func (p *parser) stmts() []Stmt {
	var out []Stmt
	for !p.full() {
		switch {
		case p.tok.is(';'):
			p.advance()
		case p.tok.kind == tClass:
			if s := p.classStmt(); s != nil {
				out = append(out, s)
			}
		case p.tok.kind == tRequire || p.tok.kind == tProvide:
			s := &RequireStmt{Pos: p.tok.pos, Provide: p.tok.kind == tProvide}
			if s.Config = p.wantConfig(); s.Config != nil {
				out = append(out, s)
			}
		case p.tok.kind == tDefine:
			s := &DefineStmt{Pos: p.tok.pos}
			if s.Config = p.wantConfig(); s.Config != nil {
				out = append(out, s)
			}
		case p.startsElement() || p.tok.kind == tArrow || p.tok.kind == tArrow2:
			if c := p.connection(); c != nil {
				out = append(out, c)
			}
		case p.tok.kind == tEOF, p.tok.is('}'), p.tok.is(')'), p.tok.is('|'), p.tok.kind == tBars:
			return out
		default:
			p.errorf(p.tok.pos, "syntax error near %s", p.tok.describe())
			p.advance()
			p.skip()
		}
	}
	return out
}

// wantConfig reads the parenthesised text after a keyword.
func (p *parser) wantConfig() *Config {
	word := p.tok.text
	p.advance()
	if !p.tok.is('(') {
		p.errorf(p.tok.pos, "expected '(' after '%s', found %s", word, p.tok.describe())
		p.skip()
		return nil
	}
	return p.config()
}

// config reads a configuration string; the current token is its parenthesis.
func (p *parser) config() *Config {
	c := &Config{Pos: p.tok.pos}
	ok := false
	if c.Text, ok = p.lex.config(); !ok {
		p.errorf(c.Pos, "unterminated configuration string, the ')' that belongs to this '(' is missing")
	}
	p.advance()
	return c
}

func (p *parser) startsElement() bool {
	return p.tok.kind == tIdent || p.tok.kind == tNumber || p.tok.is('{') || p.tok.is('(') || p.tok.is('[')
}

func (p *parser) connection() *Connection {
	c := &Connection{Pos: p.tok.pos}
	h := Hop{}
	for {
		if !p.hop(&h, len(c.Hops) == 0) {
			p.skip()
			if len(h.Elements) > 0 {
				c.Hops = append(c.Hops, h)
			}
			if len(c.Hops) == 0 {
				return nil
			}
			return c
		}
		c.Hops = append(c.Hops, h)
		if p.tok.kind != tArrow && p.tok.kind != tArrow2 {
			return c
		}
		h = Hop{Arrow: p.tok.text, ArrowPos: p.tok.pos}
		p.advance()
	}
}

// hop reads a list of elements, or nothing (or only ports) where input or output is meant.
func (p *parser) hop(h *Hop, first bool) bool {
	arrow := func() bool { return p.tok.kind == tArrow || p.tok.kind == tArrow2 }
	if first && arrow() {
		return true
	}
	if !first && !p.startsElement() {
		if arrow() {
			p.errorf(p.tok.pos, "expected an element between two arrows")
			return false
		}
		return true
	}
	for {
		e := &Element{Pos: p.tok.pos}
		if p.tok.is('[') {
			if e.In = p.ports(); e.In == nil {
				return false
			}
			e.Pos = p.tok.pos
			alone := len(h.Elements) == 0 && (first && arrow() || !first && !p.startsElement())
			if alone {
				h.Ports = e.In
				return true
			}
		}
		if !p.element(e) {
			return false
		}
		h.Elements = append(h.Elements, e)
		if p.tok.is('[') {
			if e.Out = p.ports(); e.Out == nil {
				return false
			}
		}
		if !p.tok.is(',') {
			return true
		}
		p.advance()
	}
}

func (p *parser) element(e *Element) bool {
	switch {
	case p.tok.kind == tIdent:
		p.identifier()
		e.Name = p.tok.text
		p.advance()
		switch {
		case p.tok.kind == tColons:
			p.advance()
			if e.Class = p.class(); e.Class == nil {
				return false
			}
		case p.tok.is('('):
			e.Class = &Class{Pos: e.Pos, Name: e.Name}
			e.Name = ""
		default:
			return true
		}
	case p.tok.is('{'):
		if e.Class = p.class(); e.Class == nil {
			return false
		}
	case p.tok.is('('):
		e.IsGroup = true
		open := p.tok.pos
		if !p.enter() {
			return false
		}
		p.advance()
		for {
			e.Group = append(e.Group, p.stmts()...)
			if p.tok.is(')') {
				break
			}
			if p.tok.kind == tEOF || p.full() {
				p.errorf(open, "the ')' that closes this element group is missing")
				p.depth--
				return false
			}
			p.errorf(p.tok.pos, "unexpected %s in an element group", p.tok.describe())
			if p.tok.is('}') {
				p.depth--
				return false
			}
			p.advance()
		}
		p.depth--
		p.advance()
		return true
	case p.tok.kind == tNumber:
		p.errorf(p.tok.pos, "'%s' cannot name an element, names are not all digits", p.tok.text)
		return false
	default:
		p.errorf(p.tok.pos, "expected an element, found %s", p.tok.describe())
		return false
	}
	if p.tok.is('(') {
		e.Config = p.config()
	}
	return true
}

// identifier complains about a name with a component that is all digits.
func (p *parser) identifier() {
	for _, part := range strings.Split(p.tok.text, "/") {
		if strings.Trim(part, "0123456789") == "" {
			p.errorf(p.tok.pos, "component '%s' of '%s' consists of digits only", part, p.tok.text)
		}
	}
}

func (p *parser) class() *Class {
	c := &Class{Pos: p.tok.pos}
	switch {
	case p.tok.kind == tIdent:
		p.identifier()
		c.Name = p.tok.text
		p.advance()
	case p.tok.is('{'):
		if c.Compound = p.compound(); c.Compound == nil {
			return nil
		}
	default:
		p.errorf(p.tok.pos, "expected an element class, found %s", p.tok.describe())
		return nil
	}
	return c
}

func (p *parser) compound() *Compound {
	c := &Compound{Pos: p.tok.pos}
	if !p.enter() {
		return nil
	}
	defer func() { p.depth-- }()
	p.advance()
	for {
		if p.tok.kind == tDots {
			if c.Extend = true; len(c.Defs) == 0 {
				p.errorf(p.tok.pos, "'...' must follow a definition and '||'")
			}
			p.advance()
			if !p.tok.is('}') {
				p.errorf(p.tok.pos, "expected '}' after '...', found %s", p.tok.describe())
				p.skip()
			}
		} else {
			d := &Def{Pos: p.tok.pos}
			p.formals(d)
			for {
				d.Stmts = append(d.Stmts, p.stmts()...)
				if p.tok.is('}') || p.tok.kind == tBars || p.tok.kind == tEOF || p.full() {
					break
				}
				p.errorf(p.tok.pos, "unexpected %s in a compound element", p.tok.describe())
				p.advance()
			}
			c.Defs = append(c.Defs, d)
		}
		if p.tok.kind == tBars && !c.Extend {
			p.advance()
			continue
		}
		if !p.tok.is('}') {
			p.errorf(c.Pos, "the '}' that closes this compound element is missing")
			return c
		}
		p.advance()
		return c
	}
}

// formals reads the parameters of a compound element, if there are any.
func (p *parser) formals(d *Def) {
	if p.tok.is('|') {
		p.advance()
		return
	}
	if p.tok.kind != tVar && !(p.tok.kind == tIdent && p.varFollows()) {
		return
	}
	seen := map[string]bool{}
	rest, keys := false, false
	for {
		f := Formal{Pos: p.tok.pos}
		if p.tok.kind == tIdent {
			f.Key = p.tok.text
			p.advance()
		}
		if p.tok.kind != tVar {
			p.errorf(p.tok.pos, "expected a parameter such as $x, found %s", p.tok.describe())
			for !p.tok.is('|') && !p.tok.is('}') && p.tok.kind != tEOF {
				p.advance()
			}
		} else {
			f.Name = p.tok.text[1:]
			p.advance()
			switch {
			case rest:
				p.errorf(f.Pos, "__REST__ must be the last parameter")
			case f.Key == "" && keys:
				p.errorf(f.Pos, "positional parameter '$%s' must precede the keyword parameters", f.Name)
			case seen["$"+f.Name]:
				p.errorf(f.Pos, "parameter '$%s' is named twice", f.Name)
			case f.Key != "" && seen[f.Key]:
				p.errorf(f.Pos, "keyword '%s' is used twice", f.Key)
			}
			seen["$"+f.Name] = true
			if f.Key != "" {
				keys, seen[f.Key] = true, true
			}
			rest = rest || f.Key == "__REST__"
			d.Formals = append(d.Formals, f)
		}
		if p.tok.is(',') {
			p.advance()
			continue
		}
		if p.tok.is('|') {
			p.advance()
		} else {
			p.errorf(p.tok.pos, "expected '|' after the parameters, found %s", p.tok.describe())
		}
		return
	}
}

// varFollows reports whether the token after the current one is a variable.
func (p *parser) varFollows() bool {
	save, list := *p.lex, p.lex.errors
	p.lex.errors = &errs.List{}
	t := p.lex.next()
	*p.lex = save
	p.lex.errors = list
	return t.kind == tVar
}

func (p *parser) classStmt() Stmt {
	s := &ClassStmt{Pos: p.tok.pos}
	p.advance()
	if p.tok.kind != tIdent {
		p.errorf(p.tok.pos, "expected a class name after 'elementclass', found %s", p.tok.describe())
		p.skip()
		return nil
	}
	p.identifier()
	s.Name = p.tok.text
	p.advance()
	if s.Class = p.class(); s.Class == nil {
		p.skip()
		return nil
	}
	return s
}

// ports reads a bracketed list of numbers and ranges; nil after an error.
func (p *parser) ports() *Ports {
	l := &Ports{Pos: p.tok.pos}
	p.advance()
	number := func() (int, bool) {
		n, err := strconv.Atoi(p.tok.text)
		if p.tok.kind != tNumber {
			p.errorf(p.tok.pos, "expected a port number, found %s", p.tok.describe())
			return 0, false
		}
		if err != nil || n >= maxPort {
			p.errorf(p.tok.pos, "port number %s is too large, the limit is %d", p.tok.text, maxPort-1)
			return 0, false
		}
		p.advance()
		return n, true
	}
	for !p.tok.is(']') {
		from, ok := number()
		if !ok {
			return nil
		}
		to := from
		if p.tok.is('-') {
			at := p.tok.pos
			p.advance()
			if to, ok = number(); !ok {
				return nil
			}
			if to < from {
				p.errorf(at, "port range %d-%d runs backwards", from, to)
				return nil
			}
		}
		if to-from+len(l.Num) >= maxPortList {
			p.errorf(l.Pos, "more than %d ports in one list", maxPortList)
			return nil
		}
		for ; from <= to; from++ {
			l.Num = append(l.Num, from)
		}
		if p.tok.is(',') {
			p.advance()
		} else if !p.tok.is(']') {
			p.errorf(p.tok.pos, "expected ',' or ']' in a list of ports, found %s", p.tok.describe())
			return nil
		}
	}
	p.advance()
	return l
}
