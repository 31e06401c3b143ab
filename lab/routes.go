package lab

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// defaultRoute is every IPv4 address.
var defaultRoute = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// routes enters what the lab gives to the kernels: to a host a default route over its first link to a router, and with
// StaticRoutes to every router a route to every node and network.
func (p *Plan) routes(how Routing) {
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Kind != Host {
			continue
		}
		for k, f := range n.Interfaces {
			if p.Node(f.Peer).Kind == Router {
				n.Routes = append(n.Routes, Route{Dst: defaultRoute, Via: f.PeerAddr, Interface: k})
				break
			}
		}
	}
	if how != StaticRoutes {
		return
	}
	for i := range p.Nodes {
		if p.Nodes[i].Kind == Router {
			p.Nodes[i].Routes = p.shortest(i)
		}
	}
}

// hopCost is what a hop costs beside its delay, so that of two paths with the same delay the shorter one is taken.
const hopCost = time.Microsecond

// shortest returns the routes of node from along the paths of least delay. Of equals the one with the lowest node and interface numbers wins.
func (p *Plan) shortest(from int) []Route {
	const far = time.Duration(1<<63 - 1)
	dist := make([]time.Duration, len(p.Nodes))
	out := make([]int, len(p.Nodes)) // first interface on the way there
	for i := range dist {
		dist[i] = far
	}
	dist[from] = 0
	q := &queue{{from, 0}}
	for q.Len() > 0 {
		at := heap.Pop(q).(visit)
		if at.dist > dist[at.node] || at.node != from && p.Nodes[at.node].Kind == Host {
			continue // seen on a better way, or an end system, which does not forward
		}
		for k, f := range p.Nodes[at.node].Interfaces {
			l := &p.Links[f.Link]
			next := l.Ends[1-f.End].Node
			first := out[at.node]
			if at.node == from {
				first = k
			}
			if d := at.dist + l.Impair.Delay + hopCost; d < dist[next] {
				dist[next], out[next] = d, first
				heap.Push(q, visit{next, d})
			}
		}
	}
	me := &p.Nodes[from]
	best := make(map[netip.Prefix]int) // destination -> node that is nearest to it
	for i := range p.Nodes {
		if i == from || dist[i] == far {
			continue
		}
		best[netip.PrefixFrom(p.Nodes[i].Addr, 32)] = i
		for _, f := range p.Nodes[i].Interfaces {
			net := f.Prefix.Masked()
			if j, ok := best[net]; !ok || dist[i] < dist[j] {
				best[net] = i
			}
		}
	}
	for _, f := range me.Interfaces {
		delete(best, f.Prefix.Masked())
	}
	routes := make([]Route, 0, len(best))
	for dst, i := range best {
		routes = append(routes, Route{Dst: dst, Via: me.Interfaces[out[i]].PeerAddr, Interface: out[i]})
	}
	slices.SortFunc(routes, func(a, b Route) int {
		return cmp.Or(a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Dst.Bits(), b.Dst.Bits()))
	})
	return routes
}

type visit struct {
	node int
	dist time.Duration
}

// queue is a heap of visits, nearest first.
type queue []visit

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].dist < q[j].dist || q[i].dist == q[j].dist && q[i].node < q[j].node
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(v any)   { *q = append(*q, v.(visit)) }
func (q *queue) Pop() any {
	old := *q
	v := old[len(old)-1]
	*q = old[:len(old)-1]
	return v
}
