package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/janos-os/janos/errs"
)

// What a file may have. The parser is recursive, so its nesting is bounded by these before it runs.
const (
	MaxSize  = 1 << 20 // bytes of a file
	MaxLine  = 4096    // bytes of a line
	MaxDepth = 32      // brackets, or steps of indentation on the way to a line
)

// File is a parsed file and the errors found in it so far.
type File struct {
	name string
	errs errs.List
	root ast.Node
}

// Parse reads the text of a file; name is what errors call it. It always returns a File: a syntax error is in its Err,
// and its Root is then empty.
func Parse(name string, text []byte) *File {
	f := &File{name: name}
	if !f.bounded(text) {
		return f
	}
	tree, err := parse(text)
	if err != nil {
		f.syntax(err)
		return f
	}
	var body []*ast.DocumentNode
	for _, d := range tree.Docs {
		if d != nil && d.Body != nil {
			body = append(body, d)
		}
	}
	if len(body) > 1 {
		f.errs.Addf(f.pos(body[1].Body.GetToken()), "a second document starts here; keep one document in a file")
	}
	if len(body) > 0 {
		f.root = body[0].Body
	}
	return f
}

// parse shields us from a parser that is not ours: a panic of it is an error about the file.
func parse(text []byte) (tree *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser gave up on this text (%v); write it in a plainer form", r)
		}
	}()
	return parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
}

// Root returns the top of the document; it is absent when the file is empty or not YAML.
func (f *File) Root() Node { return Node{f: f, n: f.root} }

// Errorf adds an error at pos.
func (f *File) Errorf(pos errs.Pos, format string, args ...any) { f.errs.Addf(pos, format, args...) }

// Err returns all errors found so far as one, or nil.
func (f *File) Err() error { return f.errs.Err() }

func (f *File) pos(t *token.Token) errs.Pos {
	p := errs.Pos{File: f.name}
	if t != nil && t.Position != nil {
		p.Line, p.Col = t.Position.Line, t.Position.Column
	}
	return p
}

func (f *File) syntax(err error) {
	pos := errs.Pos{File: f.name, Line: 1, Col: 1}
	msg := err.Error()
	var ye yaml.Error
	if errors.As(err, &ye) {
		pos, msg = f.pos(ye.GetToken()), ye.GetMessage()
	}
	f.errs.Addf(pos, "not valid YAML: %s; check indentation, brackets and quotes near this place", msg)
}

// bounded refuses what would make the parser use more stack or time than a configuration file deserves.
func (f *File) bounded(text []byte) bool {
	at := func(line, col int) errs.Pos { return errs.Pos{File: f.name, Line: line, Col: col} }
	if len(text) > MaxSize {
		f.errs.Addf(at(0, 0), "file has %d bytes, the most allowed is %d; split it", len(text), MaxSize)
		return false
	}
	if !utf8.Valid(text) {
		f.errs.Addf(at(0, 0), "file is not UTF-8 text; convert it")
		return false
	}
	depth := 0
	var indents []int
	for line := 1; len(text) > 0; line++ {
		l := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			l, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		if len(l) > MaxLine {
			f.errs.Addf(at(line, MaxLine), "line has %d bytes, the most allowed is %d; break it", len(l), MaxLine)
			return false
		}
		ind, words := 0, 0
		lead := true
		for i, c := range l {
			switch {
			case c < ' ' && c != '\t' && c != '\r' || c == 0x7f:
				f.errs.Addf(at(line, i+1), "control character %#02x; remove it", c)
				return false
			case c == '[' || c == '{':
				depth++
			case (c == ']' || c == '}') && depth > 0:
				depth--
			}
			// "- - - x" and "? ? x" nest within a line.
			if lead {
				switch c {
				case ' ', '\t':
					if words == 0 {
						ind++
					}
				case '-', '?', ':', '!', '&':
					words++
				default:
					lead = false
				}
			}
			if depth+words > MaxDepth {
				f.errs.Addf(at(line, i+1), "nested more than %d deep; flatten it", MaxDepth)
				return false
			}
		}
		if len(bytes.TrimSpace(l)) == 0 {
			continue
		}
		for len(indents) > 0 && indents[len(indents)-1] >= ind {
			indents = indents[:len(indents)-1]
		}
		if indents = append(indents, ind); len(indents) > MaxDepth {
			f.errs.Addf(at(line, ind+1), "nested more than %d deep; flatten it", MaxDepth)
			return false
		}
	}
	return true
}
