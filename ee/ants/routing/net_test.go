package routing

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// wire is a cable with any number of ends on one virtual clock.
type wire struct {
	net   *network
	delay time.Duration
	loss  float64
	down  bool
	ends  []*end
	sent  int
}

// end is a nodeos.Link of the tests.
type end struct {
	wire  *wire
	info  nodeos.LinkInfo
	rx    *nodeos.Task
	queue []frame
	dead  bool
}

type frame struct {
	at   clock.Time
	data []byte
}

func (e *end) Info() nodeos.LinkInfo { return e.info }

func (e *end) Attach(w *nodeos.Worker, rx *nodeos.Task) error { e.rx = rx; return nil }

func (e *end) Receive(c *packet.Cache, b *packet.Batch) bool {
	now := e.wire.net.clk.Now()
	for len(e.queue) > 0 && e.queue[0].at <= now && b.Room() > 0 {
		if p := c.AllocFrom(packet.Node, e.queue[0].data); p != nil {
			p.Anno.Time = now
			b.Append(p)
		}
		e.queue = e.queue[1:]
	}
	return len(e.queue) > 0 && e.queue[0].at <= now
}

func (e *end) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		e.wire.carry(e, append([]byte(nil), p.Data()...))
	}
	c.FreeBatch(b)
}

func (w *wire) carry(from *end, data []byte) {
	w.sent++
	if w.down {
		return
	}
	for _, to := range w.ends {
		if to == from || to.dead {
			continue
		}
		if dst := [6]byte(data); dst[0]&1 == 0 && dst != to.info.HWAddr {
			continue
		}
		if w.loss > 0 && w.net.rand.Float64() < w.loss {
			continue
		}
		to.queue = append(to.queue, frame{w.net.clk.Now().Add(w.delay), data})
	}
}

func (e *end) Flush(*packet.Cache)       {}
func (e *end) Claim(nodeos.Claims) error { return nil }
func (e *end) Stats() nodeos.LinkStats   { return nodeos.LinkStats{} }
func (e *end) Detach(*packet.Cache)      {}
func (e *end) Close() error              { e.dead = true; return nil }
func (e *end) next() (at clock.Time)     { return e.queue[0].at }
func (e *end) inject(data []byte)        { e.queue = append(e.queue, frame{e.wire.net.clk.Now(), data}) }
func (e *end) prefix() netip.Prefix      { return e.info.Prefixes[0] }
func mac(node, link int) [6]byte {
	return [6]byte{2, 'j', 'n', byte(node >> 8), byte(node), byte(link)}
}
func addr(i int) NodeAddr                { return NodeAddr(10<<24 | 255<<16 | uint32(i+1)) }
func (n *network) since(d time.Duration) { n.runTo(n.clk.Now().Add(d)) }
func (b *box) hop(to int) *NextHop       { return b.r.Table().NextHop(addr(to)) }
func (b *box) reaches() int              { return len(b.r.Table().Nodes()) }
func ms(n int) time.Duration             { return time.Duration(n) * time.Millisecond }
func (n *network) events(k EventKind) (es []Event) {
	for _, e := range n.log {
		if e.Kind == k {
			es = append(es, e)
		}
	}
	return es
}

// box is a node of the test network; its links live longer than it, like cables.
type box struct {
	net  *network
	id   int
	host bool
	ends []*end
	spec Spec
	node *nodeos.Node
	r    *Router
}

// network is nodes and wires on one clock.
type network struct {
	t     testing.TB
	clk   *clock.Virtual
	rand  *clock.Rand
	seed  uint64
	boxes []*box
	wires []*wire
	log   []Event
	turns int
	six   bool // links have IPv6 addresses only
}

func newNetwork(t testing.TB, seed uint64, nodes int) *network {
	n := &network{
		t: t, seed: seed, rand: clock.NewRand(seed, 99),
		clk: clock.NewVirtual(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)),
	}
	for i := range nodes {
		n.boxes = append(n.boxes, &box{net: n, id: i})
	}
	t.Cleanup(func() {
		for _, b := range n.boxes {
			b.kill()
		}
	})
	return n
}

// join puts a wire between nodes; their addresses on it are of one prefix.
func (n *network) join(nodes ...int) *wire {
	w := &wire{net: n, delay: ms(1)}
	k := len(n.wires)
	for i, id := range nodes {
		b := n.boxes[id]
		e := &end{wire: w, info: nodeos.LinkInfo{
			Name: fmt.Sprintf("eth%d", len(b.ends)), Driver: "test", Base: demux.Ether, MTU: 1500, HWAddr: mac(id, len(b.ends)),
			Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(k >> 8), byte(k), byte(i + 1)}), 24)},
		}}
		if n.six {
			e.info.Prefixes = []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 1, byte(k >> 8), byte(k), 15: byte(i + 1)}), 64),
				netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80, 14: byte(k), 15: byte(i + 1)}), 64),
			}
		}
		w.ends = append(w.ends, e)
		b.ends = append(b.ends, e)
	}
	n.wires = append(n.wires, w)
	return w
}

// start runs a node on its links.
func (b *box) start() {
	b.net.t.Helper()
	node, err := nodeos.NewNode(nodeos.NodeSpec{
		Name: fmt.Sprint("n", b.id), Clock: b.net.clk, Seed: b.net.seed + uint64(b.id), Stepped: true,
		Packets: packet.PoolSpec{Frames: 256},
	})
	if err != nil {
		b.net.t.Fatal(err)
	}
	spec := b.spec
	spec.Addr, spec.Host = addr(b.id), b.host
	spec.OnEvent = func(e Event) { b.net.log = append(b.net.log, e) }
	for _, e := range b.ends {
		e.queue, e.dead = nil, false
		e.info.Number = node.NextLinkNumber()
		if err := node.AddLink(e, 0); err != nil {
			b.net.t.Fatal(err)
		}
		spec.Links = append(spec.Links, LinkSpec{Name: e.info.Name})
	}
	if b.r, err = New(node.Root(), spec); err != nil {
		b.net.t.Fatal(err)
	}
	b.node = node
}

// kill stops a node without a word.
func (b *box) kill() {
	if b.node == nil {
		return
	}
	for _, e := range b.ends {
		e.dead = true // what Close still sends is lost
	}
	w := make([]bool, len(b.ends))
	for i, e := range b.ends {
		w[i], e.wire.down = e.wire.down, true
	}
	if err := b.node.Close(); err != nil {
		b.net.t.Error(err)
	}
	for i, e := range b.ends {
		e.wire.down = w[i]
	}
	b.node, b.r = nil, nil
}

func (n *network) startAll() {
	for _, b := range n.boxes {
		b.start()
	}
}

// runTo drives the network until a time.
func (n *network) runTo(until clock.Time) {
	for {
		for again := true; again; {
			again = false
			for _, b := range n.boxes {
				if b.node == nil {
					continue
				}
				for _, e := range b.ends {
					if len(e.queue) > 0 && e.next() <= n.clk.Now() {
						e.rx.Wake()
					}
				}
				n.turns++
				if b.node.Step() {
					again = true
				}
			}
		}
		at := clock.Never
		for _, b := range n.boxes {
			if b.node == nil {
				continue
			}
			at = min(at, b.node.NextEvent())
			for _, e := range b.ends {
				if len(e.queue) > 0 {
					at = min(at, e.next())
				}
			}
		}
		if at > until {
			n.clk.AdvanceTo(until)
			return
		}
		n.clk.AdvanceTo(max(at, n.clk.Now()))
	}
}

// until runs until cond holds and returns how long that took; it fails after limit.
func (n *network) until(limit time.Duration, what string, cond func() bool) time.Duration {
	n.t.Helper()
	start := n.clk.Now()
	for !cond() {
		if n.clk.Now().Sub(start) >= limit {
			n.t.Fatalf("not within %s: %s\n%s", limit, what, n.text())
		}
		n.since(ms(1))
	}
	return n.clk.Now().Sub(start)
}

// converged reports whether every living node reaches every other and all databases are the same.
func (n *network) converged() bool {
	alive := 0
	var digest uint64
	for _, b := range n.boxes {
		if b.node != nil {
			alive++
			digest = b.r.db.digest
		}
	}
	for _, b := range n.boxes {
		if b.node != nil && (b.reaches() != alive-1 || b.r.db.digest != digest) {
			return false
		}
	}
	return true
}

// text is the event log.
func (n *network) text() string {
	var s strings.Builder
	for _, e := range n.log {
		j, err := json.Marshal(e)
		if err != nil {
			n.t.Fatal(err)
		}
		s.Write(j)
		s.WriteByte('\n')
	}
	return s.String()
}
