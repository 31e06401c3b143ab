package host_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// cutRig is a node with a source on one segment with the in-link, and a sink on a segment with each of two out-links.
type cutRig struct {
	*testing.T
	node  *nodeos.Node
	d     *nodeos.Domain
	table *host.Table
	gen   *nodeos.OutChan
	got   [2]atomic.Uint64 // packets, by sink
	mac   [2]atomic.Uint64 // last byte of the last destination
	seen  []atomic.Uint32  // how often each number has come
	sent  int
}

func newCutRig(t *testing.T, packets int) *cutRig {
	t.Helper()
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "t", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 2048}})
	check(t, err)
	r := &cutRig{T: t, node: n, table: host.New(), seen: make([]atomic.Uint32, packets)}
	t.Cleanup(func() { check(t, n.Close()) })
	net := mem.NewNet()
	for i, l := range [][2]string{{"gen", "one"}, {"in", "one"}, {"out0", "two"}, {"sink0", "two"}, {"out1", "three"}, {"sink1", "three"}} {
		link, err := net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: l[0], Device: l[1], Opts: map[string]string{"mac": "02:00:00:00:01:0" + string(rune('0'+i)), "promisc": "true"}})
		check(t, err)
		check(t, n.AddLink(link, 0))
	}
	r.d, err = n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "d"}})
	check(t, err)
	for i, name := range []string{"sink0", "sink1"} {
		_, err := r.d.NewInChan(nodeos.InChanSpec{Protocol: name, Quota: 1024, Handler: func(w *nodeos.Worker, b *packet.Batch) {
			for _, p := range b.Packets() {
				d := p.Data()
				if k := binary.BigEndian.Uint32(d[14+20:]); int(k) < len(r.seen) {
					r.seen[k].Add(1)
				}
				r.mac[i].Store(uint64(d[5]))
				r.got[i].Add(1)
			}
			w.Cache().FreeBatch(b)
		}})
		check(t, err)
	}
	r.gen, err = r.d.NewOutChan(nodeos.OutChanSpec{Protocol: "gen/ether", Address: "0x0800", LinkAddr: [6]byte{2, 0, 0, 0, 1, 1}})
	check(t, err)
	for i := range 2 {
		r.table.SetInterface(host.Interface{Index: i + 1, Name: "out" + string(rune('0'+i)), Up: true})
	}
	return r
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// send sends the next packets.
func (r *cutRig) send(n int) {
	r.Helper()
	r.node.Worker(0).Call(func() {
		w := r.node.Worker(0)
		var b packet.Batch
		for range n {
			var d [28]byte
			d[0], d[8] = 0x45, 64
			binary.BigEndian.PutUint32(d[20:], uint32(r.sent))
			p := w.Cache().AllocFrom(r.d.Owner(), d[:])
			if p == nil {
				break
			}
			r.sent++
			b.Append(p)
		}
		r.gen.Send(w, &b)
	})
}

func (r *cutRig) until(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("never: %s; sent %d, arrived %d and %d", what, r.sent, r.got[0].Load(), r.got[1].Load())
		}
	}
}

func (r *cutRig) route(i int, gw string) {
	r.table.SetRoute(host.RouteSpec{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Hops: []host.Hop{{Ifindex: i + 1, Gateway: netip.MustParseAddr(gw), Weight: 1}}})
}

func (r *cutRig) neighbor(i int, a string, last byte, s host.NeighborState) {
	r.table.SetNeighbor(i+1, netip.MustParseAddr(a), [6]byte{2, 0, 0, 0, 9, last}, s)
}

func (r *cutRig) cut() *host.Cut {
	r.Helper()
	c, err := host.NewCut(r.d, r.table, host.CutSpec{
		Chan: nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "in/ether", Address: "0x0800", Quota: 1024}, DecTTL: true},
		To:   netip.MustParseAddr("192.0.2.1"),
	})
	check(r.T, err)
	r.Cleanup(c.Close)
	return c
}

// TestCutFollowsTheRoute moves the route and the hardware address of the next hop while numbered packets pass. Each arrives once.
func TestCutFollowsTheRoute(t *testing.T) {
	const rounds, burst = 100, 64
	r := newCutRig(t, rounds*burst*4)
	r.route(0, "10.0.0.2")
	r.neighbor(0, "10.0.0.2", 10, host.Reachable)
	r.neighbor(1, "10.0.1.2", 20, host.Reachable)
	c := r.cut()
	if w := c.Way(); w.Link != "out0" || w.MAC[5] != 10 || w.Why != "" {
		t.Fatalf("at first it leads to %+v", w)
	}
	all := func() bool { return r.got[0].Load()+r.got[1].Load() == uint64(r.sent) }
	for i := range rounds {
		way := (i + 1) % 2
		r.send(burst)
		r.route(way, []string{"10.0.0.2", "10.0.1.2"}[way])
		r.send(burst) // by the old way or the new one
		r.until("the new way", func() bool { return c.Way().Link == "out"+string(rune('0'+way)) })
		was := r.got[way].Load()
		r.until("all have arrived", all)
		r.send(burst)
		r.until("all have arrived by the new way", func() bool { return all() && r.got[way].Load() >= was+burst })
		r.neighbor(way, []string{"10.0.0.2", "10.0.1.2"}[way], byte(100+i), host.Reachable)
		r.until("the new hardware address", func() bool { return c.Way().MAC[5] == byte(100+i) })
		r.send(burst)
		r.until("all have arrived at the new address", func() bool { return all() && r.mac[way].Load() == uint64(100+i) })
	}
	for i := range r.sent {
		if n := r.seen[i].Load(); n != 1 {
			t.Fatalf("packet %d came %d times", i, n)
		}
	}
	if s := c.Chan().Stats(); s.Packets != uint64(r.sent) || s.Invalid+s.Full+s.Gone != 0 {
		t.Errorf("sent %d, %+v", r.sent, s)
	}
}

// TestCutWithoutAWay: what comes while there is no next hop is dropped and counted; the old way is kept while the new one is looked for.
func TestCutWithoutAWay(t *testing.T) {
	r := newCutRig(t, 1000)
	c := r.cut()
	why := func(text string) {
		t.Helper()
		r.until(text, func() bool { return strings.Contains(c.Way().Why, text) })
	}
	invalid := func(n uint64) {
		t.Helper()
		r.until("packets are dropped", func() bool { return c.Chan().Stats().Invalid == n })
	}
	why("no route")
	r.send(5)
	invalid(5)
	r.route(0, "10.0.0.2")
	why("10.0.0.2 on out0 is not known")
	r.send(5)
	invalid(10)
	r.neighbor(0, "10.0.0.2", 10, host.Reachable)
	r.until("there is a way", func() bool { return c.Way().Why == "" })
	r.send(5)
	r.until("packets arrive", func() bool { return r.got[0].Load() == 5 })

	r.route(1, "10.0.1.2") // whose neighbour is not known: the old way holds
	r.until("the new way is missed", func() bool { w := c.Way(); return w.Link == "out0" && strings.Contains(w.Why, "10.0.1.2 on out1") })
	r.send(5)
	r.until("packets arrive by the old way", func() bool { return r.got[0].Load() == 10 })
	r.neighbor(1, "10.0.1.2", 20, host.Reachable)
	r.until("there is the new way", func() bool { w := c.Way(); return w.Link == "out1" && w.Why == "" })
	r.send(5)
	r.until("packets arrive by the new way", func() bool { return r.got[1].Load() == 5 })

	r.table.SetInterface(host.Interface{Index: 2, Name: "out1"}) // down, and with it the route
	why("no route")
	r.send(5)
	invalid(15)
	r.table.SetRoute(host.RouteSpec{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Kind: host.Blackhole})
	why("type blackhole")
	r.table.SetInterface(host.Interface{Index: 9, Name: "elsewhere", Up: true})
	r.table.SetNeighbor(9, netip.MustParseAddr("10.0.9.2"), [6]byte{2}, host.Permanent)
	r.route(8, "10.0.9.2")
	why("link elsewhere is not open")
	if _, err := host.NewCut(r.d, r.table, host.CutSpec{}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("without a destination: %v", err)
	}
}
