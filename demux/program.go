package demux

import (
	"slices"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
)

// Bounds of a program. They are checked when it is compiled.
const (
	MaxRules  = 1 << 20
	MaxShapes = 64 // mask shapes of one chain of layers
)

// Program is the decision of all rules of one link. It does not change and is safe for concurrent use. Programs that are made
// of others by With and Without share with them what is the same.
type Program struct {
	base  Layer
	link  string
	root  *node
	rules int
}

// node is a chain of layers that some rule names, or the beginning of one.
type node struct {
	layer    Layer
	depth    int
	children [numLayers]*node
	groups   []*group // most bits first
	loads    []load   // words that the groups look at, the first maxLoads
	probes   []probe  // as groups
}

// group is the rules of one node with the same mask shape.
type group struct {
	name    string // tells the groups of a program apart, and is the same for what became of this one in another program
	shape   []piece
	payload bool // some piece looks at the payload
	bits    int
	table   table
	ids     []uint32 // of all rules, sorted
	first   Rule     // that the group was made for

	// A back end that knows version from takes over only the changes.
	version, from uint64
	changes       []change
}

// change is a key whose answer is another one than in the version before.
type change struct {
	key  []uint64
	id   uint32
	age  uint64
	gone bool // no rule has this key any more
}

// versions numbers the states of all groups.
var versions atomic.Uint64

// maxLoads is how many words a lookup loads once for all groups of a node. Groups that look at others load them for themselves.
const maxLoads = 8

// load is where a word of the packet comes from.
type load struct {
	depth  uint8
	anchor anchor
	off    int32
}

// probe is what a lookup needs of a group to see that a packet is none of its own: most groups have one word or two, and these are here. A missing
// one has the mask 0.
type probe struct {
	mask   [2]uint64
	filter []uint64
	fshift uint8
	load   [2]uint8 // index into loads
	need   [2]int8
	words  int8 // of the group's keys, if not slow
	slow   bool // more words, or ones that are not in loads
	bits   int16
	group  *group
}

// Compile makes the program of those rules that are for the link called link, whose frames begin with base. Rules
// for other links are left out, and so are rules on "if" that do not begin with base.
// Errors are errs.Invalid or errs.Limit and name the rule.
func Compile(base Layer, link string, rules []Rule) (*Program, error) {
	if len(rules) > MaxRules {
		return nil, errs.New(errs.Limit, "demux: %d rules, at most %d", len(rules), MaxRules)
	}
	seen := make(map[uint32]bool, len(rules))
	for i := range rules {
		if seen[rules[i].ID] {
			return nil, twice(rules[i].ID)
		}
		seen[rules[i].ID] = true
	}
	p := &Program{base: base, link: link, root: &node{}}
	e := edit{nodes: map[*node]bool{p.root: true}, groups: map[*group]bool{}}
	for i := range rules {
		if err := e.add(p, &rules[i]); err != nil {
			return nil, err
		}
	}
	e.finish()
	return p, nil
}

func twice(id uint32) error {
	return errs.New(errs.Invalid, "demux: two rules have the number %d", id)
}

// Rules returns how many rules the program decides between.
func (p *Program) Rules() int { return p.rules }

// Shapes returns how many hash tables it has.
func (p *Program) Shapes() int {
	s := 0
	p.root.each(func(*node, *group) { s++ })
	return s
}

// each calls fn with all groups below and of n.
func (n *node) each(fn func(*node, *group)) {
	for _, g := range n.groups {
		fn(n, g)
	}
	for _, c := range n.children {
		if c != nil {
			c.each(fn)
		}
	}
}

// finish orders n's groups and makes the probes, once all rules are in.
func (n *node) finish() {
	slices.SortStableFunc(n.groups, func(a, b *group) int { return b.bits - a.bits })
	n.loads = nil
	n.probes = make([]probe, 0, len(n.groups))
	for _, g := range n.groups {
		t := &g.table
		p := probe{
			filter: t.filter, fshift: uint8(t.fshift), group: g,
			bits: int16(g.bits), words: int8(len(g.shape)), slow: len(g.shape) > 2,
		}
		for k, pc := range g.shape {
			l := load{pc.depth, pc.anchor, pc.off}
			at := slices.Index(n.loads, l)
			if at < 0 && len(n.loads) < maxLoads && !p.slow {
				at = len(n.loads)
				n.loads = append(n.loads, l)
			}
			if at < 0 {
				p.slow = true
			}
			if !p.slow {
				p.mask[k], p.load[k], p.need[k] = pc.mask, uint8(at), int8(pc.need)
			}
		}
		n.probes = append(n.probes, p)
	}
}
