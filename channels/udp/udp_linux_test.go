package udp

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// plain are options for a datagram a message.
var plain = map[string]string{"gso": "false", "gro": "false"}

func openLink(t testing.TB, n *nodeos.Node, name, device string, ring int, opts map[string]string) *Link {
	t.Helper()
	l, err := n.OpenLink(nodeos.LinkSpec{Name: name, Driver: "udp", Device: device, Ring: ring, Opts: opts})
	if err != nil {
		t.Fatal(err)
	}
	return l.(*Link)
}

func peer(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	for _, v := range []struct {
		addr string
		opts map[string]string
	}{{"127.0.0.1:0", nil}, {"[::1]:0", nil}, {"127.0.0.1:0", plain}, {"127.0.0.1:0", bundled}} {
		t.Run(fmt.Sprint(v.addr, v.opts), func(t *testing.T) {
			c := peer(t, v.addr)
			var last *Link
			var datagram []byte // a bundle, of which the next packet is at at
			var at int
			conformance.Run(t, conformance.Fixture{
				Base: demux.UDP,
				Open: func(t *testing.T, n *nodeos.Node, name string, ring int) {
					last = openLink(t, n, name, v.addr, ring, v.opts)
				},
				Inject: func(t *testing.T, frames ...[]byte) {
					for _, f := range frames {
						if v.opts["bundles"] != "" {
							f = append([]byte{'J', 'B', 1, 0, byte(len(f) >> 8), byte(len(f))}, f...)
						}
						if _, err := c.WriteToUDPAddrPort(f, last.Local()); err != nil {
							t.Error(err)
						}
					}
				},
				Sent: func(t *testing.T) []byte {
					f, next, ok := linkio.NextInBundle(datagram, at)
					if at = next; ok {
						return f
					}
					datagram = make([]byte, 1<<16)
					c.SetReadDeadline(time.Now().Add(10 * time.Second))
					n, from, err := c.ReadFromUDPAddrPort(datagram)
					for err == nil && linkio.Kind(datagram[:n]) == linkio.Question { // this end knows no bundles
						n, from, err = c.ReadFromUDPAddrPort(datagram)
					}
					if err != nil || from != last.Local() {
						t.Errorf("from %v: %v", from, err)
					}
					if v.opts["bundles"] == "" {
						f, datagram = datagram[:n], nil
						return f
					}
					if _, ok := linkio.CheckBundle(datagram[:n]); !ok {
						t.Errorf("no bundle: %x", datagram[:n])
						return nil
					}
					datagram = datagram[:n]
					f, at, _ = linkio.NextInBundle(datagram, 0)
					return f
				},
				Dst: c.LocalAddr().(*net.UDPAddr).AddrPort(),
			})
		})
	}
}

// TestAddresses checks the sender's annotation, that an echo goes back, and both versions of IP on one socket.
func TestAddresses(t *testing.T) {
	n := conformance.NewNode(t)
	l := openLink(t, n, "u0", "[::]:0", 0, nil)
	out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "u0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Root().NewInChan(nodeos.InChanSpec{Protocol: "u0/udp", Handler: func(w *nodeos.Worker, b *packet.Batch) {
		for _, p := range b.Packets() {
			if p.Anno.Dst.IsValid() || p.Anno.DstPort != 0 {
				t.Errorf("destination %v:%d is set", p.Anno.Dst, p.Anno.DstPort)
			}
			p.Anno.Dst, p.Anno.DstPort = p.Anno.Src, p.Anno.SrcPort
		}
		out.Send(w, b)
	}}); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"127.0.0.1", "::1"} {
		c := peer(t, netip.AddrPortFrom(netip.MustParseAddr(addr), 0).String())
		to := netip.AddrPortFrom(netip.MustParseAddr(addr), l.Local().Port())
		for _, msg := range []string{"hello", ""} {
			if _, err := c.WriteToUDPAddrPort([]byte(msg), to); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			got, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:got]) != msg || from != to {
				t.Fatalf("%s: %q from %v, %v", addr, b[:got], from, err)
			}
		}
	}
	// Longer than a packet can hold: dropped and counted.
	c := peer(t, "127.0.0.1:0")
	if _, err := c.WriteToUDPAddrPort(make([]byte, 3000), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Local().Port())); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Stats().RxDrops != 1; {
		if time.Now().After(deadline) {
			t.Fatalf("stats %+v, want one drop", l.Stats())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	n := conformance.NewNode(t)
	used := openLink(t, n, "used", "127.0.0.1:0", 0, nil)
	for _, c := range []struct {
		spec nodeos.LinkSpec
		kind errs.Kind
	}{
		{nodeos.LinkSpec{Name: "u", Device: "eth0"}, errs.Invalid},
		{nodeos.LinkSpec{Name: "u", Device: "127.0.0.1:0", Opts: map[string]string{"typo": ""}}, errs.Invalid},
		{nodeos.LinkSpec{Name: "u", Device: "127.0.0.1:0", Opts: map[string]string{"mtu": "9000"}}, errs.TooBig},
		{nodeos.LinkSpec{Name: "u", Device: "192.0.2.77:0"}, errs.NotFound},
		{nodeos.LinkSpec{Name: "u", Device: used.Local().String()}, errs.Exists},
	} {
		if l, err := Open(n, 9, c.spec); errs.KindOf(err) != c.kind {
			t.Errorf("%+v: %v, %v, want %v", c.spec, l, err, c.kind)
		}
	}
}

// open opens a link that is driven by hand.
func open(t testing.TB, n *nodeos.Node, device string, opts map[string]string) *Link {
	t.Helper()
	got, err := Open(n, 1, nodeos.LinkSpec{Name: "u", Device: device, Opts: opts})
	if err != nil {
		t.Fatal(err)
	}
	l := got.(*Link)
	if notes := l.Info().Notes; len(notes) != 0 {
		t.Fatalf("notes %q: this needs UDP_SEGMENT and UDP_GRO (Linux 5.0)", notes)
	}
	t.Cleanup(func() {
		l.Detach(n.Pool().Cache(0))
		l.Close()
	})
	return l
}

// pair is two links driven by hand.
func pair(t testing.TB, opts map[string]string) (a, b *Link, c *packet.Cache) {
	n := conformance.NewNode(t)
	return open(t, n, "127.0.0.1:0", opts), open(t, n, "127.0.0.1:0", opts), n.Pool().Cache(0)
}

func exchange(t testing.TB, a, b *Link, c *packet.Cache, batch *packet.Batch, payload []byte) {
	for range 64 {
		p := c.AllocFrom(packet.Node, payload)
		p.Anno.Dst, p.Anno.DstPort = b.local.Addr(), b.local.Port()
		batch.Append(p)
	}
	a.Send(c, batch)
	a.Flush(c)
	for batch.Len() < 64 {
		b.Receive(c, batch)
	}
	c.FreeBatch(batch)
}

func TestDoesNotAllocate(t *testing.T) {
	for _, opts := range []map[string]string{nil, plain} {
		a, b, c := pair(t, opts)
		var batch packet.Batch
		payload := make([]byte, 64)
		if n := testing.AllocsPerRun(200, func() { exchange(t, a, b, c, &batch, payload) }); n != 0 {
			t.Errorf("%v: %v allocations", opts, n)
		}
	}
}
