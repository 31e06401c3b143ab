package yamlfile

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/janos-os/janos/errs"
)

// Node is one value of a file: a mapping, a sequence or a scalar. The zero Node is an absent value.
type Node struct {
	f *File
	n ast.Node
}

// Exists reports whether the value is there; a key without a value (or with null) has none.
func (n Node) Exists() bool {
	if n.n == nil {
		return false
	}
	_, null := n.n.(*ast.NullNode)
	return !null
}

// Pos returns the place of the value; without a value, that of nothing.
func (n Node) Pos() errs.Pos {
	switch v := n.n.(type) {
	case nil:
		return errs.Pos{}
	case *ast.MappingNode:
		// The token of a block mapping is the colon of its first entry; its first key is where a reader looks.
		if !v.IsFlowStyle && len(v.Values) > 0 && v.Values[0].Key != nil {
			return n.f.pos(v.Values[0].Key.GetToken())
		}
	case *ast.MappingValueNode:
		if v.Key != nil {
			return n.f.pos(v.Key.GetToken())
		}
	}
	return n.f.pos(n.n.GetToken())
}

// Errorf adds an error at the place of the value.
func (n Node) Errorf(format string, args ...any) {
	if n.f != nil {
		n.f.Errorf(n.Pos(), format, args...)
	}
}

// what names the kind of value that is there, for errors.
func (n Node) what() string {
	switch n.n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias (not supported; write the value out)"
	case *ast.TagNode:
		return "a tag (not supported; leave it out)"
	}
	return "a single value"
}

// IsList reports whether the value is a sequence.
func (n Node) IsList() bool {
	_, ok := n.n.(*ast.SequenceNode)
	return ok
}

// List returns the values of a sequence. A single value in its place is not a list and is reported.
func (n Node) List() []Node {
	if !n.Exists() {
		return nil
	}
	s, ok := n.n.(*ast.SequenceNode)
	if !ok {
		n.Errorf("need a list, not %s; write [a, b] or one \"- a\" per line", n.what())
		return nil
	}
	out := make([]Node, 0, len(s.Values))
	for _, v := range s.Values {
		e := Node{f: n.f, n: v}
		if !e.Exists() {
			n.Errorf("the list has an empty entry; remove it or write its value")
			continue
		}
		out = append(out, e)
	}
	return out
}

// scalar returns the text of a scalar, as it was written for numbers and booleans.
func (n Node) scalar() (string, bool) {
	switch v := n.n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return v.GetToken().Value, true
	}
	return "", false
}

// Text returns a scalar as text. ok is false when the value is absent, or is no scalar (which is reported).
func (n Node) Text() (s string, ok bool) {
	if !n.Exists() {
		return "", false
	}
	s, ok = n.scalar()
	if !ok {
		n.Errorf("need a single value, not %s", n.what())
	}
	return s, ok
}

// Texts returns the scalars of a sequence as text.
func (n Node) Texts() []string {
	var out []string
	for _, e := range n.List() {
		if s, ok := e.Text(); ok {
			out = append(out, s)
		}
	}
	return out
}

// Int returns a whole number from min to max. ok is false when the value is absent, or is not such a number (which is
// reported).
func (n Node) Int(min, max int64) (v int64, ok bool) {
	s, ok := n.Text()
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(s, 0, 64)
	if err != nil || v < min || v > max {
		n.Errorf("%q is not a whole number from %d to %d", clip(s), min, max)
		return 0, false
	}
	return v, true
}

// Uint64 returns a whole number that is not negative.
func (n Node) Uint64() (v uint64, ok bool) {
	s, ok := n.Text()
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		n.Errorf("%q is not a whole number from 0 to %d", clip(s), uint64(math.MaxUint64))
		return 0, false
	}
	return v, true
}

// Float returns a number from min to max; a percent sign divides it by 100.
func (n Node) Float(min, max float64) (v float64, ok bool) {
	s, ok := n.Text()
	if !ok {
		return 0, false
	}
	num, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= min && v <= max) { // NaN is outside too
		n.Errorf("%q is not a number from %v to %v", clip(s), min, max)
		return 0, false
	}
	return v, true
}

// Bool returns true or false.
func (n Node) Bool() (v, ok bool) {
	s, ok := n.Text()
	if !ok {
		return false, false
	}
	switch s {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	n.Errorf("%q is neither true nor false", clip(s))
	return false, false
}

// Duration returns a time span from 0 to max, written with its unit ("5ms").
func (n Node) Duration(max time.Duration) (d time.Duration, ok bool) {
	s, ok := n.Text()
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		n.Errorf("%q is not a time span; write a number with its unit, for example 5ms or 1.5s", clip(s))
	case d < 0 || d > max:
		n.Errorf("time span %s is outside 0s to %s", s, max)
	default:
		return d, true
	}
	return 0, false
}

// clip keeps an error readable when the value is not.
func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}
