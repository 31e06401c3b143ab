package ants

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
)

// Hop is how a neighbour is reached.
type Hop struct {
	Node   NodeAddr
	Link   uint16     // number of the link, as in packet.Anno
	IP     netip.Addr // the neighbour's address on that link
	Port   uint16     // UDP port; 0: that of the channel
	MAC    [6]byte    // its hardware address there, if HasMAC
	HasMAC bool
}

// Router tells the EE where things are. All methods are called on the EE's worker, for each capsule: they must
// not wait or allocate.
type Router interface {
	// NextHop returns the neighbour to which a capsule for dst goes.
	NextHop(dst NodeAddr) (Hop, bool)
	// Neighbour returns how to reach a live neighbour directly.
	Neighbour(node NodeAddr) (Hop, bool)
	// Neighbours returns the number of live neighbours.
	Neighbours() int
	// NeighbourAt returns the i-th live neighbour in the order of addresses, or false past the end.
	NeighbourAt(i int) (NodeAddr, bool)
}

// TableRouter makes a Router of a source of routing tables, such as the Table method of a *routing.Router.
func TableRouter(table func() *routing.Table) Router { return tableRouter{table} }

type tableRouter struct{ table func() *routing.Table }

func hopOf(n *routing.NextHop) (Hop, bool) {
	if n == nil {
		return Hop{}, false
	}
	ip := n.IP
	if !ip.IsValid() {
		ip = n.IP6
	}
	return Hop{Node: n.Node, Link: n.Link, IP: ip, Port: n.Port, MAC: n.MAC, HasMAC: n.HasMAC}, true
}

func (r tableRouter) NextHop(dst NodeAddr) (Hop, bool)    { return hopOf(r.table().NextHop(dst)) }
func (r tableRouter) Neighbour(node NodeAddr) (Hop, bool) { return hopOf(r.table().Neighbour(node)) }
func (r tableRouter) Neighbours() int                     { return len(r.table().Neighbours()) }
func (r tableRouter) NeighbourAt(i int) (NodeAddr, bool) {
	ns := r.table().Neighbours()
	if i < 0 || i >= len(ns) {
		return 0, false
	}
	return ns[i].Node, true
}

// StaticRoutes is a Router whose table is replaced whole from the control side. The zero value knows nobody. It
// is safe for concurrent use.
type StaticRoutes struct {
	table atomic.Pointer[staticTable]
}

type staticTable struct {
	next       map[NodeAddr]Hop
	neighbours map[NodeAddr]Hop
	order      []NodeAddr
}

var noRoutes = &staticTable{}

func (s *StaticRoutes) load() *staticTable {
	if t := s.table.Load(); t != nil {
		return t
	}
	return noRoutes
}

// Set replaces the table: neighbours, and for other destinations the neighbour that is the next hop. A via that is
// no neighbour, and a neighbour that is there twice, is errs.Invalid and leaves the old table.
func (s *StaticRoutes) Set(neighbours []Hop, via map[NodeAddr]NodeAddr) error {
	t := &staticTable{next: make(map[NodeAddr]Hop), neighbours: make(map[NodeAddr]Hop)}
	for _, h := range neighbours {
		if _, dup := t.neighbours[h.Node]; dup || h.Node == 0 {
			return errs.New(errs.Invalid, "static routes: neighbour %s is zero or there twice", h.Node)
		}
		t.neighbours[h.Node], t.next[h.Node] = h, h
		t.order = append(t.order, h.Node)
	}
	slices.Sort(t.order)
	for dst, n := range via {
		h, ok := t.neighbours[n]
		if !ok {
			return errs.New(errs.Invalid, "static routes: %s via %s, which is no neighbour", dst, n)
		}
		t.next[dst] = h
	}
	s.table.Store(t)
	return nil
}

// NextHop implements Router.
func (s *StaticRoutes) NextHop(dst NodeAddr) (Hop, bool) {
	h, ok := s.load().next[dst]
	return h, ok
}

// Neighbour implements Router.
func (s *StaticRoutes) Neighbour(node NodeAddr) (Hop, bool) {
	h, ok := s.load().neighbours[node]
	return h, ok
}

// Neighbours implements Router.
func (s *StaticRoutes) Neighbours() int { return len(s.load().order) }

// NeighbourAt implements Router.
func (s *StaticRoutes) NeighbourAt(i int) (NodeAddr, bool) {
	t := s.load()
	if i < 0 || i >= len(t.order) {
		return 0, false
	}
	return t.order[i], true
}
