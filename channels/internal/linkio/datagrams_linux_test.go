package linkio

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// rig is an outbox and a collection of datagrams that go to a UDP socket of this machine. The kernel refuses those for port 0.
type rig struct {
	t       *testing.T
	pool    *packet.Pool
	out     *Outbox
	grams   *Datagrams
	counts  Counters
	tx, rx  int
	to      netip.AddrPort
	nowhere netip.AddrPort
}

func newRig(t *testing.T) *rig {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 256})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, pool: pool, out: NewOutbox(), grams: NewDatagrams(false)}
	here := netip.MustParseAddrPort("127.0.0.1:0")
	if r.tx, _, err = sys.OpenUDP(here, 1<<16); err != nil {
		t.Fatal(err)
	}
	if r.rx, r.to, err = sys.OpenUDP(here, 1<<20); err != nil {
		t.Fatal(err)
	}
	r.nowhere = netip.AddrPortFrom(r.to.Addr(), 0)
	t.Cleanup(func() {
		if n := pool.Stats().ByState[packet.Held]; n != 0 {
			t.Errorf("%d packets were not freed", n)
		}
		unix.Close(r.tx)
		unix.Close(r.rx)
		pool.Close()
	})
	return r
}

func (r *rig) packet(n byte, size int) *packet.Packet {
	r.t.Helper()
	p := r.pool.Cache(0).Alloc(packet.Node)
	if p == nil {
		r.t.Fatal("no packet memory")
	}
	p.Put(size)[0] = n
	return p
}

// put adds datagrams of 100 bytes, numbered from first on; true are those that the kernel will refuse.
func (r *rig) put(first byte, wrong ...bool) {
	r.t.Helper()
	for i, w := range wrong {
		to := r.to
		if w {
			to = r.nowhere
		}
		b := make([]byte, 100)
		b[0] = first + byte(i)
		if !r.grams.Put(b, to) {
			r.t.Fatal("full")
		}
	}
}

func (r *rig) flush(refused func(err error, before int) Next) (sent int) {
	return r.grams.Flush(r.tx, &r.counts, refused)
}

// got returns the numbers of the packets that have arrived.
func (r *rig) got() (list []byte) {
	var b [4096]byte
	for {
		n, _, err := unix.Recvfrom(r.rx, b[:], unix.MSG_DONTWAIT)
		if err != nil || n == 0 {
			return list
		}
		list = append(list, b[0])
	}
}

func TestDatagramsLeaveOutWhatIsRefused(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		leavesOut(t, newRig(t), []byte{0, 2, 5}, []int{0, 1, 2})
	})
	t.Run("runs", func(t *testing.T) {
		r := newRig(t)
		r.grams.Join(true)
		// The three to nowhere are a run, which is refused and then each of it.
		leavesOut(t, r, []byte{0, 2, 5}, []int{0, 1, 2, 3})
	})
}

func leavesOut(t *testing.T, r *rig, arrive []byte, asked []int) {
	r.put(0, false, true, false, true, true, false)
	var refused []int
	sent := r.flush(func(err error, before int) Next {
		if err != unix.EINVAL {
			t.Errorf("refused by %v", err)
		}
		refused = append(refused, before)
		return Skip
	})
	if got := r.got(); sent != 3 || !slices.Equal(got, arrive) || !slices.Equal(refused, asked) {
		t.Errorf("sent %d, received %v, refused after %v", sent, got, refused)
	}
	if s := r.counts.Stats(); s != (nodeos.LinkStats{TxPackets: 3, TxBytes: 300, TxDrops: 3}) {
		t.Errorf("%+v", s)
	}
	if sent := r.flush(nil); sent != 0 {
		t.Errorf("what is empty sent %d", sent)
	}
}

func TestDatagramsStopAndTryAgain(t *testing.T) {
	r := newRig(t)
	r.put(0, false, true, false)
	if sent := r.flush(func(error, int) Next { return Stop }); sent != 1 {
		t.Errorf("sent %d", sent)
	}
	r.put(10, false, true, false)
	asked := 0
	sent := r.flush(func(_ error, before int) Next {
		if asked++; before < 2 {
			return Again
		}
		return Skip
	})
	if got := r.got(); sent != 2 || asked != 3 || !slices.Equal(got, []byte{0, 10, 12}) {
		t.Errorf("sent %d, asked %d times, received %v", sent, asked, got)
	}
	if s := r.counts.Stats(); s != (nodeos.LinkStats{TxPackets: 3, TxBytes: 300, TxDrops: 3}) {
		t.Errorf("%+v", s)
	}
}

// TestRunIsSentSingly sends through a socket that takes no runs but single datagrams, and gives up in the middle of one.
func TestRunIsSentSingly(t *testing.T) {
	r := newRig(t)
	r.grams.Join(true)
	if err := unix.SetsockoptInt(r.tx, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	r.put(0, false, false, true, false)
	var refused []int
	sent := r.flush(func(err error, before int) Next {
		refused = append(refused, before)
		return Skip
	})
	if got := r.got(); sent != 3 || !slices.Equal(got, []byte{0, 1, 3}) || !slices.Equal(refused, []int{0, 1}) {
		t.Errorf("sent %d, received %v, refused after %v", sent, got, refused)
	}
	r.put(10, true, true, true)
	if sent := r.flush(func(err error, before int) Next { return []Next{Again, Skip, Again, Skip, Stop}[before] }); sent != 0 {
		t.Errorf("sent %d", sent)
	}
	if s := r.counts.Stats(); s != (nodeos.LinkStats{TxPackets: 3, TxBytes: 300, TxDrops: 4}) {
		t.Errorf("%+v", s)
	}
}

// TestDatagramsOrder sends datagrams of random lengths to random addresses, and receives at each what was sent there, whole and in order.
func TestDatagramsOrder(t *testing.T) {
	rng := clock.NewRand(1, 1)
	for _, join := range []bool{true, false} {
		r := newRig(t)
		r.grams.Join(join)
		type end struct {
			fd   int
			at   netip.AddrPort
			want [][]byte
		}
		var ends []*end
		for range 20 {
			fd, at, err := sys.OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			ends = append(ends, &end{fd: fd, at: at})
		}
		sent, put := 0, 0
		flush := func() {
			sent += r.flush(func(err error, _ int) Next {
				t.Error(err)
				return Stop
			})
			var b [1 << 16]byte
			for _, e := range ends {
				for i, w := range e.want {
					n, _, err := unix.Recvfrom(e.fd, b[:], unix.MSG_DONTWAIT)
					if err != nil || !bytes.Equal(b[:n], w) {
						t.Fatalf("datagram %d of %d: %v, %d bytes %.20x, want %d %.20x", i, len(e.want), err, n, b[:n], len(w), w)
					}
				}
				e.want = nil
			}
		}
		for range 300 {
			active, sizes := 1+rng.IntN(len(ends)), []int{0, 1, 64, 64, 64, 64, 500, 1400, 9000, 65507}[:1+rng.IntN(10)]
			for range 1 + rng.IntN(maxPackets) {
				e := ends[rng.IntN(active)]
				b := make([]byte, sizes[rng.IntN(len(sizes))])
				for i := range b {
					b[i] = byte(put + i)
				}
				if !r.grams.Put(b, e.at) {
					flush()
					if !r.grams.Put(b, e.at) {
						t.Fatalf("%d bytes have no room", len(b))
					}
				}
				e.want = append(e.want, b)
				put++
			}
			flush()
			if r.grams.slots != [2 * sys.MaxMsgs]uint8{} || r.grams.tip != 0 {
				t.Fatal("addresses are kept")
			}
		}
		if s := r.counts.Stats(); sent != put || s.TxPackets != uint64(put) || s.TxDrops != 0 {
			t.Errorf("%d of %d sent: %+v", sent, put, s)
		}
	}
}

// TestDatagramsAreJoined counts messages and the pieces that the kernel has to look at.
func TestDatagramsAreJoined(t *testing.T) {
	r := newRig(t)
	r.grams.Join(true)
	b := make([]byte, 100)
	for i := range maxPackets {
		if !r.grams.Put(b, r.to) {
			t.Fatalf("full with %d", i)
		}
	}
	runs := maxPackets / sys.UDPMaxSegments()
	if r.grams.Put(b, r.to) || r.grams.nruns != runs || r.grams.nparts != runs {
		t.Errorf("%d datagrams to one address: %d runs of %d pieces, want %d", r.grams.n, r.grams.nruns, r.grams.nparts, runs)
	}
	r.flush(nil)
	for i := range sys.MaxMsgs + 1 {
		if ok := r.grams.Put(b, netip.AddrPortFrom(r.to.Addr(), uint16(1+i))); ok != (i < sys.MaxMsgs) {
			t.Errorf("address %d is taken: %v", i, ok)
		}
	}
	r.flush(func(error, int) Next { return Stop })
	for i := range sys.MaxMsgs {
		r.grams.Put(b, netip.AddrPortFrom(r.to.Addr(), uint16(1+i%8)))
	}
	if r.grams.nruns != 8 || r.grams.nparts != 16 {
		t.Errorf("to eight addresses in turn: %d runs of %d pieces", r.grams.nruns, r.grams.nparts)
	}
	if n := testing.AllocsPerRun(20, func() {
		r.flush(func(error, int) Next { return Stop })
		for i := range sys.MaxMsgs {
			r.grams.Put(b, netip.AddrPortFrom(r.to.Addr(), r.to.Port()+uint16(i%2)))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestDatagramsBundle sends packets of random lengths to random addresses in bundles, and takes apart what arrives: whole, in order, no datagram
// longer than a bundle, and of what one address got without a flush between all but the last of a run equally long.
func TestDatagramsBundle(t *testing.T) {
	const length = 1472
	rng := clock.NewRand(1, 2)
	for _, join := range []bool{true, false} {
		r := newRig(t)
		r.grams.Join(join)
		r.grams.Bundle(length)
		type end struct {
			fd   int
			at   netip.AddrPort
			want [][]byte
		}
		var ends []*end
		for range 9 {
			fd, at, err := sys.OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			ends = append(ends, &end{fd: fd, at: at})
		}
		put, datagrams := 0, 0
		flush := func() {
			r.flush(func(err error, _ int) Next {
				t.Error(err)
				return Stop
			})
			var b [1 << 16]byte
			for _, e := range ends {
				for len(e.want) > 0 {
					n, _, err := unix.Recvfrom(e.fd, b[:], unix.MSG_DONTWAIT)
					if err != nil || n > length {
						t.Fatalf("%d packets are missing: %v, datagram of %d", len(e.want), err, n)
					}
					datagrams++
					if _, ok := CheckBundle(b[:n]); !ok {
						t.Fatalf("not a bundle: %x", b[:n])
					}
					for p, at, ok := NextInBundle(b[:n], 0); ok; p, at, ok = NextInBundle(b[:n], at) {
						if len(e.want) == 0 || !bytes.Equal(p, e.want[0]) {
							t.Fatalf("got %.20x of %d bytes with %d to come", p, len(p), len(e.want))
						}
						e.want = e.want[1:]
					}
				}
			}
		}
		bytesPut := 0
		for range 300 {
			active, sizes := 1+rng.IntN(len(ends)), []int{64, 0, 1, 256, 576, 700, 735, 1400, length - BundleOverhead}[:1+rng.IntN(9)]
			for range 1 + rng.IntN(maxPackets) {
				e := ends[rng.IntN(active)]
				b := make([]byte, sizes[rng.IntN(len(sizes))])
				for i := range b {
					b[i] = byte(put + i)
				}
				if !r.grams.Put(b, e.at) {
					flush()
					if !r.grams.Put(b, e.at) {
						t.Fatalf("%d bytes have no room", len(b))
					}
				}
				e.want = append(e.want, b)
				bytesPut += len(b)
				put++
			}
			flush()
		}
		if s := r.counts.Stats(); s.TxPackets != uint64(put) || s.TxBytes != uint64(bytesPut) || s.TxDrops != 0 {
			t.Errorf("%d put: %+v", put, s)
		}
		if datagrams > put*2/3 {
			t.Errorf("%d packets in %d datagrams", put, datagrams)
		}

		// The kernel refuses one run of bundles: its packets are lost, and counted as packets.
		before := r.counts.Stats()
		for i := range 60 {
			to := r.to
			if i%2 == 0 {
				to = r.nowhere
			}
			if !r.grams.Put(make([]byte, 200), to) {
				t.Fatal("full")
			}
		}
		r.flush(func(error, int) Next { return Skip })
		if s := r.counts.Stats(); s.TxPackets-before.TxPackets != 30 || s.TxDrops != 30 || s.TxBytes-before.TxBytes != 6000 {
			t.Errorf("30 of 60 refused: %+v after %+v", s, before)
		}
	}
}

// TestBundlesAreFilled shows the neighbours' packets in each other's place never: filler is zero.
func TestBundlesAreFilled(t *testing.T) {
	r := newRig(t)
	r.grams.Join(true)
	secret := bytes.Repeat([]byte{0xa5}, 1466)
	r.grams.Bundle(1472)
	for range 20 {
		r.grams.Put(secret, r.nowhere)
	}
	r.flush(func(error, int) Next { return Skip })
	for range 10 {
		r.grams.Put(make([]byte, 800), r.to)
	}
	r.flush(nil)
	var b [4096]byte
	for i := range 10 {
		n, _, err := unix.Recvfrom(r.rx, b[:], unix.MSG_DONTWAIT)
		if want := 1472; i < 9 && n != want || i == 9 && n != 806 || err != nil || bytes.IndexByte(b[:n], 0xa5) >= 0 {
			t.Fatalf("datagram %d: %d bytes, %v: %x", i, n, err, b[:n])
		}
	}
}
