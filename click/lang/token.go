package lang

import "github.com/janos-os/janos/errs"

type kind uint8

const (
	tEOF    kind = iota
	tIdent       // a, A@1, x/y
	tNumber      // all digits
	tVar         // $x
	tArrow       // ->
	tArrow2      // =>
	tColons      // ::
	tBars        // ||
	tDots        // ...
	tClass       // elementclass
	tRequire
	tProvide
	tDefine
	tPunct // one of ; , ( ) [ ] { } | -
	tBad   // anything else
)

type token struct {
	kind kind
	text string
	pos  errs.Pos
}

// is reports whether t is the one-character token c.
func (t token) is(c byte) bool { return t.kind == tPunct && t.text[0] == c }

// describe is how an error message calls t.
func (t token) describe() string {
	if t.kind == tEOF {
		return "end of file"
	}
	return "'" + t.text + "'"
}

var keywords = map[string]kind{
	"elementclass": tClass, "require": tRequire, "provide": tProvide, "define": tDefine,
}

// isIdent reports whether c may be part of an identifier; '/' is handled apart.
func isIdent(c byte) bool {
	return c == '_' || c == '@' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isVar reports whether c may be part of a variable's name.
func isVar(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
