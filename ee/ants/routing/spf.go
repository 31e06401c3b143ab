package routing

import (
	"cmp"
	"net/netip"
	"slices"
)

// vertex is a node of the graph that shortest paths are computed on.
type vertex struct {
	node NodeAddr
	host bool
	adj  []Adjacency // ascending, one entry for each neighbour
	dist uint32
	via  *NextHop // the first hop
	done bool
}

const far = ^uint32(0)

// graph is the network as the database describes it.
type graph []vertex // by address

func (g graph) find(a NodeAddr) *vertex {
	i, ok := slices.BinarySearchFunc(g, a, func(v vertex, a NodeAddr) int { return cmp.Compare(v.node, a) })
	if !ok {
		return nil
	}
	return &g[i]
}

// lists reports whether v says that it is adjacent to a.
func (v *vertex) lists(a NodeAddr) bool {
	_, ok := slices.BinarySearchFunc(v.adj, a, func(x Adjacency, a NodeAddr) int { return cmp.Compare(x.Node, a) })
	return ok
}

// makeGraph merges the pieces, which are in order, into vertices, and adds the neighbours that have none.
func makeGraph(self NodeAddr, pieces []*stored, neighbours []*NextHop) graph {
	var g graph
	for _, s := range pieces {
		l := &s.lsa
		if n := len(g); n == 0 || g[n-1].node != l.Origin {
			g = append(g, vertex{node: l.Origin, dist: far})
		}
		v := &g[len(g)-1]
		v.host = v.host || l.Host
		v.adj = append(v.adj, l.Adj...)
	}
	for _, n := range append([]*NextHop{{Node: self}}, neighbours...) {
		if i, ok := slices.BinarySearchFunc(g, n.Node, func(v vertex, a NodeAddr) int { return cmp.Compare(v.node, a) }); !ok {
			g = slices.Insert(g, i, vertex{node: n.Node, dist: far, host: n.Host})
		}
	}
	for i := range g {
		v := &g[i]
		slices.SortFunc(v.adj, func(a, b Adjacency) int {
			return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Metric, b.Metric))
		})
		v.adj = slices.CompactFunc(v.adj, func(a, b Adjacency) bool { return a.Node == b.Node })
	}
	return g
}

// shortest computes distance and first hop of every vertex (Dijkstra). The first step is what the hellos say now; all
// others must be listed by both ends. Vertices are settled in the order of distance and then of address, and of
// equal ways the one settled first wins, so that the result does not depend on anything but the graph.
func (g graph) shortest(self NodeAddr, neighbours []*NextHop) {
	var q vertexHeap
	if v := g.find(self); v != nil {
		v.dist, v.done = 0, true
	}
	for _, n := range neighbours {
		v := g.find(n.Node)
		v.host = v.host || n.Host
		if d := uint32(n.Metric); d < v.dist {
			v.dist, v.via = d, n
			q.push(visit{d, v})
		}
	}
	for len(q) > 0 {
		at := q.pop()
		v := at.v
		if v.done || at.dist != v.dist {
			continue
		}
		v.done = true
		if v.host {
			continue
		}
		for _, a := range v.adj {
			u := g.find(a.Node)
			if u == nil || u.done || !u.lists(v.node) {
				continue
			}
			if d := v.dist + uint32(a.Metric); d < u.dist {
				u.dist, u.via = d, v.via
				q.push(visit{d, u})
			}
		}
	}
}

// visit is a vertex that is to be looked at, at a distance.
type visit struct {
	dist uint32
	v    *vertex
}

func (a visit) before(b visit) bool {
	return a.dist < b.dist || a.dist == b.dist && a.v.node < b.v.node
}

// vertexHeap has the nearest visit first.
type vertexHeap []visit

func (h *vertexHeap) push(x visit) {
	*h = append(*h, x)
	q := *h
	for i := len(q) - 1; i > 0; {
		p := (i - 1) / 2
		if !q[i].before(q[p]) {
			break
		}
		q[i], q[p], i = q[p], q[i], p
	}
}

func (h *vertexHeap) pop() visit {
	q := *h
	top, last := q[0], len(q)-1
	q[0] = q[last]
	q = q[:last]
	for i := 0; ; {
		m := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(q); c++ {
			if q[c].before(q[m]) {
				m = c
			}
		}
		if m == i {
			break
		}
		q[i], q[m], i = q[m], q[i], m
	}
	*h = q
	return top
}

// claim is a prefix that somebody says is attached to it.
type claim struct {
	prefix netip.Prefix
	cost   uint32
	origin NodeAddr
	via    *NextHop
}

// compute makes a table of the database and the neighbours in use, which are in the order of their addresses.
func compute(self NodeAddr, pieces []*stored, neighbours []*NextHop) *Table {
	g := makeGraph(self, pieces, neighbours)
	g.shortest(self, neighbours)
	t := &Table{node: self, neighbours: neighbours}
	for i := range g {
		if v := &g[i]; v.via != nil {
			t.nodes = append(t.nodes, NodeRoute{Node: v.node, Cost: v.dist, Via: v.via})
		}
	}
	var claims []claim
	for _, s := range pieces {
		v := g.find(s.lsa.Origin)
		if v.dist == far {
			continue
		}
		for _, p := range s.lsa.Prefixes {
			claims = append(claims, claim{p, v.dist, v.node, v.via})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(comparePrefix(a.prefix, b.prefix), cmp.Compare(a.cost, b.cost), cmp.Compare(a.origin, b.origin))
	})
	for i, c := range claims {
		if i == 0 || claims[i-1].prefix != c.prefix {
			t.prefixes = append(t.prefixes, PrefixRoute{Prefix: c.prefix, Origin: c.origin, Cost: c.cost, Via: c.via})
		}
	}
	t.index()
	return t
}
