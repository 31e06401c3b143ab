package linkio

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
)

// connect connects the rig's sending socket.
func (r *rig) connect(port uint16) {
	r.t.Helper()
	if err := unix.Connect(r.tx, &unix.SockaddrInet4{Port: int(port), Addr: r.to.Addr().As4()}); err != nil {
		r.t.Fatal(err)
	}
}

// The socket cuts into datagrams of ten bytes and refuses what would be more than 128 of them.
func TestOutbox(t *testing.T) {
	for _, v := range []struct {
		answers []Next
		got     []byte
		asked   int
	}{
		{[]Next{Skip, Skip, Skip}, []byte{0, 2, 5}, 3},
		{[]Next{Again, Again, Skip, Skip, Skip}, []byte{0, 2, 5}, 5},
		{[]Next{Skip, Stop}, []byte{0, 2}, 2},
	} {
		r := newRig(t)
		r.connect(r.to.Port())
		if err := unix.SetsockoptInt(r.tx, unix.SOL_UDP, unix.UDP_SEGMENT, 10); err != nil {
			t.Fatal(err)
		}
		for i, wrong := range []bool{false, true, false, true, true, false} {
			size := 10
			if wrong {
				size = 1500
			}
			r.out.Put(r.packet(byte(i), size))
		}
		asked := 0
		sent := r.out.Flush(r.pool.Cache(0), r.tx, &r.counts, func(err error, before int) Next {
			if err != unix.EINVAL || before != asked {
				t.Errorf("refused by %v after %d, want after %d", err, before, asked)
			}
			asked++
			return v.answers[before]
		})
		if got := r.got(); sent != len(v.got) || !slices.Equal(got, v.got) || asked != v.asked {
			t.Errorf("answers %v: sent %d, received %v, asked %d times", v.answers, sent, got, asked)
		}
		n := uint64(len(v.got))
		if s := r.counts.Stats(); s != (nodeos.LinkStats{TxPackets: n, TxBytes: 10 * n, TxDrops: 6 - n}) {
			t.Errorf("%+v", s)
		}
		if sent := r.out.Flush(r.pool.Cache(0), r.tx, &r.counts, nil); sent != 0 {
			t.Errorf("an empty outbox sent %d", sent)
		}
	}
}

// TestOutboxIsFull sends as many packets as an outbox takes, without addresses, through a connected socket; and shows that nothing
// is allocated on the way.
func TestOutboxIsFull(t *testing.T) {
	r := newRig(t)
	r.connect(r.to.Port())
	stop := func(error, int) Next { return Stop }
	round := func() {
		for i := range sys.MaxMsgs {
			if full := r.out.Put(r.packet(byte(i), 20)); full != (i == sys.MaxMsgs-1) {
				t.Fatalf("full is %v with %d packets", full, i+1)
			}
		}
		r.out.Flush(r.pool.Cache(0), r.tx, &r.counts, stop)
	}
	round()
	if s := r.counts.Stats(); s != (nodeos.LinkStats{TxPackets: sys.MaxMsgs, TxBytes: 20 * sys.MaxMsgs}) || len(r.got()) != sys.MaxMsgs {
		t.Errorf("%+v", s)
	}
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("a round allocates %v times", n)
	}
}
