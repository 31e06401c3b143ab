package capsules

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

// appPort is where the applications of the tests listen.
const appPort = 7

// network is nodes that find their routes by themselves, on one virtual clock.
type network struct {
	t     *testing.T
	clk   *clock.Virtual
	names []string
	nodes map[string]*member
}

// member is a node with its router, its EE and an application that keeps what it gets.
type member struct {
	node   *nodeos.Node
	engine *vm.Engine
	router *routing.Router
	ee     *ants.EE
	got    []arrival
}

type arrival struct {
	at   clock.Time
	data []byte
}

// newNetwork builds the network of examples/first-network and waits until everybody reaches everybody.
func newNetwork(t *testing.T) *network {
	n := &network{t: t, clk: clock.NewVirtual(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), nodes: make(map[string]*member)}
	seg := mem.NewNet()
	links := [][2]string{
		{"s1", "a"}, {"a", "b"}, {"a", "c"}, {"b", "d"}, {"c", "e"}, {"b", "e"}, {"d", "f"}, {"e", "f"}, {"d", "r1"}, {"f", "r2"}, {"e", "r3"},
	}
	n.names = []string{"s1", "r1", "r2", "r3", "a", "b", "c", "d", "e", "f"}
	t.Cleanup(func() {
		for _, name := range n.names {
			n.kill(name)
		}
	})
	for i, name := range n.names {
		n.add(name, i, seg, links)
	}
	n.until(2*time.Second, "everybody reaches everybody", func() bool {
		return !slices.ContainsFunc(n.names, func(name string) bool { return len(n.nodes[name].router.Table().Nodes()) < len(n.names)-1 })
	})
	n.pass(time.Second)
	return n
}

func (n *network) add(name string, i int, seg *mem.Net, links [][2]string) {
	t := n.t
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	m := &member{}
	var err error
	m.node, err = nodeos.NewNode(nodeos.NodeSpec{Name: name, Clock: n.clk, Seed: uint64(i), Stepped: true, Packets: packet.PoolSpec{Frames: 1024}})
	must(err)
	n.nodes[name] = m
	m.engine, err = vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: n.clk})
	must(err)
	rs := routing.Spec{Addr: addr(i), Host: i < 4}
	for k, l := range links {
		if l[0] != name && l[1] != name {
			continue
		}
		link := fmt.Sprintf("eth%d", len(rs.Links))
		end := 1 + slices.Index(l[:], name)
		x, err := seg.Open(m.node, m.node.NextLinkNumber(), nodeos.LinkSpec{Name: link, Device: fmt.Sprint("wire", k), Opts: map[string]string{"addr": fmt.Sprintf("10.0.%d.%d/24", k, end)}})
		must(err)
		must(m.node.AddLink(x, 0))
		rs.Links = append(rs.Links, routing.LinkSpec{Name: link})
	}
	m.router, err = routing.New(m.node.Root(), rs)
	must(err)
	d, err := m.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "ants"}})
	must(err)
	m.ee, err = ants.New(ants.Spec{
		Name: name, Domain: d, Engine: m.engine, Addr: rs.Addr, Router: ants.TableRouter(m.router.Table),
		Protocol: resctl.Spec{Limit: resctl.Amounts{resctl.Memory: 512 << 10, resctl.Frames: 256}},
	})
	must(err)
	for _, l := range rs.Links {
		_, err := m.ee.Bind(ants.BindSpec{Link: l.Name})
		must(err)
	}
	_, err = m.ee.Attach(ants.AppSpec{Name: "test", Port: appPort, Receive: func(_ *nodeos.Worker, d *ants.Delivery) {
		m.got = append(m.got, arrival{n.clk.Now(), slices.Clone(d.Data)})
	}})
	must(err)
}

func addr(i int) routing.NodeAddr { return routing.NodeAddr(10<<24 | 255<<16 | (i + 1)) }

func (n *network) addr(name string) routing.NodeAddr { return addr(slices.Index(n.names, name)) }

// name is the inverse of addr.
func (n *network) name(a uint32) string {
	for i, name := range n.names {
		if uint32(addr(i)) == a {
			return name
		}
	}
	return "nobody"
}

// kill ends a node without a word to its neighbours.
func (n *network) kill(name string) {
	m := n.nodes[name]
	if m == nil {
		return
	}
	delete(n.nodes, name)
	if err := m.node.Close(); err != nil {
		n.t.Error(err)
	}
	if err := m.engine.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *network) pass(d time.Duration) {
	n.t.Helper()
	var alive []*nodeos.Node
	for _, name := range n.names {
		if m := n.nodes[name]; m != nil {
			alive = append(alive, m.node)
		}
	}
	if !nodeos.Simulate(n.clk, n.clk.Now().Add(d), alive...) {
		n.t.Fatal("the network does not come to rest")
	}
}

func (n *network) until(limit time.Duration, what string, cond func() bool) time.Duration {
	n.t.Helper()
	start := n.clk.Now()
	for !cond() {
		if n.clk.Now().Sub(start) >= limit {
			n.t.Fatalf("not within %s: %s", limit, what)
		}
		n.pass(time.Millisecond)
	}
	return n.clk.Now().Sub(start)
}

// load reads a protocol from FS, and registers it on nodes.
func (n *network) load(file string, on ...string) *ants.Protocol {
	n.t.Helper()
	p, err := ants.LoadProtocolFS(FS, file)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, name := range on {
		if err := n.nodes[name].ee.Register(p); err != nil {
			n.t.Fatal(err)
		}
	}
	return p
}

// send injects a capsule.
func (n *network) send(p *ants.Protocol, class, from, to string, credit uint32, data []byte) {
	n.t.Helper()
	method, err := p.Method(class)
	if err != nil {
		n.t.Fatal(err)
	}
	c := &ants.Capsule{
		Method: method, Dst: n.addr(to), HasPorts: true, SrcPort: appPort, DstPort: appPort,
		HasCredit: credit > 0, Credit: ants.Credit{Count: credit}, Data: data,
	}
	if err := n.nodes[from].ee.Send(c); err != nil {
		n.t.Fatal(err)
	}
}

// loads returns how often code was loaded, in the whole network.
func (n *network) loads() (sum uint64) {
	for _, m := range n.nodes {
		sum += m.ee.Stats().Counts.LoadsDone
	}
	return sum
}

// words makes bytes of 32-bit numbers in network order.
func words(vs ...uint32) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func TestPingLoadsItsCodeOnTheWay(t *testing.T) {
	n := newNetwork(t)
	p := n.load("ping/protocol.yaml", "s1")
	s1 := n.nodes["s1"]
	for i := range uint32(5) {
		n.send(p, "ping", "s1", "r1", 0, append(words(i, 0), "payload"...))
	}
	n.pass(time.Second)
	if len(s1.got) != 5 {
		t.Fatalf("%d of 5 came back", len(s1.got))
	}
	for i, g := range s1.got {
		if want := append(words(uint32(i), 1), "payload"...); !slices.Equal(g.data, want) {
			t.Errorf("capsule %d came back as %x, want %x", i, g.data, want)
		}
	}
	if got := n.loads(); got != 4 { // a, b, d and r1; s1 had it
		t.Errorf("%d nodes loaded the code, want 4", got)
	}
	n.send(p, "ping", "s1", "r1", 0, words(9, 0))
	n.pass(100 * time.Millisecond)
	if len(s1.got) != 6 || n.loads() != 4 {
		t.Errorf("the second time: %d came back, %d loads in all", len(s1.got), n.loads())
	}
}

// path sends a trace and returns the nodes that it noted.
func (n *network) path(p *ants.Protocol) []string {
	n.t.Helper()
	s1 := n.nodes["s1"]
	s1.got = nil
	n.send(p, "trace", "s1", "r1", 0, words(0))
	n.until(time.Second, "the trace comes back", func() bool { return len(s1.got) == 1 })
	d := s1.got[0].data
	if d[0] != 1 || len(d) != 4+12*int(d[1]) {
		n.t.Fatalf("trace came back as %x", d)
	}
	var names []string
	last := uint64(0)
	for d = d[4:]; len(d) > 0; d = d[12:] {
		names = append(names, n.name(binary.BigEndian.Uint32(d)))
		if at := binary.BigEndian.Uint64(d[4:]); at < last {
			n.t.Errorf("time runs backwards on the way: %d after %d", at, last)
		} else {
			last = at
		}
	}
	return names
}

func TestTraceGoesRoundADeadRouter(t *testing.T) {
	n := newNetwork(t)
	p := n.load("trace/protocol.yaml", "s1")
	if got, want := n.path(p), []string{"s1", "a", "b", "d", "r1"}; !slices.Equal(got, want) {
		t.Errorf("path %v, want %v", got, want)
	}
	n.kill("b")
	took := n.until(time.Second, "a has another way", func() bool {
		h := n.nodes["a"].router.Table().NextHop(n.addr("r1"))
		return h != nil && h.Node == n.addr("c")
	})
	t.Logf("another way after %s", took)
	if got, want := n.path(p), []string{"s1", "a", "c", "e", "f", "d", "r1"}; !slices.Equal(got, want) {
		t.Errorf("path %v, want %v", got, want)
	}
}

func TestMulticastCopiesInTheNetwork(t *testing.T) {
	n := newNetwork(t)
	p := n.load("multicast/protocol.yaml", "s1", "r1", "r2", "r3")
	receivers := []string{"r1", "r2", "r3"}
	head := words(99, uint32(n.addr("s1")))
	subscribe := func() {
		for _, r := range receivers {
			n.send(p, "subscribe", r, "s1", 0, head)
		}
		n.pass(500 * time.Millisecond)
	}
	forwarded := func() (sum uint64) {
		for _, m := range n.nodes {
			sum += m.ee.Stats().Counts.Forwarded
		}
		return sum
	}
	data := func(seq uint32) {
		n.send(p, "data", "s1", "s1", 100, append(slices.Clone(head), words(seq, 0xabcd)...))
		n.pass(200 * time.Millisecond)
	}
	subscribe()
	subscribe() // renewing makes no second branch
	before := forwarded()
	data(1)
	for _, r := range receivers {
		if g := n.nodes[r].got; len(g) != 1 || !slices.Equal(g[0].data[8:], words(1, 0xabcd)) {
			t.Errorf("%s got %x", r, g)
		}
	}
	// The ways of the three to s1 share links: each link of the tree has one copy.
	tree := make(map[[2]routing.NodeAddr]bool)
	for _, r := range receivers {
		for at := n.addr(r); at != n.addr("s1"); {
			next := n.nodes[n.name(uint32(at))].router.Table().NextHop(n.addr("s1")).Node
			tree[[2]routing.NodeAddr{at, next}] = true
			at = next
		}
	}
	if got := forwarded() - before; got != uint64(len(tree)) || len(tree) >= 3*4 {
		t.Errorf("%d copies for a tree of %d links", got, len(tree))
	}
	// Nobody renews: the branches end.
	n.pass(12 * time.Second)
	data(2)
	// One renews: it alone gets more.
	receivers = []string{"r2"}
	subscribe()
	data(3)
	for r, want := range map[string]int{"r1": 1, "r2": 2, "r3": 1} {
		if got := len(n.nodes[r].got); got != want {
			t.Errorf("%s got %d capsules, want %d", r, got, want)
		}
	}
}

func TestHostileCapsulesAreKilledAndPingGoesOn(t *testing.T) {
	n := newNetwork(t)
	ping := n.load("ping/protocol.yaml", "s1")
	reasons := map[string]vm.Reason{"loop": vm.OutOfFuel, "greedy": vm.OutOfMemory, "recursion": vm.OutOfStack}
	for _, name := range []string{"loop", "greedy", "recursion", "flood"} {
		p := n.load("hostile/"+name+".yaml", "r3")
		for i := range uint32(5) {
			n.send(p, name, "r3", "r2", 0, words(i, 0))
		}
	}
	for i := range uint32(20) {
		n.send(ping, "ping", "s1", "r3", 0, words(i, 0))
		n.pass(50 * time.Millisecond)
	}
	if got := len(n.nodes["s1"].got); got != 20 {
		t.Errorf("%d of 20 pings came back beside the attack", got)
	}
	kills, total, err := n.nodes["r3"].ee.Kills()
	if err != nil || total != 15 {
		t.Errorf("%d kills (%v), want 15", total, err)
	}
	seen := map[string]int{}
	for _, k := range kills {
		seen[k.Class]++
		if k.Reason != reasons[k.Class].String() {
			t.Errorf("%s was killed because: %s, want %s", k.Class, k.Reason, reasons[k.Class])
		}
	}
	if len(seen) != 3 || seen["loop"] != 5 {
		t.Errorf("kills by class: %v", seen)
	}
	// flood goes on to the next nodes, whose memory for it is bounded.
	if got := n.nodes["e"].ee.Stats().Counts.StateRefused; got != 0 {
		t.Errorf("%d values refused: a flood pushes out its own old values", got)
	}
}
