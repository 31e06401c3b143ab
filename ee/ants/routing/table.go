package routing

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// NextHop says how to reach something: by which link, to which neighbour, with which addresses. It is part of a Table
// and must not be written to.
type NextHop struct {
	Node     NodeAddr   `json:"node"` // the neighbour
	Link     uint16     `json:"-"`    // number of the link, as in packet.Anno
	LinkName string     `json:"link"`
	IP       netip.Addr `json:"ip"`            // the neighbour's address on the link; IPv4 if it has one
	IP6      netip.Addr `json:"ip6,omitempty"` // its IPv6 address there, or the zero Addr
	Port     uint16     `json:"port,omitempty"`
	MAC      [6]byte    `json:"-"`      // if HasMAC
	HasMAC   bool       `json:"-"`      // false on links without hardware addresses
	Host     bool       `json:"host"`   // the neighbour does not forward
	Metric   uint16     `json:"metric"` // of the link to it
}

// NodeRoute is a node that can be reached.
type NodeRoute struct {
	Node NodeAddr `json:"node"`
	Cost uint32   `json:"cost"`
	Via  *NextHop `json:"via"`
}

// PrefixRoute is a prefix that packets can be sent to.
type PrefixRoute struct {
	Prefix netip.Prefix `json:"prefix"`
	Origin NodeAddr     `json:"origin"` // the node it is attached to, the nearest of several
	Cost   uint32       `json:"cost"`
	Via    *NextHop     `json:"via"` // nil: attached to this node itself
}

// Gateway returns the neighbour's address of the prefix's family, or the zero Addr where it has none.
func (r *PrefixRoute) Gateway() netip.Addr {
	switch {
	case r.Via == nil:
		return netip.Addr{}
	case r.Prefix.Addr().Is6():
		return r.Via.IP6
	case r.Via.IP.Is4():
		return r.Via.IP
	}
	return netip.Addr{}
}

// Table is the result of a computation. It never changes; all methods are safe for concurrent use, and lookups neither
// allocate nor lock. Slices that it returns must not be written to.
type Table struct {
	version    uint64
	at         clock.Time
	node       NodeAddr
	nodes      []NodeRoute // by address, this node not among them
	byNode     map[NodeAddr]*NextHop
	neighbours []*NextHop // by address, the best link to each
	byNear     map[NodeAddr]*NextHop
	prefixes   []PrefixRoute // in the order of comparePrefix
	lengths    []prefixTable // longest first, IPv4 and IPv6 apart
	lengths6   []prefixTable
}

// prefixTable has all prefixes of one length.
type prefixTable struct {
	bits int
	at   map[netip.Addr]int32 // index in prefixes
}

// NewTable makes a table by hand, for static routes and for tests: neighbours are the direct ways, nodes and prefixes what is
// reached by them. It sorts and copies the slices, and refuses with errs.Invalid duplicates, invalid addresses, and a node
// without a way. Of several direct ways to one neighbour the one of the least metric is kept.
func NewTable(self NodeAddr, version uint64, neighbours []NextHop, nodes []NodeRoute, prefixes []PrefixRoute) (*Table, error) {
	t := &Table{node: self, version: version, nodes: slices.Clone(nodes), prefixes: slices.Clone(prefixes)}
	for i := range neighbours {
		n := neighbours[i]
		if !n.Node.Valid() {
			return nil, errs.New(errs.Invalid, "route table: %s cannot be the address of a neighbour", n.Node)
		}
		t.neighbours = append(t.neighbours, &n)
	}
	slices.SortStableFunc(t.neighbours, func(a, b *NextHop) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Metric, b.Metric))
	})
	t.neighbours = slices.CompactFunc(t.neighbours, func(a, b *NextHop) bool { return a.Node == b.Node })
	slices.SortFunc(t.nodes, func(a, b NodeRoute) int { return cmp.Compare(a.Node, b.Node) })
	for i, n := range t.nodes {
		if !n.Node.Valid() || n.Node == self || n.Via == nil || i > 0 && n.Node == t.nodes[i-1].Node {
			return nil, errs.New(errs.Invalid, "route table: node %s is this node, is there twice, or has no way", n.Node)
		}
	}
	slices.SortFunc(t.prefixes, func(a, b PrefixRoute) int { return comparePrefix(a.Prefix, b.Prefix) })
	for i, p := range t.prefixes {
		if !p.Prefix.IsValid() || p.Prefix != p.Prefix.Masked() || i > 0 && p.Prefix == t.prefixes[i-1].Prefix {
			return nil, errs.New(errs.Invalid, "route table: prefix %s is there twice, or has bits set behind its length", p.Prefix)
		}
	}
	t.index()
	return t, nil
}

// Version counts the tables of a router, from 1. Version 0 is the empty table it begins with.
func (t *Table) Version() uint64 { return t.version }

// Time returns when the table was computed, on the node's clock.
func (t *Table) Time() clock.Time { return t.at }

// Node returns the address of the node that the table belongs to.
func (t *Table) Node() NodeAddr { return t.node }

// NextHop returns the way towards a node, or nil if there is none or a is the node itself.
func (t *Table) NextHop(a NodeAddr) *NextHop { return t.byNode[a] }

// Neighbour returns the direct way to an adjacent node even where a shorter path leads round, or nil if a is
// not adjacent.
func (t *Table) Neighbour(a NodeAddr) *NextHop { return t.byNear[a] }

// Neighbours returns the adjacent nodes in the order of their addresses; one entry each, however many links lead there.
func (t *Table) Neighbours() []*NextHop { return t.neighbours }

// Nodes returns the nodes that can be reached in the order of their addresses, without this one.
func (t *Table) Nodes() []NodeRoute { return t.nodes }

// Prefixes returns the prefixes in order, those of this node included (Via is nil).
func (t *Table) Prefixes() []PrefixRoute { return t.prefixes }

// Lookup finds the longest prefix that contains ip, or nil.
func (t *Table) Lookup(ip netip.Addr) *PrefixRoute {
	ls := t.lengths
	if ip.Is6() {
		ls = t.lengths6
	}
	for i := range ls {
		p, err := ip.Prefix(ls[i].bits)
		if err != nil {
			return nil
		}
		if k, ok := ls[i].at[p.Addr()]; ok {
			return &t.prefixes[k]
		}
	}
	return nil
}

// index fills the lookup structures from nodes, neighbours and prefixes.
func (t *Table) index() {
	t.byNode = make(map[NodeAddr]*NextHop, len(t.nodes))
	for _, n := range t.nodes {
		t.byNode[n.Node] = n.Via
	}
	t.byNear = make(map[NodeAddr]*NextHop, len(t.neighbours))
	for _, n := range t.neighbours {
		t.byNear[n.Node] = n
	}
	for i := range t.prefixes {
		p := t.prefixes[i].Prefix
		ls := &t.lengths
		if p.Addr().Is6() {
			ls = &t.lengths6
		}
		k := slices.IndexFunc(*ls, func(l prefixTable) bool { return l.bits == p.Bits() })
		if k < 0 {
			k = len(*ls)
			*ls = append(*ls, prefixTable{bits: p.Bits(), at: make(map[netip.Addr]int32)})
		}
		(*ls)[k].at[p.Addr()] = int32(i)
	}
	longest := func(a, b prefixTable) int { return b.bits - a.bits }
	slices.SortFunc(t.lengths, longest)
	slices.SortFunc(t.lengths6, longest)
}

// same reports whether t sends everything the way that u does.
func (t *Table) same(u *Table) bool {
	return slices.EqualFunc(t.neighbours, u.neighbours, sameHop) &&
		slices.EqualFunc(t.nodes, u.nodes, func(a, b NodeRoute) bool {
			return a.Node == b.Node && a.Cost == b.Cost && sameHop(a.Via, b.Via)
		}) &&
		slices.EqualFunc(t.prefixes, u.prefixes, func(a, b PrefixRoute) bool {
			return a.Prefix == b.Prefix && a.Origin == b.Origin && a.Cost == b.Cost && sameHop(a.Via, b.Via)
		})
}

func sameHop(a, b *NextHop) bool {
	return a == b || a != nil && b != nil && *a == *b
}
