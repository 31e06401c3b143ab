package demux

import (
	"slices"

	"github.com/janos-os/janos/errs"
)

// edit makes a program out of another. Nodes and groups that it has made itself are in its maps and may still be changed, all others are copied
// before the first change.
type edit struct {
	nodes  map[*node]bool
	groups map[*group]bool
}

// With returns a program that has the given rules besides p's own. Rules for other links are left out, as Compile does. The cost
// is that of the groups of equal mask shape that the new rules belong to; the rest is shared with p, which stays as it is. Errors are those of Compile.
func (p *Program) With(rules ...Rule) (*Program, error) {
	if p.rules+len(rules) > MaxRules {
		return nil, errs.New(errs.Limit, "demux: %d rules, at most %d", p.rules+len(rules), MaxRules)
	}
	q := *p
	e := edit{nodes: map[*node]bool{}, groups: map[*group]bool{}}
	seen := make(map[uint32]bool, len(rules))
	for i := range rules {
		if id := rules[i].ID; seen[id] || p.root.has(id) {
			return nil, twice(id)
		}
		seen[rules[i].ID] = true
		if err := e.add(&q, &rules[i]); err != nil {
			return nil, err
		}
	}
	e.finish()
	return &q, nil
}

// Without returns a program that has p's rules but for those with the given numbers. Numbers that p does not have are
// passed over. The cost is as that of With.
func (p *Program) Without(ids ...uint32) *Program {
	q := *p
	e := edit{nodes: map[*node]bool{}, groups: map[*group]bool{}}
	for _, id := range ids {
		if root, ok := e.remove(q.root, id); ok {
			q.root = root
			q.rules--
		}
	}
	if q.root == nil {
		q.root = &node{}
	}
	e.finish()
	return &q
}

// has reports whether a rule of this number is in n or below.
func (n *node) has(id uint32) bool {
	found := false
	n.each(func(_ *node, g *group) { found = found || g.has(id) })
	return found
}

func (g *group) has(id uint32) bool {
	_, ok := slices.BinarySearch(g.ids, id)
	return ok
}

// add puts r into p, if it is for p's link.
func (e *edit) add(p *Program, r *Rule) error {
	n, err := r.normalize(p.base, p.link)
	if err != nil || n == nil {
		return err
	}
	root := e.own(p.root)
	at := root
	for _, l := range n.layers {
		c := at.children[l]
		if c == nil {
			c = &node{layer: l, depth: at.depth + 1}
			e.nodes[c] = true
		}
		c = e.own(c)
		at.children[l] = c
		at = c
	}
	if err := e.insert(at, n); err != nil {
		return r.errorf("%w", err)
	}
	p.root = root
	p.rules++
	return nil
}

// own returns n if it is the edit's, and a copy that is otherwise.
func (e *edit) own(n *node) *node {
	if e.nodes[n] {
		return n
	}
	c := *n
	c.groups = slices.Clone(n.groups)
	e.nodes[&c] = true
	return &c
}

// ownGroup is own for the i-th group of a node of the edit.
func (e *edit) ownGroup(n *node, i int) *group {
	g := n.groups[i]
	if e.groups[g] {
		return g
	}
	c := *g
	c.table, c.ids = g.table.clone(), slices.Clone(g.ids)
	c.version, c.from, c.changes = versions.Add(1), g.version, nil
	n.groups[i] = &c
	e.groups[&c] = true
	return &c
}

// insert puts r into a node of the edit.
func (e *edit) insert(n *node, r *normal) error {
	i := slices.IndexFunc(n.groups, func(g *group) bool { return slices.Equal(g.shape, r.shape) })
	if i < 0 {
		if len(n.groups) == MaxShapes {
			return errs.New(errs.Limit, "more than %d mask shapes; use masks that other rules use", MaxShapes)
		}
		g := &group{first: *r.rule, name: shapeName(r.layers, r.shape), shape: r.shape, bits: r.bits, table: table{words: len(r.shape)}, version: versions.Add(1)}
		for _, pc := range r.shape {
			g.payload = g.payload || pc.anchor == atPayload
		}
		e.groups[g] = true
		i = len(n.groups)
		n.groups = append(n.groups, g)
	}
	g := e.ownGroup(n, i)
	if g.table.add(r.value, r.id, r.age) && g.from != 0 {
		g.changes = append(g.changes, change{key: r.value, id: r.id, age: r.age})
	}
	if len(g.ids) == 0 || g.ids[len(g.ids)-1] < r.id {
		g.ids = append(g.ids, r.id)
	} else if at, dup := slices.BinarySearch(g.ids, r.id); !dup {
		g.ids = slices.Insert(g.ids, at, r.id)
	}
	return nil
}

// remove takes rule id out of n or what is below. It returns what n has become: nil where nothing is left.
func (e *edit) remove(n *node, id uint32) (_ *node, ok bool) {
	if n == nil {
		return nil, false
	}
	for i, g := range n.groups {
		if g.has(id) {
			n = e.own(n)
			e.removeFrom(n, i, id)
			return n.unlessEmpty(), true
		}
	}
	for l, c := range n.children {
		if c == nil {
			continue
		}
		if c, ok = e.remove(c, id); ok {
			n = e.own(n)
			n.children[l] = c
			return n.unlessEmpty(), true
		}
	}
	return n, false
}

func (n *node) unlessEmpty() *node {
	if len(n.groups) > 0 || n.children != [numLayers]*node{} {
		return n
	}
	return nil
}

// removeFrom takes rule id out of the i-th group of a node of the edit.
func (e *edit) removeFrom(n *node, i int, id uint32) {
	if len(n.groups[i].ids) == 1 {
		n.groups = slices.Delete(n.groups, i, i+1)
		return
	}
	g := e.ownGroup(n, i)
	at, _ := slices.BinarySearch(g.ids, id)
	g.ids = slices.Delete(g.ids, at, at+1)
	t := &g.table
	for row := range t.len() {
		got, _ := t.rule(row)
		if got != id {
			continue
		}
		key := slices.Clone(t.key(row))
		changed, heir := t.remove(row)
		if changed && g.from != 0 {
			c := change{key: key, gone: heir < 0}
			if heir >= 0 {
				c.id, c.age = t.rule(heir)
			}
			g.changes = append(g.changes, c)
		}
		return
	}
}

// finish makes the edit's nodes ready to be used.
func (e *edit) finish() {
	for n := range e.nodes {
		n.finish()
	}
}

// shapeName is a name of the group of this shape on this chain.
func shapeName(layers []Layer, shape []piece) string {
	b := make([]byte, 0, 1+len(layers)+15*len(shape))
	b = append(b, byte(len(layers)))
	for _, l := range layers {
		b = append(b, byte(l))
	}
	for _, p := range shape {
		b = append(b, p.depth, byte(p.anchor), byte(p.off>>8), byte(p.off), byte(p.need))
		for i := range 8 {
			b = append(b, byte(p.mask>>(8*i)))
		}
	}
	return string(b)
}
