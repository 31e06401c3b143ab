package demux

import (
	"slices"

	"github.com/janos-os/janos/errs"
)

// Bounds of a program. They are checked when it is compiled.
const (
	MaxRules  = 1 << 20
	MaxShapes = 64 // mask shapes of one chain of layers
)

// Program is the decision of all rules of one link. It does not change and is safe for concurrent use.
type Program struct {
	base  Layer
	root  *node
	rules int
}

// node is a chain of layers that some rule names, or the beginning of one.
type node struct {
	layer    Layer
	depth    int
	children [numLayers]*node
	groups   []*group // most bits first
}

// group is the rules of one node with the same mask shape.
type group struct {
	shape    []piece
	payload  bool // some piece looks at the payload
	bits     int
	oldest   uint32 // lowest id of all its rules
	table    table
	sameBits bool // the group before it has as many bits, so both must be asked for the older rule
}

// Compile makes the program of those rules that are for the link called link, whose frames begin with base. Rules
// for other links are left out, and so are rules on "if" that do not begin with base.
// Errors are errs.Invalid or errs.Limit and name the rule.
func Compile(base Layer, link string, rules []Rule) (*Program, error) {
	if len(rules) > MaxRules {
		return nil, errs.New(errs.Limit, "demux: %d rules, at most %d", len(rules), MaxRules)
	}
	p := &Program{base: base, root: &node{}}
	seen := make(map[uint32]bool, len(rules))
	for i := range rules {
		r := &rules[i]
		if seen[r.ID] {
			return nil, errs.New(errs.Invalid, "demux: two rules have the number %d", r.ID)
		}
		seen[r.ID] = true
		n, err := r.normalize(base, link)
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue
		}
		if err := p.root.add(n); err != nil {
			return nil, r.errorf("%w", err)
		}
		p.rules++
	}
	p.root.finish()
	return p, nil
}

// Rules returns how many rules the program decides between.
func (p *Program) Rules() int { return p.rules }

// Shapes returns how many hash tables it has.
func (p *Program) Shapes() int { return p.root.shapes() }

func (n *node) shapes() int {
	s := len(n.groups)
	for _, c := range n.children {
		if c != nil {
			s += c.shapes()
		}
	}
	return s
}

func (n *node) add(r *normal) error {
	for _, l := range r.layers {
		if n.children[l] == nil {
			n.children[l] = &node{layer: l, depth: n.depth + 1}
		}
		n = n.children[l]
	}
	for _, g := range n.groups {
		if slices.Equal(g.shape, r.shape) {
			g.table.add(r.value, r.id)
			g.oldest = min(g.oldest, r.id)
			return nil
		}
	}
	if len(n.groups) == MaxShapes {
		return errs.New(errs.Limit, "more than %d mask shapes; use masks that other rules use", MaxShapes)
	}
	g := &group{shape: r.shape, bits: r.bits, oldest: r.id, table: table{words: len(r.shape)}}
	for _, pc := range r.shape {
		g.payload = g.payload || pc.anchor == atPayload
	}
	g.table.add(r.value, r.id)
	n.groups = append(n.groups, g)
	return nil
}

// finish orders the groups once all rules are in.
func (n *node) finish() {
	slices.SortStableFunc(n.groups, func(a, b *group) int { return b.bits - a.bits })
	for i, g := range n.groups {
		g.sameBits = i > 0 && n.groups[i-1].bits == g.bits
		g.table.build()
	}
	for _, c := range n.children {
		if c != nil {
			c.finish()
		}
	}
}
