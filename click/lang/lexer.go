package lang

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

// lexer cuts text into tokens. Configuration strings follow rules of their own, so the
// parser asks for them with config when it stands behind an opening parenthesis.
type lexer struct {
	src    string
	off    int
	bol    int // offset of the current line's first byte
	line   int
	file   string
	errors *errs.List
}

func newLexer(file, src string, errors *errs.List) *lexer {
	return &lexer{src: src, line: 1, file: file, errors: errors}
}

func (l *lexer) pos() errs.Pos { return errs.Pos{File: l.file, Line: l.line, Col: l.off - l.bol + 1} }

// newline is called with off behind a line's end.
func (l *lexer) newline() { l.line++; l.bol = l.off }

// directive consumes a "# 12 "file"" or "#line 12" line if one starts at off, which must be
// the start of a line, and reports whether it did. must says that a line with '#' is
// a directive whatever follows (outside configuration strings).
func (l *lexer) directive(must bool) bool {
	end := len(l.src)
	if i := strings.IndexByte(l.src[l.off:], '\n'); i >= 0 {
		end = l.off + i
	}
	s := strings.TrimRight(l.src[l.off:end], " \t\r")
	t := strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(t, "#") {
		return false
	}
	t = strings.TrimPrefix(strings.TrimLeft(t[1:], " \t"), "line")
	t = strings.TrimLeft(t, " \t")
	n := 0
	for n < len(t) && isDigit(t[n]) {
		n++
	}
	num, err := strconv.Atoi(t[:n])
	if n == 0 || err != nil || num > 1<<30 {
		if !must {
			return false
		}
		l.errors.Addf(l.pos(), "bad line directive, expected '# NUMBER \"FILE\"'")
		l.off = end
		return true
	}
	if f := strings.TrimLeft(t[n:], " \t"); len(f) >= 2 && f[0] == '"' {
		if q := strings.IndexByte(f[1:], '"'); q >= 0 {
			l.file = f[1 : 1+q]
		}
	}
	l.off = end
	if end < len(l.src) {
		l.off++
	}
	l.line, l.bol = num, l.off
	return true
}

// comment consumes a comment at off, if there is one.
func (l *lexer) comment() bool {
	s := l.src[l.off:]
	switch {
	case strings.HasPrefix(s, "//"):
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			l.off += i
		} else {
			l.off = len(l.src)
		}
	case strings.HasPrefix(s, "/*"):
		start := l.pos()
		l.off += 2
		for {
			if l.off >= len(l.src) {
				l.errors.Addf(start, "unterminated comment")
				return true
			}
			if strings.HasPrefix(l.src[l.off:], "*/") {
				l.off += 2
				return true
			}
			l.off++
			if l.src[l.off-1] == '\n' {
				l.newline()
			}
		}
	default:
		return false
	}
	return true
}

// space skips white space, comments and line directives.
func (l *lexer) space() {
	for l.off < len(l.src) {
		c := l.src[l.off]
		switch {
		case c == '#' && strings.TrimLeft(l.src[l.bol:l.off], " \t") == "":
			if !l.directive(true) {
				return
			}
		case c == '\n':
			l.off++
			l.newline()
		case isSpace(c):
			l.off++
		case c == '/':
			if !l.comment() {
				return
			}
		default:
			return
		}
	}
}

func (l *lexer) next() token {
	l.space()
	t := token{pos: l.pos()}
	if l.off >= len(l.src) {
		return t
	}
	s := l.src[l.off:]
	take := func(k kind, n int) token {
		t.kind, t.text = k, s[:n]
		l.off += n
		return t
	}
	if isIdent(s[0]) {
		n := 1
		for n < len(s) && (isIdent(s[n]) || s[n] == '/' && n+1 < len(s) && isIdent(s[n+1])) {
			n++
		}
		digits := true
		for i := 0; i < n && digits; i++ {
			digits = isDigit(s[i])
		}
		if digits {
			return take(tNumber, n)
		}
		t = take(tIdent, n)
		if k, ok := keywords[t.text]; ok {
			t.kind = k
		}
		return t
	}
	for _, m := range [...]struct {
		text string
		kind kind
	}{{"->", tArrow}, {"=>", tArrow2}, {"::", tColons}, {"||", tBars}, {"...", tDots}} {
		if strings.HasPrefix(s, m.text) {
			return take(m.kind, len(m.text))
		}
	}
	if s[0] == '$' {
		n := 1
		for n < len(s) && isVar(s[n]) {
			n++
		}
		if n > 1 {
			return take(tVar, n)
		}
		return take(tBad, 1)
	}
	if strings.IndexByte(";,()[]{}|-", s[0]) >= 0 {
		return take(tPunct, 1)
	}
	return take(tBad, 1)
}

// config returns the configuration string from off up to the closing parenthesis that
// belongs to it, and steps over that. Parentheses in quotes and comments do not count.
func (l *lexer) config() (string, bool) {
	start := l.off
	depth := 1
	var quote byte
	var cut strings.Builder // text before start when a directive was cut out
	for l.off < len(l.src) {
		c := l.src[l.off]
		switch {
		case c == '\n':
			l.off++
			l.newline()
			if quote == 0 {
				before := l.off
				if l.directive(false) {
					cut.WriteString(l.src[start:before])
					start = l.off
				}
			}
			continue
		case quote != 0:
			if c == '\\' && quote != '\'' && l.off+1 < len(l.src) && l.src[l.off+1] != '\n' {
				l.off++
			} else if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '\\' && strings.HasPrefix(l.src[l.off:], `\<`):
			quote = '>'
			l.off++
		case c == '/':
			if l.comment() {
				continue
			}
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				cut.WriteString(l.src[start:l.off])
				l.off++
				return cut.String(), true
			}
		}
		l.off++
	}
	cut.WriteString(l.src[start:])
	return cut.String(), false
}
