package yamlfile

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/janos-os/janos/errs"
)

// Map is a mapping. Get marks keys as known, Close reports the others.
type Map struct {
	node    Node
	what    string
	entries []entry
	known   []string
}

type entry struct {
	key   string
	pos   errs.Pos
	value Node
}

// Map returns the value as a mapping; what says in errors what it describes ("node", "link"). When the value is absent, or is
// no mapping (which is reported), the Map is empty.
func (n Node) Map(what string) *Map {
	m := &Map{node: n, what: what}
	if !n.Exists() {
		return m
	}
	var values []*ast.MappingValueNode
	switch v := n.n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		n.Errorf("%s: need a mapping of keys to values, not %s", what, n.what())
		return m
	}
	first := make(map[string]errs.Pos, len(values))
	for _, v := range values {
		key, ok := Node{f: n.f, n: v.Key}.scalar()
		pos := n.f.pos(v.Key.GetToken())
		if !ok {
			n.f.Errorf(pos, "%s: a key must be a plain word", what)
			continue
		}
		if p, dup := first[key]; dup {
			n.f.Errorf(pos, "%s: key %q appears twice, first in line %d; keep one", what, clip(key), p.Line)
			continue
		}
		first[key] = pos
		m.entries = append(m.entries, entry{key, pos, Node{f: n.f, n: v.Value}})
	}
	return m
}

// Pos returns the place of the mapping.
func (m *Map) Pos() errs.Pos { return m.node.Pos() }

// Get returns the value of key, which is absent when the mapping does not have it, and marks the key as known.
func (m *Map) Get(key string) Node {
	m.known = append(m.known, key)
	for _, e := range m.entries {
		if e.key == key {
			return e.value
		}
	}
	return Node{}
}

// Need is Get for a key that must have a value; it reports when there is none.
func (m *Map) Need(key string) Node {
	v := m.Get(key)
	if !v.Exists() && m.node.Exists() {
		m.node.Errorf("%s has no %q; add it", m.what, key)
	}
	return v
}

// Each calls fn for every entry, in the order of the file, and marks all keys as known. It is for mappings whose keys the user
// chooses.
func (m *Map) Each(fn func(key string, pos errs.Pos, value Node)) {
	for _, e := range m.entries {
		m.known = append(m.known, e.key)
		fn(e.key, e.pos, e.value)
	}
}

// Close reports every key that was not asked for.
func (m *Map) Close() {
	for _, e := range m.entries {
		if slices.Contains(m.known, e.key) {
			continue
		}
		known := slices.Compact(slices.Sorted(slices.Values(m.known)))
		hint := "known are: " + strings.Join(known, ", ")
		if near := nearest(e.key, known); near != "" {
			hint = "did you mean " + near + "?"
		}
		m.node.f.Errorf(e.pos, "%s has no setting %q; %s", m.what, clip(e.key), hint)
	}
}

// nearest returns the word that differs from s by one edit or swap, or by case.
func nearest(s string, words []string) string {
	for _, w := range words {
		if strings.EqualFold(s, w) || near(s, w) {
			return w
		}
	}
	return ""
}

func near(a, b string) bool {
	if len(a) < 3 || len(b) < 3 {
		return false
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	ra, rb := a[i:], b[i:]
	switch {
	case len(ra) == len(rb):
		return len(ra) > 0 && ra[1:] == rb[1:] ||
			len(ra) > 1 && ra[0] == rb[1] && ra[1] == rb[0] && ra[2:] == rb[2:]
	case len(ra) == len(rb)+1:
		return ra[1:] == rb
	case len(rb) == len(ra)+1:
		return rb[1:] == ra
	}
	return false
}
