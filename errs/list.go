package errs

import (
	"fmt"
	"sort"
	"strings"
)

// Pos is a place in a text file. Line and Col count from 1 (Col in bytes); zero means unknown.
type Pos struct {
	File string
	Line int
	Col  int
}

// String returns file:line:column, without the parts that are unknown.
func (p Pos) String() string {
	s := p.File
	if s == "" {
		s = "input"
	}
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
		if p.Col > 0 {
			s += fmt.Sprintf(":%d", p.Col)
		}
	}
	return s
}

// At is an error that belongs to a place in a file.
type At struct {
	Pos Pos
	Err error
}

// Error implements error as "file:line:col: text".
func (a *At) Error() string { return a.Pos.String() + ": " + a.Err.Error() }

// Unwrap returns the error without its place.
func (a *At) Unwrap() error { return a.Err }

// List collects the errors of one configuration. The zero value is empty and
// ready for use. It is not safe for concurrent use.
type List struct {
	Lines bool // leave the columns out of places
	errs  []error
}

// Add appends err unless it is nil.
func (l *List) Add(err error) {
	if at, ok := err.(*At); ok && l.Lines {
		err = &At{Pos: at.Pos.line(), Err: at.Err}
	}
	if err != nil {
		l.errs = append(l.errs, err)
	}
}

// line returns the place without its column.
func (p Pos) line() Pos { return Pos{File: p.File, Line: p.Line} }

// Addf appends an Invalid error at pos.
func (l *List) Addf(pos Pos, format string, args ...any) {
	if l.Lines {
		for i, a := range args {
			if p, ok := a.(Pos); ok {
				args[i] = p.line()
			}
		}
	}
	l.Add(&At{Pos: pos, Err: New(Invalid, format, args...)})
}

// Len returns how many errors were added.
func (l *List) Len() int { return len(l.errs) }

// Err returns nil for an empty list, and otherwise one error that prints every
// member on a line of its own, in the order of their places.
func (l *List) Err() error {
	if len(l.errs) == 0 {
		return nil
	}
	sorted := append([]error(nil), l.errs...)
	sort.SliceStable(sorted, func(i, j int) bool {
		a, aok := sorted[i].(*At)
		b, bok := sorted[j].(*At)
		if !aok || !bok || a.Pos.File != b.Pos.File {
			return false
		}
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line < b.Pos.Line
		}
		return a.Pos.Col < b.Pos.Col
	})
	return listError(sorted)
}

type listError []error

func (l listError) Error() string {
	s := make([]string, len(l))
	for i, e := range l {
		s[i] = e.Error()
	}
	return strings.Join(s, "\n")
}

func (l listError) Unwrap() []error { return l }
