package routing

import (
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// randomPieces describes a network of n nodes, each adjacent to some others, with prefixes.
func randomPieces(rnd *clock.Rand, n int) ([]*stored, []*NextHop) {
	db := newDatabase(n)
	adj := make([]map[int]uint16, n)
	for i := range adj {
		adj[i] = map[int]uint16{}
	}
	for i := range n {
		for range 2 {
			if j := rnd.IntN(n); j != i {
				adj[i][j] = uint16(1 + rnd.IntN(20))
				if rnd.IntN(5) > 0 {
					adj[j][i] = uint16(1 + rnd.IntN(20))
				}
			}
		}
	}
	var near []*NextHop
	for i := range n {
		l := LSA{Origin: addr(i), Seq: 1, Lifetime: time.Minute, Host: i > 0 && rnd.IntN(6) == 0}
		for j := range n {
			if m, ok := adj[i][j]; ok {
				l.Adj = append(l.Adj, Adjacency{addr(j), m})
				if i == 0 && adj[j][0] > 0 {
					near = append(near, &NextHop{Node: addr(j), Metric: m, Link: uint16(j)})
				}
			}
		}
		bits := 14 + rnd.IntN(12)
		p, _ := netip.AddrFrom4([4]byte{20, byte(rnd.IntN(4)), byte(rnd.IntN(256)), 0}).Prefix(bits)
		l.Prefixes = []netip.Prefix{p}
		db.put(&l, true, 0)
	}
	return db.pieces, near
}

// naive is the distance of every node by relaxing all edges until nothing changes (Bellman and Ford).
func naive(pieces []*stored, near []*NextHop) map[NodeAddr]uint32 {
	lists := map[[2]NodeAddr]uint32{}
	host := map[NodeAddr]bool{}
	for _, s := range pieces {
		host[s.lsa.Origin] = s.lsa.Host
		for _, a := range s.lsa.Adj {
			lists[[2]NodeAddr{s.lsa.Origin, a.Node}] = uint32(a.Metric)
		}
	}
	dist := map[NodeAddr]uint32{}
	for _, n := range near {
		dist[n.Node] = uint32(n.Metric)
	}
	for again := true; again; {
		again = false
		for e, m := range lists {
			d, ok := dist[e[0]]
			if _, back := lists[[2]NodeAddr{e[1], e[0]}]; !ok || !back || host[e[0]] || e[1] == addr(0) {
				continue
			}
			if old, ok := dist[e[1]]; !ok || d+m < old {
				dist[e[1]], again = d+m, true
			}
		}
	}
	return dist
}

func TestShortestPathsAgainstNaive(t *testing.T) {
	rnd := clock.NewRand(1, 1)
	for range 60 {
		pieces, near := randomPieces(rnd, 2+rnd.IntN(30))
		tb, want := compute(addr(0), pieces, near), naive(pieces, near)
		if len(tb.Nodes()) != len(want) {
			t.Fatalf("%d nodes reached, want %d", len(tb.Nodes()), len(want))
		}
		for _, n := range tb.Nodes() {
			if n.Cost != want[n.Node] || tb.NextHop(n.Node) != n.Via || n.Via == nil {
				t.Fatalf("%s: cost %d, want %d", n.Node, n.Cost, want[n.Node])
			}
		}
		if !compute(addr(0), pieces, near).same(tb) {
			t.Fatal("a second computation gives another table")
		}
	}
}

func TestLookupAgainstNaive(t *testing.T) {
	rnd := clock.NewRand(2, 1)
	pieces, near := randomPieces(rnd, 300)
	tb := compute(addr(0), pieces, near)
	found := 0
	for range 2000 {
		ip := netip.AddrFrom4([4]byte{20, byte(rnd.IntN(5)), byte(rnd.IntN(256)), byte(rnd.IntN(256))})
		var want *PrefixRoute
		for i := range tb.Prefixes() {
			if p := &tb.Prefixes()[i]; p.Prefix.Contains(ip) && (want == nil || p.Prefix.Bits() > want.Prefix.Bits()) {
				want = p
			}
		}
		if got := tb.Lookup(ip); got != want {
			t.Fatalf("%s: %+v, want %+v", ip, got, want)
		}
		if want != nil {
			found++
		}
	}
	if found < 500 || found > 1999 {
		t.Errorf("%d of 2000 addresses had a route: the test looks at too little", found)
	}
}

func TestNewTable(t *testing.T) {
	near := []NextHop{{Node: addr(2), Link: 2}, {Node: addr(1), Link: 1, Metric: 5}, {Node: addr(1), Link: 3, Metric: 4}}
	px := netip.MustParsePrefix("192.0.2.0/24")
	tb, err := NewTable(addr(0), 7, near, []NodeRoute{{Node: addr(2), Via: &near[0]}, {Node: addr(1), Via: &near[1]}}, []PrefixRoute{{Prefix: px, Via: &near[0]}})
	if err != nil {
		t.Fatal(err)
	}
	if n := tb.Neighbours(); tb.Version() != 7 || len(n) != 2 || n[0].Link != 3 || n[1].Node != addr(2) {
		t.Errorf("neighbours %+v", n)
	}
	if tb.NextHop(addr(1)).Link != 1 || tb.Lookup(px.Addr()).Via.Node != addr(2) {
		t.Error("lookups go wrong")
	}
	for name, f := range map[string]func() error{
		"node twice": func() error {
			_, err := NewTable(addr(0), 1, nil, []NodeRoute{{addr(1), 1, &near[0]}, {addr(1), 2, &near[0]}}, nil)
			return err
		},
		"itself": func() error {
			_, err := NewTable(addr(0), 1, nil, []NodeRoute{{addr(0), 1, &near[0]}}, nil)
			return err
		},
		"no way":    func() error { _, err := NewTable(addr(0), 1, nil, []NodeRoute{{addr(1), 1, nil}}, nil); return err },
		"neighbour": func() error { _, err := NewTable(addr(0), 1, []NextHop{{}}, nil, nil); return err },
		"prefix twice": func() error {
			_, err := NewTable(addr(0), 1, nil, nil, []PrefixRoute{{Prefix: px}, {Prefix: px}})
			return err
		},
		"host bits": func() error {
			_, err := NewTable(addr(0), 1, nil, nil, []PrefixRoute{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}})
			return err
		},
	} {
		if err := f(); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	pieces, near := randomPieces(clock.NewRand(3, 1), 100)
	tb := compute(addr(0), pieces, near)
	ip := netip.MustParseAddr("20.1.2.3")
	n := 0
	if a := testing.AllocsPerRun(100, func() {
		for i := range 100 {
			if tb.NextHop(addr(i)) != nil {
				n++
			}
			if tb.Neighbour(addr(i)) != nil {
				n++
			}
		}
		if tb.Lookup(ip) != nil {
			n++
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
	if n == 0 {
		t.Error("nothing was found")
	}
}

func TestManyNeighboursNeedFragments(t *testing.T) {
	n := newNetwork(t, 21, 101)
	for i := range 100 {
		n.join(0, i+1)
	}
	n.startAll()
	n.until(2*time.Second, "all nodes reach all", n.converged)
	n.since(computeHold)
	if got := n.boxes[0].r.fragments; got < 2 {
		t.Errorf("a node with 100 links says so in %d pieces", got)
	}
	if r := n.boxes[1].r.Table().Lookup(n.wires[99].ends[0].prefix().Addr()); r == nil || r.Via.Node != addr(0) {
		t.Errorf("route to the last link: %+v", r)
	}
}

func BenchmarkNextHop(b *testing.B) {
	pieces, near := randomPieces(clock.NewRand(4, 1), 1000)
	tb := compute(addr(0), pieces, near)
	b.ReportAllocs()
	n := 0
	for i := 0; b.Loop(); i++ {
		if tb.NextHop(addr(i%1000)) != nil {
			n++
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	pieces, near := randomPieces(clock.NewRand(4, 1), 1000)
	tb := compute(addr(0), pieces, near)
	ip := netip.MustParseAddr("20.1.2.3")
	b.ReportAllocs()
	for b.Loop() {
		tb.Lookup(ip)
	}
}

func BenchmarkCompute1000(b *testing.B) {
	pieces, near := randomPieces(clock.NewRand(4, 1), 1000)
	b.ReportAllocs()
	for b.Loop() {
		compute(addr(0), pieces, near)
	}
}
