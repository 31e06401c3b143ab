package linkio

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// rig is an outbox whose packets go to a UDP socket of this machine. The kernel refuses those for port 0.
type rig struct {
	t       *testing.T
	pool    *packet.Pool
	out     *Outbox
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
	r := &rig{t: t, pool: pool, out: NewOutbox()}
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

// put fills the outbox with packets of 100 bytes, numbered from first on; true are those that the kernel will refuse.
func (r *rig) put(first byte, wrong ...bool) {
	r.t.Helper()
	for i, w := range wrong {
		to := r.to
		if w {
			to = r.nowhere
		}
		if r.out.PutTo(r.packet(first+byte(i), 100), to, false) {
			r.t.Fatal("full")
		}
	}
}

func (r *rig) flush(refused func(err error, before int) Next) (sent int) {
	return r.out.Flush(r.pool.Cache(0), r.tx, &r.counts, refused)
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

func TestOutboxLeavesOutWhatIsRefused(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		leavesOut(t, newRig(t), []byte{0, 2, 5}, []int{0, 1, 2})
	})
	t.Run("runs", func(t *testing.T) {
		r := newRig(t)
		r.out.Runs(true)
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
		t.Errorf("an empty outbox sent %d", sent)
	}
}

func TestOutboxStopsAndTriesAgain(t *testing.T) {
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

// TestOutboxIsFull sends as many packets as an outbox takes, without addresses, through a connected socket; and shows that nothing
// is allocated on the way.
func TestOutboxIsFull(t *testing.T) {
	r := newRig(t)
	if err := unix.Connect(r.tx, &unix.SockaddrInet4{Port: int(r.to.Port()), Addr: r.to.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	stop := func(error, int) Next { return Stop }
	round := func() {
		for i := range sys.MaxMsgs {
			if full := r.out.Put(r.packet(byte(i), 20)); full != (i == sys.MaxMsgs-1) {
				t.Fatalf("full is %v with %d packets", full, i+1)
			}
		}
		r.flush(stop)
	}
	round()
	if s := r.counts.Stats(); s != (nodeos.LinkStats{TxPackets: sys.MaxMsgs, TxBytes: 20 * sys.MaxMsgs}) || len(r.got()) != sys.MaxMsgs {
		t.Errorf("%+v", s)
	}
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("a round allocates %v times", n)
	}
}

// TestRunIsSentSingly sends through a socket that takes no runs but single datagrams, and gives up in the middle of one.
func TestRunIsSentSingly(t *testing.T) {
	r := newRig(t)
	r.out.Runs(true)
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

// TestDestinations compares the order of runs with one made by a stable sort, for random addresses.
func TestDestinations(t *testing.T) {
	r := newRig(t)
	rng := clock.NewRand(1, 1)
	d := &destinations{}
	for round := range 500 {
		addrs := 1 + rng.IntN(sys.MaxMsgs)
		n := 1 + rng.IntN(sys.MaxMsgs)
		type sent struct {
			p  *packet.Packet
			to netip.AddrPort
		}
		var want []sent
		rank := map[netip.AddrPort]int{}
		for i := range n {
			a := rng.IntN(addrs)
			to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(a % 3), byte(a)}), uint16(1+a%5))
			if _, ok := rank[to]; !ok {
				rank[to] = len(rank)
			}
			p := r.packet(byte(i), 1)
			want = append(want, sent{p, to})
			d.add(i, p, to)
		}
		slices.SortStableFunc(want, func(a, b sent) int { return rank[a.to] - rank[b.to] })
		var got [sys.MaxMsgs]*packet.Packet
		d.sort(&got)
		for i, w := range want {
			if got[i] != w.p || d.to[i] != w.to {
				t.Fatalf("round %d: place %d has another packet or address (%v, want %v)", round, i, d.to[i], w.to)
			}
			r.pool.Cache(0).Free(w.p)
		}
		if d.slots != [2 * sys.MaxMsgs]uint8{} {
			t.Fatalf("round %d: addresses are kept", round)
		}
	}
}
