package routing

import (
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
)

// ring makes nodes 0 to 4 in a ring.
func ring(t testing.TB, seed uint64) *network {
	n := newNetwork(t, seed, 5)
	for i := range 5 {
		n.join(i, (i+1)%5)
	}
	return n
}

func TestRingConverges(t *testing.T) {
	n := ring(t, 1)
	n.startAll()
	took := n.until(time.Second, "all nodes reach all", n.converged)
	t.Logf("converged after %s", took)
	n.since(computeHold) // a computation may still be put off
	for i := range 5 {
		next, prev := (i+1)%5, (i+4)%5
		for to, via := range map[int]int{next: next, (i + 2) % 5: next, prev: prev, (i + 3) % 5: prev} {
			if h := n.boxes[i].hop(to); h == nil || h.Node != addr(via) {
				t.Errorf("node %d to %d: next hop %+v, want %d", i, to, h, via)
			}
		}
		if got := len(n.boxes[i].r.Table().Neighbours()); got != 2 {
			t.Errorf("node %d has %d neighbours", i, got)
		}
		if h := n.boxes[i].hop(i); h != nil {
			t.Errorf("node %d has a next hop to itself: %+v", i, h)
		}
	}
	// Node 0's address on its link to 1 is in that link's prefix, which both have.
	b := n.boxes[0]
	h := b.hop(1)
	peer := n.wires[0].ends[1]
	if h.IP != peer.prefix().Addr() || h.MAC != peer.info.HWAddr || !h.HasMAC || h.Link != b.ends[0].info.Number || h.LinkName != "eth0" {
		t.Errorf("next hop %+v, want address %s and MAC %x", h, peer.prefix(), peer.info.HWAddr)
	}
	r := b.r.Table().Lookup(n.wires[2].ends[0].prefix().Addr()) // between 2 and 3
	if r == nil || r.Prefix != netip.MustParsePrefix("10.0.2.0/24") || r.Cost != 20 || r.Origin != addr(2) || r.Gateway() != h.IP {
		t.Errorf("route to the link between 2 and 3: %+v", r)
	}
	if r := b.r.Table().Lookup(peer.prefix().Addr()); r == nil || r.Via != nil {
		t.Errorf("route to an attached link: %+v", r)
	}
	if r := b.r.Table().Lookup(addr(3).IP()); r == nil || r.Prefix.Bits() != 32 || r.Via.Node != addr(4) {
		t.Errorf("route to a node's address: %+v", r)
	}
	if r := b.r.Table().Lookup(netip.MustParseAddr("192.0.2.1")); r != nil {
		t.Errorf("route to nowhere: %+v", r)
	}
}

func TestDeadNodeIsNoticed(t *testing.T) {
	n := ring(t, 2)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.since(5 * time.Second)
	if h := n.boxes[0].hop(2); h.Node != addr(1) {
		t.Fatalf("0 to 2 goes by %s", h.Node)
	}
	n.boxes[1].kill()
	took := n.until(time.Second, "0 and 2 route round the dead node, and nobody reaches it", func() bool {
		for _, i := range []int{0, 2, 3, 4} {
			if n.boxes[i].hop(1) != nil {
				return false
			}
		}
		a, b := n.boxes[0].hop(2), n.boxes[2].hop(0)
		return a != nil && a.Node == addr(4) && b != nil && b.Node == addr(3)
	})
	t.Logf("rerouted after %s", took)
	for _, e := range n.events(NeighbourDown) {
		if e.Neighbour != addr(1) || e.Reason != ReasonSilent || e.Silence < ms(600) || e.Silence > ms(700) {
			t.Errorf("event %+v", e)
		}
	}
	if got := len(n.events(NeighbourDown)); got != 2 {
		t.Errorf("%d neighbours noticed, want 2", got)
	}
	// What the dead node said about itself grows old and is forgotten.
	n.since(DefaultLifetime + 2*ageTick)
	for _, s := range n.boxes[0].r.db.pieces {
		if s.lsa.Origin == addr(1) {
			t.Errorf("still in the database: %+v", s.lsa)
		}
	}
	if !n.converged() {
		t.Error("the others did not stay converged")
	}
}

func TestStandstillIsNotDeath(t *testing.T) {
	n := ring(t, 22)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.since(time.Second)
	n.clk.Advance(2 * time.Second) // the machine was suspended
	n.since(2 * time.Second)
	if es := n.events(NeighbourDown); len(es) > 0 {
		t.Errorf("neighbours were given up: %+v", es)
	}
	// One that does not come back from it is missed all the same.
	n.boxes[1].kill()
	n.clk.Advance(2 * time.Second)
	n.until(time.Second, "the dead node is missed", func() bool { return n.boxes[0].hop(1) == nil && n.boxes[2].hop(1) == nil })
}

func TestRestartIsNoticed(t *testing.T) {
	n := ring(t, 3)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.since(time.Second)
	before := n.boxes[1].r.Generation()
	n.boxes[1].kill()
	n.since(ms(50)) // less than anybody needs to miss it
	n.boxes[1].start()
	if n.boxes[1].r.Generation() == before {
		t.Fatal("the generation did not change")
	}
	n.since(ms(60))
	n.until(time.Second, "all nodes reach all again", n.converged)
	down := n.events(NeighbourDown)
	if len(down) != 2 {
		t.Fatalf("%d neighbours noticed, want 2:\n%s", len(down), n.text())
	}
	for _, e := range down {
		if e.Reason != ReasonRestart || e.Neighbour != addr(1) {
			t.Errorf("event %+v", e)
		}
	}
}

func TestFormerLifeIsOverruled(t *testing.T) {
	n := newNetwork(t, 4, 2)
	n.join(0, 1)
	n.startAll()
	n.until(time.Second, "both reach each other", n.converged)
	// The clock of node 1 was ahead before it restarted: its old word has a higher number than its new one.
	b := n.boxes[0].r
	old := LSA{Origin: addr(1), Seq: b.db.byKey[key(addr(1))<<8].lsa.Seq + 1<<40, Lifetime: DefaultLifetime, Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	extra := old
	extra.Fragment = 3
	n.boxes[1].kill()
	n.since(ms(10))
	b.db.put(&old, false, n.clk.Now())
	b.db.put(&extra, false, n.clk.Now())
	n.boxes[1].start()
	n.until(2*time.Second, "the new word wins", func() bool {
		l := b.db.byKey[old.key()].lsa
		x := b.db.byKey[extra.key()].lsa
		return n.converged() && len(l.Prefixes) == 2 && len(x.Prefixes) == 0
	})
}

func TestLinkFlap(t *testing.T) {
	n := ring(t, 5)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	for range 3 {
		n.wires[0].down = true
		n.until(time.Second, "0 to 1 goes the long way", func() bool { h := n.boxes[0].hop(1); return h != nil && h.Node == addr(4) })
		n.wires[0].down = false
		n.until(time.Second, "0 to 1 goes directly", func() bool {
			h, b := n.boxes[0].hop(1), n.boxes[1].hop(0)
			return h != nil && h.Node == addr(1) && b != nil && b.Node == addr(0)
		})
	}
	n.until(time.Second, "all nodes reach all", n.converged)
}

// oneWay lets frames through in one direction only.
func TestOneWayLinkIsNotUsed(t *testing.T) {
	n := ring(t, 6)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.wires[0].ends[0].dead = true // node 0 hears nothing, node 1 goes on hearing it
	n.until(time.Second, "both go round", func() bool {
		a, b := n.boxes[0].hop(1), n.boxes[1].hop(0)
		return a != nil && a.Node == addr(4) && b != nil && b.Node == addr(2)
	})
	reasons := map[string]bool{}
	for _, e := range n.events(NeighbourDown) {
		reasons[e.Reason] = true
	}
	if !reasons[ReasonSilent] || !reasons[ReasonOneWay] {
		t.Errorf("reasons %v, want silent and one-way", reasons)
	}
}

func TestLossIsRepaired(t *testing.T) {
	n := ring(t, 7)
	for _, w := range n.wires {
		w.loss = 0.2
	}
	n.startAll()
	// With one message in five lost a neighbour is given up now and then, so being converged is not forever.
	n.until(20*time.Second, "all nodes reach all", n.converged)
	n.boxes[2].kill()
	n.until(20*time.Second, "the others agree without the dead node", func() bool {
		for _, i := range []int{0, 1, 3, 4} {
			if n.boxes[i].reaches() != 3 || n.boxes[i].hop(2) != nil {
				return false
			}
		}
		return true
	})
}

func TestLostFloodIsRepaired(t *testing.T) {
	n := newNetwork(t, 8, 3)
	n.join(0, 1)
	w := n.join(1, 2)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.since(time.Second)
	// Node 0 gets a prefix while the wire to 2 is cut for less than anybody notices.
	w.down = true
	b := n.boxes[0]
	b.r.spec.Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	b.r.worker.Post(func() { b.r.originateSoon(n.clk.Now()) })
	n.since(ms(100))
	w.down = false
	if n.boxes[2].r.Table().Lookup(netip.MustParseAddr("203.0.113.7")) != nil {
		t.Fatal("the update was not lost")
	}
	took := n.until(time.Second, "2 learns of the prefix", func() bool {
		return n.boxes[2].r.Table().Lookup(netip.MustParseAddr("203.0.113.7")) != nil
	})
	t.Logf("repaired after %s", took)
	if len(n.events(NeighbourDown)) > 0 {
		t.Error("a neighbour was given up for a short interruption")
	}
}

func TestPartitionHeals(t *testing.T) {
	n := ring(t, 9)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.wires[1].down, n.wires[3].down = true, true // 1|2 and 3|4
	n.until(time.Second, "two halves", func() bool {
		return n.boxes[0].reaches() == 2 && n.boxes[1].reaches() == 2 && n.boxes[4].reaches() == 2 && n.boxes[2].reaches() == 1 && n.boxes[3].reaches() == 1
	})
	n.since(2 * DefaultLifetime) // the halves forget each other
	if got := len(n.boxes[2].r.db.pieces); got != 2 {
		t.Errorf("half of two nodes has %d pieces", got)
	}
	n.wires[1].down, n.wires[3].down = false, false
	n.until(time.Second, "whole again", n.converged)
}

func TestHostsAreNotTransit(t *testing.T) {
	// 0 and 1 are routers, 2 is a host on both by short links; the routers' own link is dear.
	n := newNetwork(t, 10, 3)
	n.join(0, 2)
	n.join(1, 2)
	n.join(0, 1)
	n.boxes[2].host = true
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.wires[2].down = true
	n.until(time.Second, "0 cannot reach 1 through the host", func() bool { return n.boxes[0].hop(1) == nil && n.boxes[0].hop(2) != nil })
	n.since(time.Second)
	if n.boxes[0].hop(1) != nil {
		t.Error("a host carries what is not its own")
	}
	if h := n.boxes[2].hop(0); h == nil {
		t.Error("the host itself does not reach a router")
	}
}

func TestLinksWithIPv6Only(t *testing.T) {
	n := newNetwork(t, 20, 3)
	n.six = true
	n.join(0, 1)
	n.join(1, 2)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.since(computeHold)
	h := n.boxes[0].hop(2)
	if h == nil || h.MAC != n.wires[0].ends[1].info.HWAddr || !h.IP6.IsLinkLocalUnicast() || h.IP != h.IP6 {
		t.Errorf("next hop %+v", h)
	}
	r := n.boxes[0].r.Table().Lookup(n.wires[1].ends[1].prefix().Addr())
	if r == nil || r.Cost != 10 || r.Gateway() != h.IP6 {
		t.Errorf("route to the far link: %+v", r)
	}
	if r := n.boxes[0].r.Table().Lookup(addr(2).IP()); r == nil || r.Gateway().IsValid() {
		t.Errorf("an IPv4 prefix beyond a link without IPv4 has a gateway: %+v", r)
	}
}

func TestSharedLink(t *testing.T) {
	n := newNetwork(t, 11, 4)
	n.join(0, 1, 2, 3)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	for i, b := range n.boxes {
		if got := len(b.r.Table().Neighbours()); got != 3 {
			t.Errorf("node %d has %d neighbours", i, got)
		}
	}
}

func TestParallelLinks(t *testing.T) {
	n := newNetwork(t, 12, 2)
	n.join(0, 1)
	n.join(0, 1)
	n.startAll()
	n.until(time.Second, "both reach each other", n.converged)
	n.since(ms(100))
	b := n.boxes[0]
	if ns := b.r.Table().Neighbours(); len(ns) != 1 || ns[0].LinkName != "eth0" {
		t.Fatalf("neighbours %+v", ns)
	}
	n.wires[0].down = true
	n.until(time.Second, "the other link is used", func() bool { h := b.hop(1); return h != nil && h.LinkName == "eth1" })
}

func TestGoodbye(t *testing.T) {
	n := ring(t, 13)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.boxes[1].r.Close()
	n.until(ms(100), "0 goes round at once", func() bool { return n.boxes[0].hop(2).Node == addr(4) && n.boxes[0].hop(1) == nil })
	for _, e := range n.events(NeighbourDown) {
		if e.Reason != ReasonLeft {
			t.Errorf("event %+v", e)
		}
	}
	select {
	case <-n.boxes[1].r.Domain().Done():
	default:
		t.Error("the domain did not end")
	}
}

func TestAddAndRemoveLink(t *testing.T) {
	n := ring(t, 14)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	r := n.boxes[0].r
	if err := r.AddLink(LinkSpec{Name: "eth0"}); errs.KindOf(err) != errs.Exists {
		t.Errorf("adding a link twice: %v", err)
	}
	channels := len(r.Domain().OutChans())
	if err := r.RemoveLink("eth0"); err != nil {
		t.Fatal(err)
	}
	n.since(ms(1))
	if got := len(r.Domain().OutChans()); got != channels-1 {
		t.Errorf("%d out-channels after a link was removed, %d before", got, channels)
	}
	if err := r.RemoveLink("eth0"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("removing a link twice: %v", err)
	}
	n.until(ms(100), "0 to 1 goes round", func() bool { return n.boxes[0].hop(1).Node == addr(4) })
	if err := r.AddLink(LinkSpec{Name: "eth0", Metric: 100}); err != nil {
		t.Fatal(err)
	}
	n.since(time.Second)
	if h := n.boxes[0].hop(1); h.Node != addr(4) {
		t.Errorf("0 to 1 takes the dear link: %+v", h)
	}
	if h := r.Table().Neighbour(addr(1)); h == nil || h.LinkName != "eth0" || h.Metric != 100 {
		t.Errorf("direct way to 1: %+v", h)
	}
}

func TestSubscribeAndWatch(t *testing.T) {
	n := ring(t, 15)
	n.startAll()
	r := n.boxes[0].r
	var seen []uint64
	cancel := r.Subscribe(func(tb *Table) { seen = append(seen, tb.Version()) })
	news, stop := r.Watch()
	n.until(time.Second, "all nodes reach all", n.converged)
	if len(seen) < 2 || seen[0] != 0 || seen[len(seen)-1] != r.Table().Version() {
		t.Errorf("versions seen: %v, in force %d", seen, r.Table().Version())
	}
	select {
	case <-news:
	default:
		t.Error("no news")
	}
	cancel()
	stop()
	n.since(ms(10))
	was := len(seen)
	n.boxes[1].kill()
	n.since(time.Second)
	if len(seen) != was || len(news) != 0 {
		t.Error("told after cancelling")
	}
	if r.Table().Version() == seen[was-1] {
		t.Error("no new table")
	}
}

// TestSameTwice runs a story twice and compares the logs to the byte.
func TestSameTwice(t *testing.T) {
	story := func(seed uint64) string {
		n := ring(t, seed)
		for _, w := range n.wires {
			w.loss = 0.05
		}
		n.startAll()
		n.since(3 * time.Second)
		n.boxes[3].kill()
		n.since(2 * time.Second)
		n.boxes[3].start()
		n.wires[0].down = true
		n.since(2 * time.Second)
		n.wires[0].down = false
		n.since(2 * time.Second)
		return n.text()
	}
	a, b := story(16), story(16)
	if a != b || len(a) == 0 {
		t.Errorf("two runs of one seed differ:\n%s\n%s", a, b)
	}
	if story(17) == a {
		t.Error("another seed gives the same run")
	}
}

func TestHostileMessages(t *testing.T) {
	n := newNetwork(t, 18, 2)
	w := n.join(0, 1)
	b := n.boxes[0]
	b.spec.MaxPieces = 50
	n.startAll()
	n.until(time.Second, "both reach each other", n.converged)
	// A third end sends what it likes.
	frame := frameMaker(t)
	send := func(ttl uint8, msg []byte) {
		w.ends[0].inject(frame(w.ends[1].info.HWAddr, "10.0.0.66", ttl, msg))
		n.since(ms(1))
	}
	gen := n.boxes[1].r.gen
	hd := header{typ: typeUpdate, node: addr(1), gen: gen}

	stats := b.r.stats
	send(64, appendHello(nil, &hello{header: header{typ: typeHello, node: 99 << 24}, interval: time.Second}))
	if b.r.stats.OffLink != stats.OffLink+1 {
		t.Error("a message that crossed a router was taken")
	}
	send(255, []byte{Magic >> 8, Magic & 0xff, 1})
	send(255, append(appendHeader(nil, hd), 0xff, 0xff))
	if b.r.stats.Malformed != stats.Malformed+2 {
		t.Errorf("%d malformed messages counted, want 2", b.r.stats.Malformed-stats.Malformed)
	}
	// A node that is not adjacent may not update.
	update := func(h header, l *LSA) []byte {
		return finish(appendLSA(append(appendHeader(nil, h), 1, 0, 0, 0), l))
	}
	lie := LSA{Origin: addr(50), Seq: 1, Lifetime: time.Minute}
	send(255, update(header{typ: typeUpdate, node: addr(70)}, &lie))
	if b.r.db.byKey[lie.key()] != nil || b.r.stats.Stranger != stats.Stranger+1 {
		t.Error("a stranger's update was taken")
	}
	// One that is adjacent may fill the database, but no further than its bound, and its lies lead nowhere.
	for i := range 200 {
		send(255, update(hd, &LSA{Origin: addr(100 + i), Seq: 1, Lifetime: time.Minute, Adj: []Adjacency{{addr(0), 1}}}))
	}
	if got := len(b.r.db.pieces); got != 50 {
		t.Errorf("%d pieces in a database of 50", got)
	}
	if b.r.stats.Refused == 0 || len(n.events(Overflow)) == 0 || len(n.events(Overflow)) > 3 {
		t.Errorf("refused %d, events %d", b.r.stats.Refused, len(n.events(Overflow)))
	}
	if h := b.hop(100); h != nil {
		t.Errorf("an adjacency that one end alone claims is used: %+v", h)
	}
	// Neighbours are bounded too.
	for i := range 100 {
		send(255, appendHello(nil, &hello{header: header{typ: typeHello, node: addr(1000 + i)}, interval: 20 * time.Second}))
	}
	if got := len(b.r.ports[0].neighbours); got != MaxNeighbours {
		t.Errorf("%d neighbours on a link", got)
	}
	// Somebody else with our address is reported, and changes nothing.
	send(255, appendHello(nil, &hello{header: header{typ: typeHello, node: addr(0), gen: 7}, interval: time.Second}))
	if len(n.events(DuplicateAddress)) != 1 {
		t.Error("a duplicate address was not reported")
	}
	if h := b.hop(1); h == nil {
		t.Error("the honest neighbour was lost")
	}
}

// TestFloodOfMessages has an end send as fast as the link is, and counts what the node does for it and passes on.
func TestFloodOfMessages(t *testing.T) {
	n := newNetwork(t, 23, 3)
	w := n.join(0, 1)
	n.join(0, 2)
	n.startAll()
	n.until(time.Second, "all nodes reach all", n.converged)
	n.since(time.Second)
	b := n.boxes[0]
	before, sent, events := b.r.stats, n.wires[1].sent, len(n.log)
	own := []heard{{addr(0), b.r.gen}}
	n.boxes[1].kill() // the attacker speaks in its name
	frame := frameMaker(t)
	for i := range 20000 {
		// A neighbour that restarts with each hello, and what it says of others changes with each update.
		gen := uint32(i + 1)
		hi := appendHello(nil, &hello{header: header{typ: typeHello, node: addr(1), gen: gen}, interval: time.Second, heard: own})
		up := append(appendHeader(nil, header{typ: typeUpdate, node: addr(1), gen: gen}), 1, 0, 0, 0)
		up = finish(appendLSA(up, &LSA{Origin: addr(50 + i%10), Seq: uint64(i + 1), Lifetime: time.Minute}))
		for _, m := range [][]byte{hi, up} {
			w.ends[0].inject(frame(w.ends[1].info.HWAddr, "10.0.0.2", hopLimit, m))
		}
		if i%10 == 9 {
			n.since(ms(1)) // 20,000 messages a second
		}
	}
	// In two seconds.
	if got := b.r.stats.HellosIn + b.r.stats.UpdatesIn - before.HellosIn - before.UpdatesIn; got > 6000 {
		t.Errorf("%d messages were looked at", got)
	}
	if got := len(n.log) - events; got > 2*(2*MaxNeighbours+30)+100 {
		t.Errorf("%d events", got)
	}
	if got := n.wires[1].sent - sent; got > 1500 {
		t.Errorf("%d messages were sent to the other neighbour", got)
	}
	if got := b.r.stats.Computations - before.Computations; got > 30 {
		t.Errorf("%d computations", got)
	}
	t.Logf("looked at %d, %d events, %d messages sent on, %d computations",
		b.r.stats.HellosIn+b.r.stats.UpdatesIn-before.HellosIn-before.UpdatesIn, len(n.log)-events, n.wires[1].sent-sent, b.r.stats.Computations-before.Computations)
	if h := b.hop(2); h == nil || h.Node != addr(2) {
		t.Error("the honest neighbour was lost")
	}
	if b.r.stats.Refused == before.Refused {
		t.Error("nothing was refused")
	}
}

func TestBadSpecs(t *testing.T) {
	n := ring(t, 19)
	n.startAll()
	root := n.boxes[0].node.Root()
	for name, s := range map[string]Spec{
		"no address":   {},
		"multicast":    {Addr: 224 << 24},
		"fast hello":   {Addr: 1 << 24, Hello: time.Millisecond},
		"slow hello":   {Addr: 1 << 24, Hello: time.Minute},
		"lifetime":     {Addr: 1 << 24, Lifetime: time.Second},
		"dead":         {Addr: 1 << 24, DeadAfter: -1},
		"pieces":       {Addr: 1 << 24, MaxPieces: -1},
		"host bits":    {Addr: 1 << 24, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
		"unknown link": {Addr: 1 << 24, Name: "x", Links: []LinkSpec{{Name: "eth9"}}},
		"peers":        {Addr: 1 << 24, Name: "y", Links: []LinkSpec{{Name: "eth0", Peers: []netip.AddrPort{{}}}}},
	} {
		if _, err := New(root, s); err == nil {
			t.Errorf("%s: not refused", name)
		} else if k := errs.KindOf(err); k != errs.Invalid && k != errs.NotFound {
			t.Errorf("%s: %v of kind %v", name, err, k)
		}
	}
	n.since(ms(10))
	if got := len(root.Children()); got != 1 {
		t.Errorf("%d domains left, want the router's alone", got)
	}
}
