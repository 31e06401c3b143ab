package udp

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

var bundled = map[string]string{"bundles": "true"}

// TestBundlesWait receives bundles while batches have room for a few packets only and the pool for none.
func TestBundlesWait(t *testing.T) {
	n := conformance.NewNode(t)
	a, b := open(t, n, "127.0.0.1:0", bundled), open(t, n, "127.0.0.1:0", bundled)
	c := n.Pool().Cache(0)
	var full packet.Batch
	var want, got [][]byte
	for i := range 60 {
		want = append(want, payload(i, 20+i))
		full.Append(to(c, b.local, want[i]))
	}
	a.Send(c, &full)
	a.Flush(c)
	for full.Room() > 7 {
		full.Append(c.Alloc(packet.Node))
	}
	held := full.Len()
	waits := 0
	conformance.Until(t, func() bool {
		var hoard []*packet.Packet
		if len(got) == 14 {
			for p := c.Alloc(packet.Node); p != nil; p = c.Alloc(packet.Node) {
				hoard = append(hoard, p)
			}
			if more := b.Receive(c, &full); !more || full.Len() != held {
				t.Errorf("without memory: more is %v, %d packets", more, full.Len()-held)
			}
			for _, p := range hoard {
				c.Free(p)
			}
		}
		if b.Receive(c, &full) {
			waits++
		}
		for _, p := range full.Packets()[held:] {
			got = append(got, bytes.Clone(p.Data()))
			if p.Anno.SrcPort != a.local.Port() {
				t.Errorf("from port %d", p.Anno.SrcPort)
			}
			c.Free(p)
		}
		full.Truncate(held)
		return len(got) >= len(want)
	})
	if !slices.EqualFunc(got, want, bytes.Equal) || waits == 0 {
		t.Errorf("received %d of %d, or others, and waited %d times", len(got), len(want), waits)
	}
	c.FreeBatch(&full)
}

// TestNotABundle sends what a link with bundles drops: a plain datagram, a cut one, and a packet that is too long; and shows that
// the link works on.
func TestNotABundle(t *testing.T) {
	n := conformance.NewNode(t)
	l, c := open(t, n, "127.0.0.1:0", bundled), n.Pool().Cache(0)
	if l.Info().MTU != DefaultMTU-6 {
		t.Errorf("MTU %d", l.Info().MTU)
	}
	fd, _, err := sys.OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 1<<18)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	long := append([]byte{'J', 'B', 1, 0, 0x20, 0}, make([]byte, 0x2000)...)
	for _, d := range [][]byte{[]byte("a plain datagram"), {}, {'J', 'B', 1, 0}, {'J', 'B', 1, 0, 0, 9, 1}, long, {'J', 'B', 1, 0, 0, 1, 'x', 0, 0}} {
		if err := unix.Sendto(fd, d, 0, &unix.SockaddrInet4{Port: int(l.local.Port()), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	got := receive(t, l, c, 2)
	if len(got) != 2 || string(got[0]) != "x" || len(got[1]) != 0 {
		t.Errorf("received %q", got)
	}
	if st := l.Stats(); st.RxDrops != 5 || st.RxPackets != 2 || st.RxBytes != 1 {
		t.Errorf("%+v", st)
	}
	var b packet.Batch
	b.Append(to(c, l.local, make([]byte, DefaultMTU-5)))
	l.Send(c, &b)
	if st := l.Stats(); st.TxDrops != 1 {
		t.Errorf("too long a packet: %+v", st)
	}
	if _, err := Open(n, 9, nodeos.LinkSpec{Name: "x", Device: "127.0.0.1:0", Opts: map[string]string{"bundles": "true", "mtu": "11"}}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("MTU 11: %v", err)
	}
}

func TestBundlesDoNotAllocate(t *testing.T) {
	n := conformance.NewNode(t)
	a, z := open(t, n, "127.0.0.1:0", bundled), open(t, n, "127.0.0.1:0", bundled)
	c := n.Pool().Cache(0)
	data := payload(1, 300)
	var b packet.Batch
	if n := testing.AllocsPerRun(50, func() {
		for range 64 {
			b.Append(to(c, z.local, data))
		}
		a.Send(c, &b)
		a.Flush(c)
		for got := 0; got < 64; {
			z.Receive(c, &b)
			got += b.Len()
			c.FreeBatch(&b)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 64 packets", n)
	}
}
