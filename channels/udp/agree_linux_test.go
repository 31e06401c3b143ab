package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

var alone = map[string]string{"bundles": "false"}

// mixedLoad sends packets of many lengths, and receives them as they were sent; it reports whether the last ones came in a bundle with a key.
func mixedLoad(t *testing.T, c *packet.Cache, a, z *Link, packets int) (keyed bool) {
	t.Helper()
	var b packet.Batch
	var want, got [][]byte
	for i := range packets {
		want = append(want, payload(i, []int{64, 0, 256, 576, 1, 700, 1472}[i%7]))
		b.Append(to(c, z.local, want[i]))
	}
	a.Send(c, &b)
	a.Flush(c)
	conformance.Until(t, func() bool {
		z.Receive(c, &b)
		for _, p := range b.Packets() {
			got = append(got, bytes.Clone(p.Data()))
			if p.Anno.SrcPort != a.local.Port() {
				t.Errorf("from port %d", p.Anno.SrcPort)
			}
		}
		c.FreeBatch(&b)
		return len(got) >= len(want)
	})
	for i := range z.got { // the messages of the last reception
		n, _ := z.rxq.Len(i)
		keyed = keyed || linkio.Kind(z.bufs[i][:n]) == linkio.Keyed
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("received %d, others than the %d that were sent", len(got), len(want))
	}
	a.Receive(c, &b) // the answer, which is no packet
	if b.Len() != 0 {
		t.Fatalf("%d packets came back: %x", b.Len(), b.Packets()[0].Data())
	}
	return keyed
}

// TestAgree has links that agree on bundles, with and without runs, and one that is not to.
func TestAgree(t *testing.T) {
	for _, v := range []struct {
		a, z   map[string]string
		agreed bool
	}{
		{nil, nil, true},
		{map[string]string{"gso": "false"}, map[string]string{"gro": "false"}, true},
		{nil, map[string]string{"mtu": "100"}, true},
		{alone, nil, false},
	} {
		t.Run(fmt.Sprint(v.a, v.z), func(t *testing.T) {
			n := conformance.NewNode(t)
			c := n.Pool().Cache(0)
			a, z := open(t, n, "[::]:0", v.a), open(t, n, "127.0.0.1:0", v.z)
			if mixedLoad(t, c, a, z, 20) {
				t.Error("bundles before it is agreed")
			}
			if got := mixedLoad(t, c, a, z, 20); got != v.agreed {
				t.Errorf("bundles: %v, want %v", got, v.agreed)
			}
			if st := z.Stats(); st.RxDrops != 0 || st.RxPackets != 40 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// by is a plain socket beside a link, which speaks by hand.
type by struct {
	t    *testing.T
	fd   int
	at   netip.AddrPort
	link *Link
	c    *packet.Cache
}

func newBy(t *testing.T, opts map[string]string) *by {
	n := conformance.NewNode(t)
	s := &by{t: t, link: open(t, n, "127.0.0.1:0", opts), c: n.Pool().Cache(0)}
	var err error
	if s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	s.at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
	return s
}

func (s *by) say(b []byte) {
	s.t.Helper()
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrInet4{Port: int(s.link.local.Port()), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		s.t.Fatal(err)
	}
}

// heard returns the datagrams that have arrived.
func (s *by) heard() (all [][]byte) {
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(s.fd, b, unix.MSG_DONTWAIT)
		if err != nil {
			return all
		}
		all = append(all, bytes.Clone(b[:n]))
	}
}

// send makes the link send packets of three lengths in turn.
func (s *by) send(packets int) {
	var b packet.Batch
	for i := range packets {
		b.Append(to(s.c, s.at, payload(i, 100+100*(i%3))))
	}
	s.link.Send(s.c, &b)
	s.link.Flush(s.c)
}

// take makes the link receive, and returns its packets.
func (s *by) take() (got [][]byte) {
	var b packet.Batch
	for s.link.Receive(s.c, &b) {
	}
	for _, p := range b.Packets() {
		got = append(got, bytes.Clone(p.Data()))
	}
	s.c.FreeBatch(&b)
	return got
}

func words(kind byte, w ...uint64) []byte {
	b := []byte{'J', 'B', 2, kind}
	for _, v := range w {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// TestAgreedByHand is the documentation of the format as a test: what a link says, and what it does when it is told something.
func TestAgreedByHand(t *testing.T) {
	s := newBy(t, nil)
	s.send(9)
	heard := s.heard()
	if len(heard) != 10 || linkio.Kind(heard[9]) != linkio.Question || len(heard[0]) != 100 {
		t.Fatalf("%d datagrams: %.40x", len(heard), heard)
	}
	question := binary.BigEndian.Uint64(heard[9][4:])
	if s.send(9); len(s.heard()) != 9 { // it has asked
		t.Error("asks again at once, or bundles for who has not answered")
	}
	const key = 0x1122334455667788
	s.say(words(2, question^1, key)) // an answer to something else
	s.take()
	if s.send(9); len(s.heard()) != 9 {
		t.Error("believes a wrong answer")
	}
	s.say(words(2, question, key))
	if got := s.take(); len(got) != 0 {
		t.Errorf("the answer is a packet: %x", got)
	}
	s.send(9)
	heard = s.heard()
	var got [][]byte
	for _, h := range heard {
		if k, ok := linkio.CheckKeyed(h); !ok || k != key || len(h) > DefaultMTU {
			t.Fatalf("not a bundle: %d bytes %.40x", len(h), h)
		}
		for p, at, ok := linkio.NextInBundle(h, linkio.KeyedHead); ok; p, at, ok = linkio.NextInBundle(h, at) {
			got = append(got, p)
		}
	}
	if len(heard) != 2 || len(got) != 9 || !bytes.Equal(got[8], payload(8, 300)) {
		t.Errorf("%d packets in %d datagrams", len(got), len(heard))
	}
	// What does not fit in a bundle is a datagram, in its place, and may have a shorter one behind it in its run.
	var b packet.Batch
	for i, size := range []int{100, DefaultMTU, 100, 300} {
		b.Append(to(s.c, s.at, payload(i, size)))
	}
	s.link.Send(s.c, &b)
	s.link.Flush(s.c)
	if heard = s.heard(); len(heard) != 4 || !bytes.Equal(heard[1], payload(1, DefaultMTU)) {
		t.Errorf("%d datagrams, the second of %d bytes", len(heard), len(heard[1]))
	}
	// The end that had the key is gone, and another one has its address.
	s.say(words(3, key+1))
	s.take()
	if s.send(9); len(s.heard()) != 2 {
		t.Error("believes a refusal of another key")
	}
	s.say(words(3, key))
	s.take()
	s.send(9)
	if heard = s.heard(); len(heard) != 10 || linkio.Kind(heard[9]) != linkio.Question {
		t.Errorf("after the refusal %d datagrams", len(heard))
	}
}

// TestAskedByHand asks a link, and sends it bundles with its key and with others.
func TestAskedByHand(t *testing.T) {
	s := newBy(t, nil)
	s.say(words(1, 77, 0))
	if got := s.take(); len(got) != 0 {
		t.Errorf("the question is a packet: %x", got)
	}
	heard := s.heard()
	if len(heard) != 1 || linkio.Kind(heard[0]) != linkio.Answer || binary.BigEndian.Uint64(heard[0][4:]) != 77 {
		t.Fatalf("%x", heard)
	}
	key := binary.BigEndian.Uint64(heard[0][12:])
	bundle := append(words(0, key), 0, 1, 'x', 0, 0, 0, 2, 'y', 'z', 0xff, 0xff, 1)
	s.say(bundle)
	s.say([]byte("a packet"))
	s.say(append(words(0, key), 0, 9, 'x')) // a length beyond the end: a packet
	if got := s.take(); len(got) != 5 || string(got[0]) != "x" || len(got[1]) != 0 || string(got[2]) != "yz" || string(got[3]) != "a packet" || len(got[4]) != 15 {
		t.Errorf("%x", got)
	}
	wrong := bytes.Clone(bundle)
	wrong[11] ^= 1
	s.say(wrong)
	if got := s.take(); len(got) != 0 || s.link.Stats().RxDrops != 1 {
		t.Errorf("%x, %+v", got, s.link.Stats())
	}
	if heard = s.heard(); len(heard) != 1 || !bytes.Equal(heard[0], words(3, key^1)) {
		t.Errorf("%x", heard)
	}
	// A link that is not to know bundles takes all of these for packets, and one that knows no others drops them.
	s = newBy(t, alone)
	for _, b := range [][]byte{words(1, 77, 0), bundle, words(3, key)} {
		s.say(b)
	}
	if got := s.take(); len(got) != 3 || len(s.heard()) != 0 {
		t.Errorf("%x", got)
	}
	s = newBy(t, bundled)
	s.say(words(1, 77, 0))
	s.say(bundle)
	if got := s.take(); len(got) != 0 || s.link.Stats().RxDrops != 2 {
		t.Errorf("%x, %+v", got, s.link.Stats())
	}
}

// TestKeyedBundlesWait receives bundles while batches have room for few packets and the pool for none.
func TestKeyedBundlesWait(t *testing.T) {
	n := conformance.NewNode(t)
	c := n.Pool().Cache(0)
	a, z := open(t, n, "127.0.0.1:0", nil), open(t, n, "127.0.0.1:0", nil)
	mixedLoad(t, c, a, z, 30)
	var full packet.Batch
	var want, got [][]byte
	for i := range 60 {
		want = append(want, payload(i, 20+i))
		full.Append(to(c, z.local, want[i]))
	}
	a.Send(c, &full)
	a.Flush(c)
	for full.Room() > 7 {
		full.Append(c.Alloc(packet.Node))
	}
	held := full.Len()
	waits := 0
	conformance.Until(t, func() bool {
		if z.Receive(c, &full) {
			waits++
		}
		for _, p := range full.Packets()[held:] {
			got = append(got, bytes.Clone(p.Data()))
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

// TestAgreedDoesNotAllocate also shows that packets of one length go in runs and not in bundles, to whomever.
func TestAgreedDoesNotAllocate(t *testing.T) {
	n := conformance.NewNode(t)
	c := n.Pool().Cache(0)
	a, z := open(t, n, "127.0.0.1:0", nil), open(t, n, "127.0.0.1:0", nil)
	mixedLoad(t, c, a, z, 30)
	var b packet.Batch
	data := payload(1, 300)
	for _, odd := range []int{1, 0} {
		if n := testing.AllocsPerRun(50, func() {
			for i := range 64 {
				b.Append(to(c, z.local, data[:300-odd*(i%2)]))
			}
			a.Send(c, &b)
			a.Flush(c)
			for got := 0; got < 64; {
				z.Receive(c, &b)
				got += b.Len()
				c.FreeBatch(&b)
			}
			a.Receive(c, &b)
		}); n != 0 {
			t.Errorf("%v allocations for 64 packets", n)
		}
	}
	for range 8 {
		b.Append(to(c, z.local, data))
	}
	a.Send(c, &b)
	a.Flush(c)
	var sizes []int
	conformance.Until(t, func() bool {
		z.Receive(c, &b)
		for i := range z.got {
			k, _ := z.rxq.Len(i)
			sizes = append(sizes, k, z.rxq.Segment(i))
		}
		return b.Len() >= 8
	})
	c.FreeBatch(&b)
	if !slices.Equal(sizes, []int{8 * 300, 300}) {
		t.Errorf("messages and their datagrams: %v", sizes)
	}
}

// FuzzDatagram gives a link any datagram, and then one that it must take.
func FuzzDatagram(f *testing.F) {
	for _, b := range [][]byte{nil, []byte("JB"), words(1, 5, 0), words(2, 5, 6), words(3, 5), append(words(0, 5), 0, 1, 'x'), append(words(0, 5), make([]byte, 600)...)} {
		f.Add(b)
	}
	n := conformance.NewNode(f)
	c := n.Pool().Cache(0)
	l := open(f, n, "127.0.0.1:0", nil)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Close(fd) })
	dst := &unix.SockaddrInet4{Port: int(l.local.Port()), Addr: [4]byte{127, 0, 0, 1}}
	now := clock.Time(1)
	rng := clock.NewRand(1, 1)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 60000 {
			return
		}
		now += clock.Time(rng.IntN(1e9))
		if len(data) >= 12 && rng.IntN(2) == 0 { // half of them know the key
			binary.BigEndian.PutUint64(data[4:], l.peers.Key)
		}
		for _, d := range [][]byte{data, []byte("the end")} {
			if err := unix.Sendto(fd, d, 0, dst); err != nil {
				t.Skip(err)
			}
		}
		var b packet.Batch
		before := l.Stats()
		last := ""
		conformance.Until(t, func() bool {
			l.Receive(c, &b)
			for _, p := range b.Packets() {
				last = string(p.Data())
			}
			c.FreeBatch(&b)
			return last == "the end"
		})
		if st := l.Stats(); st.RxPackets-before.RxPackets > linkio.MostBundled+1 {
			t.Fatalf("%d packets of one datagram", st.RxPackets-before.RxPackets-1)
		}
	})
}
