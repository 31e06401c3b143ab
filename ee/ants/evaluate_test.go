package ants

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

// TestHostileProtocols sends a thousand loopers and a thousand greedy capsules among pings.
func TestHostileProtocols(t *testing.T) {
	n := newNet(t)
	x := n.chain(3, func(s *Spec) { s.Protocol.Limit[resctl.Memory] = 512 << 10 })
	good, loop, greedy := proto(t, "ping", "ping"), proto(t, "loop", "loop"), proto(t, "greedy", "greedy")
	x[0].register(good)
	for i := range uint32(1000) {
		// They come from outside, so that node 0 need not run them itself; it has their code for node 1.
		for _, p := range []*Protocol{loop, greedy} {
			if i == 0 {
				x[0].register(p)
			}
			c := capsule(t, p, p.Name, x[2], []byte{1})
			c.Src, c.Prev, c.TTL = x[0].ee.Addr(), x[0].ee.Addr(), 10
			x[1].arrive(c)
		}
		if i%10 == 0 {
			x[0].send(capsule(t, good, "ping", x[2], pingData(i)))
		}
		n.pass(time.Millisecond)
	}
	n.pass(5 * time.Second)
	if len(x[0].got) != 100 {
		t.Errorf("%d of 100 pings came back", len(x[0].got))
	}
	s := x[1].ee.Stats()
	if s.Counts.Terminated != 2 || s.Kills != 64 || len(s.Protocols) != 1 || s.Protocols[0].Name != "ping" {
		t.Errorf("%d domains terminated, %d kills, protocols %+v", s.Counts.Terminated, s.Kills, s.Protocols)
	}
	if got := s.Drops["fault"] + s.Drops["refused"] + s.Drops["queue_full"] + s.Drops["waiting_full"]; got < 1900 || s.Drops["refused"] < 1500 {
		t.Errorf("drops %v", s.Drops)
	}
	if got := x[2].ee.Stats().Counts.Loads; got != 1 {
		t.Errorf("%d loads behind the node that killed them, want that of ping", got)
	}
	ks, total, err := x[1].ee.Kills()
	if err != nil || total != 64 || len(ks) != 64 {
		t.Fatalf("%d kills of %d, %v", len(ks), total, err)
	}
	seen := make(map[string]int)
	for _, k := range ks {
		seen[k.Protocol+": "+k.Reason]++
		if k.Class != k.Protocol || k.Node != x[1].ee.Addr() || k.Src != x[0].ee.Addr() || k.Fuel == 0 || k.Protocol == "loop" && k.Offset <= 0 {
			t.Errorf("kill %+v", k)
		}
	}
	if want := map[string]int{"loop: out of fuel": 32, "greedy: out of memory": 32}; !reflect.DeepEqual(seen, want) {
		t.Errorf("kills %v, want %v", seen, want)
	}
	// Nothing of the hostile domains is left: the rest is ping's.
	a := x[1].ee.Domain().Account()
	f := x[1].ee.protocols[good.ID()]
	for _, r := range []resctl.Resource{resctl.Memory, resctl.Frames} {
		if a.Use(r) != f.domain.Account().Use(r) {
			t.Errorf("%s: EE %d, ping %d", r, a.Use(r), f.domain.Account().Use(r))
		}
	}
	if ev := x[1].last(DomainEnded); ev == nil || ev.Reason == "" {
		t.Errorf("event %+v", ev)
	}
	// After the penalty they may try again.
	n.pass(time.Minute)
	c := capsule(t, loop, "loop", x[2], []byte{1})
	c.Src, c.Prev, c.TTL = x[0].ee.Addr(), x[0].ee.Addr(), 10
	x[1].arrive(c)
	n.pass(time.Second)
	if got := x[1].ee.Stats().Kills; got != 65 {
		t.Errorf("%d kills after the penalty, want one more", got)
	}
}

// star makes a node in the middle of others.
func star(n *testNet, leaves int) (mid *testNode, xs []*testNode) {
	mid = n.add(nil)
	for range leaves {
		x := n.add(nil)
		n.connect(mid, x, 1500)
		x.route(nil)
		xs = append(xs, x)
	}
	mid.route(nil)
	return mid, xs
}

func TestCopiesToNeighbours(t *testing.T) {
	n := newNet(t)
	mid, xs := star(n, 4)
	p := proto(t, "flood", "flood")
	xs[0].register(p)
	c := capsule(t, p, "flood", mid, []byte{0, 0, 0, 0})
	c.HasCredit, c.Credit = true, Credit{Count: 101}
	xs[0].send(c)
	n.pass(time.Second)
	// Node, hops, credit: the source has 101 and spends one, the middle has 100 and spends one, 33 are left for each leaf, which spends one.
	for _, w := range []struct {
		x      *testNode
		ttl    uint32
		credit uint32
	}{{xs[0], DefaultTTL, 100}, {mid, DefaultTTL - 1, 99}, {xs[1], DefaultTTL - 2, 32}, {xs[2], DefaultTTL - 2, 32}, {xs[3], DefaultTTL - 2, 32}} {
		if len(w.x.got) != 1 {
			t.Errorf("%s got %d capsules", w.x.node.Name(), len(w.x.got))
			continue
		}
		if g := w.x.got[0]; g.TTL != w.ttl || g.Credit.Count != w.credit {
			t.Errorf("%s got ttl %d and credit %d, want %d and %d", w.x.node.Name(), g.TTL, g.Credit.Count, w.ttl, w.credit)
		}
	}
	if got := mid.ee.Stats().Counts.Forwarded; got != 3 {
		t.Errorf("%d copies, want 3", got)
	}
	// Weighted: 1, 2, 3 of 96, the last to the neighbour with the highest address. The source is the first neighbour.
	for _, x := range xs {
		x.got = nil
	}
	c.Data, c.Credit.Count = []byte{9, 1, 2, 3}, 98
	xs[0].send(c)
	n.pass(time.Second)
	for i, want := range []uint32{16, 32, 48} {
		if x := xs[i+1]; len(x.got) != 1 || x.got[0].Credit.Count != want-1 {
			t.Errorf("%s: %+v, want credit %d", x.node.Name(), x.got, want-1)
		}
	}
	// Too little to go round: a copy without credit is not sent.
	c.Data, c.Credit.Count = []byte{0, 0, 0, 0}, 4
	xs[0].send(c)
	n.pass(time.Second)
	if got := mid.ee.Stats().Drops["credit"]; got != 1 {
		t.Errorf("%d copies without credit, want 1", got)
	}
	// What ANEP brings no credit for has as much as its TTL lets one copy use, whatever it does.
	c.HasCredit, c.TTL, c.Src, c.Prev = false, 3, xs[0].ee.Addr(), xs[0].ee.Addr()
	before := mid.ee.Stats().Counts.Forwarded
	mid.arrive(c)
	n.pass(time.Second)
	for _, x := range xs[1:] {
		if g := x.got[len(x.got)-1]; g.Credit.Count != 0 || !g.HasCredit {
			t.Errorf("%s: %+v", x.node.Name(), g)
		}
	}
	if got := mid.ee.Stats().Counts.Forwarded - before; got != 3 {
		t.Errorf("%d copies", got)
	}
}

// TestCreditBoundsWork floods a full mesh, where TTL alone would allow 3^64 copies.
func TestCreditBoundsWork(t *testing.T) {
	n := newNet(t)
	for range 4 {
		n.add(nil)
	}
	for i, a := range n.nodes {
		for _, b := range n.nodes[i+1:] {
			n.connect(a, b, 1500)
		}
	}
	for _, x := range n.nodes {
		x.route(nil)
	}
	p := proto(t, "flood", "flood")
	x := n.nodes[0]
	x.register(p)
	// The code first, with a capsule that gets to each neighbour and no further.
	c := capsule(t, p, "flood", n.nodes[3], make([]byte, 4))
	c.HasCredit, c.Credit.Count = true, 4
	x.send(c)
	n.pass(time.Second)
	evaluated := func() (sum uint64) {
		for _, x := range n.nodes {
			sum += x.ee.Stats().Counts.Evaluated
		}
		return sum
	}
	before := evaluated()
	c.Credit.Count = 500
	x.send(c)
	n.pass(10 * time.Second)
	if got := evaluated() - before; got > 500 || got < 400 {
		t.Errorf("a capsule with a credit of 500 was evaluated %d times", got)
	}
}

func TestSoftState(t *testing.T) {
	n := newNet(t)
	x := n.chain(1, nil)[0]
	x.route(nil)
	p := proto(t, "count", "count")
	x.register(p)
	send := func(key byte, fault byte) (declared, explicit uint32) {
		t.Helper()
		had := len(x.got)
		d := make([]byte, 16)
		d[0], d[4] = key, fault
		x.send(capsule(t, p, "count", x, d))
		n.pass(time.Millisecond)
		if len(x.got) == had {
			return 0, 0
		}
		g := x.got[had].Data
		return binary.BigEndian.Uint32(g[8:]), binary.BigEndian.Uint32(g[12:])
	}
	want := func(key, fault byte, declared, explicit uint32) {
		t.Helper()
		if d, e := send(key, fault); d != declared || e != explicit {
			t.Errorf("key %d: %d under the declared key, %d under the explicit one; want %d, %d", key, d, e, declared, explicit)
		}
	}
	want(1, 0, 1, 1)
	want(1, 0, 2, 2)
	want(2, 0, 1, 1)
	want(1, 1, 0, 0) // a fault
	want(1, 0, 3, 3) // undid both
	n.pass(3 * time.Second)
	want(1, 0, 1, 4) // the declared one lives for 2 s, the other for the default
	n.pass(DefaultLife)
	want(1, 0, 1, 1)
	s := x.ee.Stats().Protocols[0].Soft
	if s.Entries != 4 || s.Expired < 3 {
		t.Errorf("store %+v", s)
	}
	if err := x.ee.Unregister(p.ID()); err != nil {
		t.Fatal(err)
	}
	n.pass(time.Second)
	x.clean()
	if err := x.ee.Unregister(p.ID()); errs.KindOf(err) != errs.NotFound {
		t.Errorf("unregistered twice: %v", err)
	}
}

// DefaultLife is the default of Limits.StateLife.
const DefaultLife = 5 * time.Minute

func TestTooBig(t *testing.T) {
	n := newNet(t)
	for range 3 {
		n.add(nil)
	}
	x := n.nodes
	n.connect(x[0], x[1], 1500)
	n.connect(x[1], x[2], 600)
	x[0].route(map[*testNode]*testNode{x[2]: x[1]})
	x[1].route(nil)
	x[2].route(map[*testNode]*testNode{x[0]: x[1]})
	p := proto(t, "grow", "grow")
	x[0].register(p)
	d := make([]byte, 100)
	binary.BigEndian.PutUint16(d, 150)
	x[0].send(capsule(t, p, "grow", x[2], d)) // 250, 400: it fits
	n.pass(time.Second)
	if len(x[2].got) != 1 || len(x[2].got[0].Data) != 400 || x[2].got[0].Data[399] != 'x' {
		t.Fatalf("delivered %+v", x[2].got)
	}
	binary.BigEndian.PutUint16(d, 250)
	x[0].send(capsule(t, p, "grow", x[2], d)) // 350, 600: it does not
	n.pass(time.Second)
	if len(x[2].got) != 1 {
		t.Error("a capsule above the MTU arrived")
	}
	x[1].wantDrops(map[Cause]uint64{DropTooBig: 1})
	ev := x[0].last(ErrorReceived)
	if ev == nil || ev.Peer != x[1].ee.Addr() || ev.Reason != errs.TooBig.Error() || ev.Bytes != 600-28 {
		t.Errorf("error %+v", ev)
	}
	if s := x[0].ee.Stats(); s.Counts.ErrorsIn != 1 {
		t.Errorf("counts %+v", s.Counts)
	}
	// Errors find their way through nodes between, and a node without a route says so.
	if err := x[2].routes.Set(x[2].hops, map[NodeAddr]NodeAddr{x[0].ee.Addr(): x[1].ee.Addr()}); err != nil {
		t.Fatal(err)
	}
	if err := x[1].routes.Set(x[1].hops, map[NodeAddr]NodeAddr{0x0a000063: x[2].ee.Addr()}); err != nil {
		t.Fatal(err)
	}
	if err := x[0].routes.Set(x[0].hops, map[NodeAddr]NodeAddr{0x0a000063: x[1].ee.Addr()}); err != nil {
		t.Fatal(err)
	}
	c := capsule(t, p, "grow", x[2], make([]byte, 2))
	c.Dst = 0x0a000063
	x[0].send(c)
	n.pass(time.Second)
	x[2].wantDrops(map[Cause]uint64{DropNoRoute: 1})
	if ev := x[0].last(ErrorReceived); ev.Peer != x[2].ee.Addr() || ev.Reason != errs.Unreachable.Error() {
		t.Errorf("error %+v", ev)
	}
	if got := x[1].ee.Stats().Counts.ErrorsPassed; got != 1 {
		t.Errorf("%d errors passed on", got)
	}
	c.Dst = 0x0a000064 // not even the first node knows it
	x[0].send(c)
	n.pass(time.Second)
	x[0].wantDrops(map[Cause]uint64{DropNoRoute: 1})
}

func TestCountedDrops(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, nil)
	p := proto(t, "ping", "ping")
	x[0].register(p)
	c := capsule(t, p, "ping", x[1], pingData(1))
	drops := make(map[Cause]uint64)
	step := func(what string, cause Cause) {
		t.Helper()
		n.pass(time.Second)
		drops[cause]++
		t.Log(what)
		x[0].wantDrops(drops)
	}
	c.Src, c.Prev = x[1].ee.Addr(), x[1].ee.Addr()
	c.TTL = 0
	x[0].arrive(c)
	step("no hops left", DropTTL)
	c.TTL, c.HasCredit = 5, true
	x[0].arrive(c)
	step("no credit", DropCredit)
	c.Credit.Count = 1
	x[0].arrive(c)
	step("no credit to go on", DropCredit)
	c.Credit.Count, c.Data = 5, c.Data[:7]
	x[0].arrive(c)
	step("too short for its class", DropShort)
	c.Data, c.Dst = []byte{0, 0, 0, 0, 1, 0, 0, 0}, x[0].ee.Addr()
	c.DstPort = 77
	x[0].arrive(c)
	step("nobody on the port", DropNoApp)
	w := x[0].node.Worker(0)
	var b packet.Batch
	for _, raw := range [][]byte{{1, 2, 3}, append(c.Append(nil), 0)} {
		b.Append(w.Cache().AllocFrom(packet.Node, raw))
		x[0].ee.Input(w, 1, &b)
		step("malformed", DropMalformed)
	}
	raw := c.Append(nil)
	raw[3] = 99
	b.Append(w.Cache().AllocFrom(packet.Node, raw))
	x[0].ee.Input(w, 1, &b)
	step("another type id", DropVersion)
	x[0].ee.ports[0].Close()
	c.DstPort, c.Dst = 9, x[1].ee.Addr()
	x[0].arrive(c)
	step("no port for the link", DropNoRoute)
	if x[0].node.Pool().Stats().Charged[packet.Node] != 0 {
		t.Error("frames of the node are left")
	}
}

// TestQueueIsBounded gives a protocol no time to run.
func TestQueueIsBounded(t *testing.T) {
	n := newNet(t)
	x := n.chain(2, func(s *Spec) { s.Limits.Queue = 32 })
	p := proto(t, "ping", "ping")
	x[0].register(p)
	c := capsule(t, p, "ping", x[1], pingData(1))
	for range 50 {
		x[0].send(c)
	}
	x[0].wantDrops(map[Cause]uint64{DropQueueFull: 18})
	n.pass(time.Second)
	if len(x[0].got) != 32 {
		t.Errorf("%d came back", len(x[0].got))
	}
}

// TestFuelLimit gives a protocol little fuel in a second: what is above it is dropped and is no fault.
func TestFuelLimit(t *testing.T) {
	n := newNet(t)
	x := n.chain(1, func(s *Spec) { s.Budget = 10_000; s.Protocol.Limit[resctl.Fuel] = 50_000 })[0]
	x.route(nil)
	p := proto(t, "loop", "loop")
	x.register(p)
	for range 20 {
		x.send(capsule(t, p, "loop", x, []byte{1}))
	}
	n.pass(10 * time.Millisecond)
	s := x.ee.Stats()
	if s.Drops["fault"] > 5 || s.Drops["fault"] == 0 || s.Drops["fault"]+s.Drops["throttled"] != 20 {
		t.Errorf("drops %v", s.Drops)
	}
}

func TestEmit(t *testing.T) {
	n := newNet(t)
	x := n.chain(3, nil)
	p := proto(t, "spawner", "spawn", "ping") // ping is the first by name, whatever the order here
	x[0].register(p)
	d := binary.BigEndian.AppendUint32(nil, uint32(x[2].ee.Addr()))
	x[0].send(capsule(t, p, "spawn", x[1], append(d, 0)))
	n.pass(time.Second)
	// Node 1 made a ping to node 2, which came back to node 1.
	if len(x[1].got) != 1 || x[1].got[0].Src != x[1].ee.Addr() || x[1].got[0].Data[3] != 42 || x[1].got[0].DstPort != 9 {
		t.Errorf("delivered %+v; events %+v", x[1].got, n.events)
	}
	if s := x[1].ee.Stats(); s.Counts.Emitted != 1 {
		t.Errorf("counts %+v", s.Counts)
	}
	if ev := x[1].last(GuestLog); ev == nil || ev.Text != "spawn" || ev.Class != "spawn" {
		t.Errorf("log %+v", ev)
	}
	x[0].send(capsule(t, p, "spawn", x[1], append(d, 7))) // there is no class 7
	n.pass(time.Second)
	if s := x[1].ee.Stats(); s.Drops["bad_emit"] != 1 {
		t.Errorf("drops %v", s.Drops)
	}
}

func TestProbe(t *testing.T) {
	n := newNet(t)
	x := n.chain(3, nil)
	p := proto(t, "ping", "ping")
	x[0].register(p)
	pr, err := x[0].ee.Probe(ProbeSpec{Capsule: *capsule(t, p, "ping", x[2], make([]byte, 8)), Count: 20, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	n.pass(95 * time.Millisecond)
	n.nodes = slices.Clone(x[:1]) // the others stand still for a while: their pings are late, not lost
	n.pass(40 * time.Millisecond)
	n.nodes = x
	n.pass(2 * time.Second)
	select {
	case <-pr.Done():
	default:
		t.Fatal("the probe is not over")
	}
	r := pr.Result()
	if r.Sent != 20 || r.Received != 20 || len(r.Lost) != 0 || r.Duplicates != 0 || r.Unsent != 0 {
		t.Errorf("result %+v", r)
	}
	if r.RTT[10] != 35*time.Millisecond || r.RTT[13] != 5*time.Millisecond || r.RTT[0] != 0 || r.Quantile(0.5) != 0 || r.Quantile(1) != 35*time.Millisecond {
		t.Errorf("round-trip times %v", r.RTT)
	}
	// Without a way there, all are lost, and the probe ends all the same.
	if err := x[0].routes.Set(nil, nil); err != nil {
		t.Fatal(err)
	}
	if pr, err = x[0].ee.Probe(ProbeSpec{Capsule: *capsule(t, p, "ping", x[2], make([]byte, 8)), Count: 3, SeqOffset: 0, Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	n.pass(2 * time.Second)
	<-pr.Done()
	if r := pr.Result(); r.Received != 0 || len(r.Lost) != 3 || r.Quantile(0.5) != -1 {
		t.Errorf("result %+v", r)
	}
	if _, err := x[0].ee.Probe(ProbeSpec{Capsule: Capsule{Data: make([]byte, 3)}, Count: 1}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("a number that does not fit: %v", err)
	}
}

// TestSameEvents runs one scenario twice.
func TestSameEvents(t *testing.T) {
	run := func() []Event {
		n := newNet(t)
		x := n.chain(4, nil)
		ping, loop := bigPing(t), proto(t, "loop", "loop", "spawn")
		x[0].register(ping)
		x[3].register(loop)
		for i := range uint32(40) {
			x[0].send(capsule(t, ping, "ping", x[3], pingData(i)))
			// In the end it is refused, also where it was registered.
			if err := x[3].ee.Send(capsule(t, loop, "loop", x[0], pingData(i))); err != nil && errs.KindOf(err) != errs.NotFound {
				t.Fatal(err)
			}
			n.pass(time.Duration(i) * time.Millisecond)
		}
		n.pass(time.Minute)
		return n.events
	}
	a, b := run(), run()
	if len(a) < 50 || !reflect.DeepEqual(a, b) {
		for i := range a {
			if i >= len(b) || a[i] != b[i] {
				t.Fatalf("event %d differs:\n%+v\n%+v", i, a[i], b[min(i, len(b)-1)])
			}
		}
		t.Errorf("%d and %d events", len(a), len(b))
	}
}

func TestAttachAndRegisterRefuse(t *testing.T) {
	n := newNet(t)
	x := n.chain(1, nil)[0]
	if _, err := x.ee.Attach(AppSpec{Name: "second", Port: 9, Receive: x.receive}); errs.KindOf(err) != errs.Exists {
		t.Errorf("port taken: %v", err)
	}
	if _, err := x.ee.Attach(AppSpec{Name: "deaf", Port: 10}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("no receiver: %v", err)
	}
	a, err := x.ee.Attach(AppSpec{Name: "any", Receive: x.receive})
	if err != nil || a.Port() < firstFreePort {
		t.Fatalf("port %d, %v", a.Port(), err)
	}
	a.Close()
	n.pass(time.Second)
	if x.ee.apps[a.Port()] != nil {
		t.Error("the port is still taken")
	}
	for _, c := range []struct {
		name string
		mod  func(*Protocol)
		kind errs.Kind
	}{
		{"no groups", func(p *Protocol) { p.Groups = nil }, errs.Invalid},
		{"no classes", func(p *Protocol) { p.Groups[0].Classes = nil }, errs.Invalid},
		{"bad name", func(p *Protocol) { p.Name = "a b" }, errs.Invalid},
		{"code too long", func(p *Protocol) { p.Groups[0].Classes[0].Code = make([]byte, MaxCode+1) }, errs.Invalid},
		{"a class twice", func(p *Protocol) { p.Groups[0].Classes = append(p.Groups[0].Classes, p.Groups[0].Classes[0]) }, errs.Invalid},
		{"a group twice", func(p *Protocol) { p.Groups = append(p.Groups, Group{"b", p.Groups[0].Classes}) }, errs.Invalid},
		{"no module", func(p *Protocol) { p.Groups[0].Classes[0].Code = []byte("hello") }, errs.Invalid},
		{"another name in the manifest", func(p *Protocol) { p.Groups[0].Classes[0].Name = "pong" }, errs.Invalid},
	} {
		p := proto(t, "ping", "ping")
		c.mod(p)
		wantKind(t, x.ee.Register(p), c.kind)
		n.pass(time.Second)
		x.clean()
		if t.Failed() {
			t.Fatal(c.name)
		}
	}
	p := proto(t, "ping", "ping")
	x.register(p)
	x.register(p) // again
	if s := x.ee.Stats(); len(s.Protocols) != 1 || !s.Protocols[0].Pinned || len(s.Protocols[0].Classes) != 1 {
		t.Errorf("%+v", s.Protocols)
	}
	m, _ := p.Method("ping")
	wantKind(t, x.ee.Send(&Capsule{Method: m}), errs.Invalid)
	wantKind(t, x.ee.Send(&Capsule{Method: m, Dst: 1, TTL: MaxTTL + 1}), errs.Invalid)
	wantKind(t, x.ee.Send(&Capsule{Method: m, Dst: 1, Data: make([]byte, 4096)}), errs.NoMemory)
	wantKind(t, x.ee.Send(&Capsule{Method: MethodID{1}, Dst: 1}), errs.NotFound)
}

// evalRig is a node with one port, whose packets are freed, and an application that does nothing.
type evalRig struct {
	x    *testNode
	c    *Capsule
	w    *nodeos.Worker
	left int
	sent func(p *packet.Packet) // if not nil, sees what leaves
}

func newEvalRig(t testing.TB, mode vm.Mode, class string, data []byte) *evalRig {
	n := newNet(t)
	n.mode = mode
	x := n.add(nil)
	r := &evalRig{x: x, w: x.node.Worker(0)}
	p := proto(t, class, class)
	x.register(p)
	port, err := x.ee.NewPort(PortSpec{Name: "eth0", Link: 1, MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	var b packet.Batch
	task, err := x.ee.Domain().NewTask(nodeos.TaskSpec{Name: "out", Run: nodeos.RunFunc(func(bu nodeos.Budget) nodeos.Used {
		k := port.Receive(bu.Worker, &b)
		r.left += k
		if r.sent != nil {
			for _, p := range b.Packets() {
				r.sent(p)
			}
		}
		bu.Worker.Cache().FreeBatch(&b)
		return nodeos.Used{Packets: k}
	})})
	if err != nil {
		t.Fatal(err)
	}
	port.SetTask(task)
	if _, err := x.ee.Attach(AppSpec{Name: "nothing", Port: 10, Receive: func(*nodeos.Worker, *Delivery) {}}); err != nil {
		t.Fatal(err)
	}
	x.hops = []Hop{{Node: addrOf(2), Link: 1}, {Node: addrOf(3), Link: 1}}
	x.route(nil)
	m, err := p.Method(class)
	if err != nil {
		t.Fatal(err)
	}
	r.c = &Capsule{Method: m, Src: addrOf(2), Prev: addrOf(2), Dst: addrOf(3), TTL: 10, HasCredit: true, Credit: Credit{Count: 100}, HasPorts: true, DstPort: 10, Data: data}
	n.pass(time.Millisecond)
	return r
}

// round lets n capsules come by the link, be evaluated, and leave by it.
func (r *evalRig) round(b *packet.Batch, n int) {
	for range n {
		p := r.w.Cache().Alloc(packet.Node)
		if p == nil || !r.c.Encode(p) {
			panic("no frame")
		}
		b.Append(p)
	}
	r.x.ee.Input(r.w, 1, b)
	for r.x.node.Step() {
	}
}

// TestEvaluateDoesNotAllocate is about compiled code: wazero's interpreter allocates a frame for each call.
func TestEvaluateDoesNotAllocate(t *testing.T) {
	for _, c := range []struct {
		class string
		data  []byte
	}{{"ping", pingData(1)}, {"flood", make([]byte, 4)}, {"count", make([]byte, 16)}} {
		r := newEvalRig(t, vm.ModeCompiled, c.class, c.data)
		var b packet.Batch
		for range 50 {
			r.round(&b, 16)
		}
		if n := testing.AllocsPerRun(50, func() { r.round(&b, 16) }); n != 0 {
			t.Errorf("%s: %v allocations for 16 capsules", c.class, n)
		}
		if s := r.x.ee.Stats(); s.Counts.Evaluated < 1600 || len(s.Drops) != 0 || uint64(r.left) != s.Counts.Evaluated {
			t.Errorf("%s: %d evaluated, %d left, drops %v", c.class, s.Counts.Evaluated, r.left, s.Drops)
		}
	}
}

// BenchmarkCapsule measures a capsule's way through an EE: classification, hand-off to its protocol's domain, evaluation, hand-off
// to the port, and that port's task. Making and freeing the packet is included.
func BenchmarkCapsule(b *testing.B) {
	for _, mode := range []vm.Mode{vm.ModeCompiled, vm.ModeInterpreter} {
		for _, batch := range []int{1, 32} {
			b.Run(fmt.Sprintf("%v/batch%d", mode, batch), func(b *testing.B) {
				r := newEvalRig(b, mode, "ping", pingData(1))
				var pb packet.Batch
				r.round(&pb, batch)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i += batch {
					r.round(&pb, batch)
				}
			})
		}
	}
}
