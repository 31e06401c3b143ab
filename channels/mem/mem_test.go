package mem

import (
	"testing"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// probe is the other side of a segment: a stepped node whose one channel keeps whole frames.
type probe struct {
	node *nodeos.Node
	out  *nodeos.OutChan
	got  [][]byte
}

func newProbe(t testing.TB, net *Net, segment string) *probe {
	t.Helper()
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "probe", Clock: clock.NewReal(), Stepped: true, Packets: packet.PoolSpec{Frames: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	p := &probe{node: n}
	open(t, net, n, "p0", segment, 0, map[string]string{"promisc": "true"})
	if _, err = n.Root().NewInChan(nodeos.InChanSpec{Protocol: "p0", Handler: func(w *nodeos.Worker, b *packet.Batch) {
		for _, q := range b.Packets() {
			p.got = append(p.got, append([]byte(nil), q.Data()...))
		}
		w.Cache().FreeBatch(b)
	}}); err != nil {
		t.Fatal(err)
	}
	if p.out, err = n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "p0"}); err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t testing.TB, net *Net, n *nodeos.Node, name, segment string, ring int, o map[string]string) *Link {
	t.Helper()
	l, err := net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: name, Device: segment, Ring: ring, Opts: o})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.AddLink(l, 0); err != nil {
		t.Fatal(err)
	}
	return l.(*Link)
}

func (p *probe) inject(t testing.TB, frames ...[]byte) {
	w := p.node.Worker(0)
	var b packet.Batch
	for _, f := range frames {
		b.Append(w.Cache().AllocFrom(packet.Node, f))
	}
	p.out.Send(w, &b)
	p.node.Step()
}

func TestConformance(t *testing.T) {
	net := NewNet()
	p := newProbe(t, net, "seg")
	var last *Link
	conformance.Run(t, conformance.Fixture{
		Base: demux.Ether,
		Open: func(t *testing.T, n *nodeos.Node, name string, ring int) {
			p.got = nil
			last = open(t, net, n, name, "seg", ring, nil)
		},
		Inject: func(t *testing.T, frames ...[]byte) { p.inject(t, frames...) },
		Sent: func(t *testing.T) []byte {
			for range 1 << 30 {
				p.node.Step()
				if len(p.got) > 0 {
					f := p.got[0]
					p.got = p.got[1:]
					return f
				}
			}
			return nil
		},
		MAC: func() [6]byte { return last.Info().HWAddr },
	})
	if n := net.Segments(); n != 1 {
		t.Errorf("%d segments left beside the probe's", n-1)
	}
}

// TestDeterministic runs the same exchange twice between three stepped nodes on a virtual clock.
func TestDeterministic(t *testing.T) {
	run := func() (log string) {
		net := NewNet()
		var nodes []*probe
		for range 3 {
			nodes = append(nodes, newProbe(t, net, "seg"))
		}
		for i := range 30 {
			nodes[i%3].inject(t, conformance.UDPFrame([6]byte{255, 255, 255, 255, 255, 255}, 7, []byte{byte(i)}))
			for more := true; more; {
				more = false
				for _, n := range nodes {
					more = n.node.Step() || more
				}
			}
		}
		for _, n := range nodes {
			for _, f := range n.got {
				log += string(f)
			}
			log += "|"
			if len(n.got) != 20 {
				t.Errorf("%d frames at a node, want 20", len(n.got))
			}
		}
		return log
	}
	if run() != run() {
		t.Error("two runs differ")
	}
}

func TestOpenRefuses(t *testing.T) {
	n := conformance.NewNode(t)
	for _, s := range []nodeos.LinkSpec{
		{Name: "l0", Opts: map[string]string{"typo": "1"}},
		{Name: "l0", Opts: map[string]string{"mtu": "9000"}},
		{Name: "l0", Ring: -1},
	} {
		if l, err := NewNet().Open(n, 1, s); err == nil || errs.KindOf(err) == errs.Internal {
			t.Errorf("%+v: %v, %v", s, l, err)
		} else {
			t.Log(err)
		}
	}
}

// loop is a pair of links that are driven by hand.
func loop(t testing.TB) (a, b *Link, c *packet.Cache, frame []byte) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clock.NewReal(), Stepped: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	net := NewNet()
	a, b = open(t, net, n, "a", "s", 0, nil), open(t, net, n, "b", "s", 0, nil)
	return a, b, n.Worker(0).Cache(), conformance.UDPFrame(b.Info().HWAddr, 7, make([]byte, 22))
}

func exchange(t testing.TB, a, b *Link, c *packet.Cache, batch *packet.Batch, frame []byte) {
	for range 32 {
		batch.Append(c.AllocFrom(packet.Node, frame))
	}
	a.Send(c, batch)
	b.Receive(c, batch)
	if batch.Len() != 32 {
		t.Fatalf("%d frames came", batch.Len())
	}
	c.FreeBatch(batch)
}

func TestDoesNotAllocate(t *testing.T) {
	a, b, c, frame := loop(t)
	var batch packet.Batch
	for range 40 { // the queue's slots get their memory
		exchange(t, a, b, c, &batch, frame)
	}
	if n := testing.AllocsPerRun(200, func() { exchange(t, a, b, c, &batch, frame) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkExchange(tb *testing.B) {
	a, b, c, frame := loop(tb)
	var batch packet.Batch
	tb.ReportAllocs()
	for tb.Loop() {
		exchange(tb, a, b, c, &batch, frame)
	}
	tb.ReportMetric(float64(tb.Elapsed().Nanoseconds())/float64(tb.N)/32, "ns/packet")
}
