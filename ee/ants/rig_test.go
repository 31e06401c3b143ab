package ants

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	jail.Enter()
	goleak.VerifyTestMain(m)
}

// net is a small network of stepped nodes on one virtual clock.
type testNet struct {
	t      testing.TB
	mode   vm.Mode     // of the engines
	real   clock.Clock // not nil: nodes run by themselves on this clock
	clk    *clock.Virtual
	seg    *mem.Net
	nodes  []*testNode
	links  int
	mu     sync.Mutex
	events []Event
}

// testNode is a node with an EE.
type testNode struct {
	net    *testNet
	node   *nodeos.Node
	engine *vm.Engine
	ee     *EE
	routes *StaticRoutes
	hops   []Hop
	ports  int
	got    []Capsule // delivered to port 9
}

func newNet(t testing.TB) *testNet {
	n := &testNet{t: t, mode: vm.ModeInterpreter, clk: clock.NewVirtual(time.Unix(1000, 0)), seg: mem.NewNet()}
	t.Cleanup(n.close)
	return n
}

func (n *testNet) event(ev Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, ev)
}

func (n *testNet) close() {
	for _, x := range n.nodes {
		if err := x.node.Close(); err != nil {
			n.t.Error(err)
		}
		if err := x.engine.Close(); err != nil {
			n.t.Error(err)
		}
	}
	if s := n.seg.Segments(); s != 0 {
		n.t.Errorf("%d segments are left", s)
	}
}

func addrOf(i int) NodeAddr { return NodeAddr(10<<24 | 255<<16 | uint32(i)) }

// add makes the next node; its address ends in its number, from 1. mod changes the spec.
func (n *testNet) add(mod func(*Spec)) *testNode {
	n.t.Helper()
	i := len(n.nodes) + 1
	x := &testNode{net: n, routes: new(StaticRoutes)}
	var err error
	ns := nodeos.NodeSpec{Name: fmt.Sprintf("n%d", i), Clock: n.clk, Seed: uint64(i), Stepped: true, Packets: packet.PoolSpec{Frames: 1024}}
	if n.real != nil {
		ns.Clock, ns.Stepped, ns.Workers, ns.Packets.Frames = n.real, false, 2, 4096
	}
	x.node, err = nodeos.NewNode(ns)
	if err != nil {
		n.t.Fatal(err)
	}
	x.engine, err = vm.NewEngine(vm.EngineSpec{Mode: n.mode, Clock: ns.Clock})
	if err != nil {
		n.t.Fatal(err)
	}
	n.nodes = append(n.nodes, x)
	d, err := x.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "ants"}})
	if err != nil {
		n.t.Fatal(err)
	}
	spec := Spec{
		Name: x.node.Name(), Domain: d, Engine: x.engine, Addr: addrOf(i), Router: x.routes,
		Protocol: resctl.Spec{Limit: resctl.Amounts{resctl.Memory: 2 << 20, resctl.Frames: 256}},
		Events:   EventFunc(n.event),
	}
	if mod != nil {
		mod(&spec)
	}
	if x.ee, err = New(spec); err != nil {
		n.t.Fatal(err)
	}
	if _, err = x.ee.Attach(AppSpec{Name: "sink", Port: 9, Receive: x.receive}); err != nil {
		n.t.Fatal(err)
	}
	return x
}

func (x *testNode) receive(_ *nodeos.Worker, d *Delivery) {
	c := d.Capsule
	c.Data = slices.Clone(c.Data)
	x.got = append(x.got, c)
}

// connect joins two nodes by a link, and makes them neighbours.
func (n *testNet) connect(a, b *testNode, mtu int) {
	n.t.Helper()
	n.links++
	seg := fmt.Sprintf("seg%d", n.links)
	type end struct {
		x    *testNode
		info nodeos.LinkInfo
	}
	var ends [2]end
	for i, x := range []*testNode{a, b} {
		name := fmt.Sprintf("eth%d", x.ports)
		x.ports++
		l, err := n.seg.Open(x.node, x.node.NextLinkNumber(), nodeos.LinkSpec{Name: name, Device: seg, Opts: map[string]string{
			"addr": fmt.Sprintf("10.0.%d.%d/24", n.links, i+1), "mtu": fmt.Sprint(mtu),
		}})
		if err == nil {
			err = x.node.AddLink(l, 0)
		}
		if err == nil {
			_, err = x.ee.Bind(BindSpec{Link: name})
		}
		if err != nil {
			n.t.Fatal(err)
		}
		ends[i] = end{x, l.Info()}
	}
	for i, e := range ends {
		o := ends[1-i]
		e.x.hops = append(e.x.hops, Hop{
			Node: o.x.ee.Addr(), Link: e.info.Number, IP: netip.AddrFrom4([4]byte{10, 0, byte(n.links), byte(2 - i)}), MAC: o.info.HWAddr, HasMAC: true,
		})
	}
}

// route sets the routes of a node: destination node to neighbour.
func (x *testNode) route(via map[*testNode]*testNode) {
	m := make(map[NodeAddr]NodeAddr)
	for d, v := range via {
		m[d.ee.Addr()] = v.ee.Addr()
	}
	if err := x.routes.Set(x.hops, m); err != nil {
		x.net.t.Fatal(err)
	}
}

// run steps all nodes until nothing happens, and lets time pass until the given time.
func (n *testNet) run(until clock.Time) {
	n.t.Helper()
	for i := 0; ; i++ {
		if i == 1e5 {
			n.t.Fatal("the network does not come to rest")
		}
		more, before := false, n.moved()
		for _, x := range n.nodes {
			more = x.node.Step() || more
		}
		if more || n.moved() != before { // what was sent may wait at a node that has had its step
			continue
		}
		next := clock.Never
		for _, x := range n.nodes {
			next = min(next, x.node.NextEvent())
		}
		if next > until {
			n.clk.AdvanceTo(until)
			return
		}
		n.clk.AdvanceTo(next)
	}
}

// moved returns a number that changes when a frame is sent or received.
func (n *testNet) moved() (sum uint64) {
	for _, x := range n.nodes {
		for _, l := range x.node.Links() {
			st := l.Stats()
			sum += st.TxPackets + st.RxPackets
		}
	}
	return sum
}

// pass lets time pass.
func (n *testNet) pass(d time.Duration) { n.t.Helper(); n.run(n.clk.Now().Add(d)) }

// chain makes nodes in a row with routes along it.
func (n *testNet) chain(count int, mod func(*Spec)) []*testNode {
	for range count {
		n.add(mod)
	}
	for i := range n.nodes[1:] {
		n.connect(n.nodes[i], n.nodes[i+1], 1500)
	}
	for i, x := range n.nodes {
		via := make(map[*testNode]*testNode)
		for j, y := range n.nodes {
			if j > i {
				via[y] = n.nodes[i+1]
			} else if j < i {
				via[y] = n.nodes[i-1]
			}
		}
		x.route(via)
	}
	return n.nodes
}

func (x *testNode) register(p *Protocol) {
	x.net.t.Helper()
	if err := x.ee.Register(p); err != nil {
		x.net.t.Fatal(err)
	}
}

// capsule returns a capsule of a class towards a node, for port 9.
func capsule(t testing.TB, p *Protocol, class string, dst *testNode, data []byte) *Capsule {
	t.Helper()
	m, err := p.Method(class)
	if err != nil {
		t.Fatal(err)
	}
	return &Capsule{Method: m, Dst: dst.ee.Addr(), HasPorts: true, SrcPort: 9, DstPort: 9, Data: data}
}

func (x *testNode) send(c *Capsule) {
	x.net.t.Helper()
	if err := x.ee.Send(c); err != nil {
		x.net.t.Fatal(err)
	}
}

// kinds returns the kinds of events that happened at a node, counted.
func (x *testNode) kinds() map[EventKind]int {
	m := make(map[EventKind]int)
	for _, ev := range x.net.events {
		if ev.Node == x.ee.Addr() {
			m[ev.Kind]++
		}
	}
	return m
}

// clean checks that nothing of protocols is left at a node: no domain, no memory, no frame.
func (x *testNode) clean() {
	t := x.net.t
	t.Helper()
	for _, c := range x.ee.Domain().Children() {
		if c.Name() != "app-9" {
			t.Errorf("%s: domain %s is %v", x.node.Name(), c.Path(), c.State())
		}
	}
	a := x.ee.Domain().Account()
	for _, r := range []resctl.Resource{resctl.Memory, resctl.Frames} {
		if n := a.Use(r); n != 0 {
			t.Errorf("%s: %d of %s are still held", x.node.Name(), n, r)
		}
	}
}

// wantDrops checks the causes of all drops.
func (x *testNode) wantDrops(want map[Cause]uint64) {
	x.net.t.Helper()
	w := make(map[string]uint64)
	for c, n := range want {
		w[c.String()] = n
	}
	if got := x.ee.Stats().Drops; !maps.Equal(got, w) {
		x.net.t.Errorf("%s: drops %v, want %v", x.node.Name(), got, w)
	}
}

func wantKind(t testing.TB, err error, k errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != k {
		t.Errorf("error %v is of kind %v, want %v", err, errs.KindOf(err), k)
	}
}

// arrive makes a capsule come to the node by its first link, whoever sent it.
func (x *testNode) arrive(c *Capsule) {
	x.net.t.Helper()
	x.node.Step() // reads the clock
	w := x.node.Worker(0)
	var b packet.Batch
	p := w.Cache().AllocFrom(packet.Node, c.Append(nil))
	if p == nil {
		x.net.t.Fatal("no frame")
	}
	b.Append(p)
	x.ee.Input(w, x.hops[0].Link, &b)
}

// last returns the latest event of a kind at the node.
func (x *testNode) last(k EventKind) *Event {
	for i := len(x.net.events) - 1; i >= 0; i-- {
		if ev := &x.net.events[i]; ev.Kind == k && ev.Node == x.ee.Addr() {
			return ev
		}
	}
	return nil
}

// padded returns code with a custom section of n bytes, which the gate drops: the same program, another id.
func padded(code []byte, n int) []byte {
	out := slices.Clone(code)
	out = append(out, 0) // id of a custom section, then its size
	size := n + 4
	for v := size; ; {
		c := byte(v & 0x7f)
		if v >>= 7; v == 0 {
			out = append(out, c)
			break
		}
		out = append(out, c|0x80)
	}
	out = append(out, 3, 'p', 'a', 'd')
	for i := range n {
		out = append(out, byte(i*7+i>>8))
	}
	return out
}
