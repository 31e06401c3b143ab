package udp

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// payload is what datagram i of the given size carries.
func payload(i, size int) []byte {
	b := make([]byte, size)
	for j := range b {
		b[j] = byte(i + j*7)
	}
	return b
}

func to(c *packet.Cache, dst netip.AddrPort, data []byte) *packet.Packet {
	p := c.AllocFrom(packet.Node, data)
	p.Anno.Dst, p.Anno.DstPort = dst.Addr(), dst.Port()
	return p
}

// receive returns the next n datagrams of a link.
func receive(t *testing.T, l *Link, c *packet.Cache, n int) (got [][]byte) {
	t.Helper()
	conformance.Until(t, func() bool {
		var b packet.Batch
		l.Receive(c, &b)
		for _, p := range b.Packets() {
			got = append(got, bytes.Clone(p.Data()))
		}
		c.FreeBatch(&b)
		return len(got) >= n
	})
	return got
}

// TestRuns sends datagrams of many sizes to several links in turn. Each link gets its own, whole and in order, whichever
// side joins them.
func TestRuns(t *testing.T) {
	rng := clock.NewRand(1, 1)
	equal := func(n, size int) []int { return slices.Repeat([]int{size}, n) }
	random := func() (s []int) {
		for range 200 {
			s = append(s, []int{0, 1, 40, 576, 1400, 1472, rng.IntN(1473)}[rng.IntN(7)])
		}
		return s
	}
	for _, sizes := range []struct {
		name  string
		bytes []int
	}{
		{"one", equal(1, 100)},
		{"64 equal", equal(64, 100)},
		{"65 equal", equal(65, 100)},
		{"64 largest", equal(64, 1472)}, // more than 64 KiB
		{"last shorter", append(equal(10, 100), 99)},
		{"shorter and on", append(append(equal(5, 100), 1), equal(5, 100)...)},
		{"longer", append(equal(5, 100), equal(5, 101)...)},
		{"one byte", equal(64, 1)},
		{"empty", equal(10, 0)},
		{"empty between", append(append(equal(5, 100), 0, 0), equal(5, 100)...)},
		{"random", random()},
	} {
		for _, opts := range []map[string]string{nil, {"gso": "false"}, {"gro": "false"}, plain,
			{"bundles": "true", "mtu": "1478"}, {"bundles": "true", "mtu": "1478", "gro": "false"}, {"bundles": "true", "mtu": "1478", "gso": "false"}} {
			for _, links := range []int{1, 3, 8} {
				t.Run(fmt.Sprint(sizes.name, opts, links), func(t *testing.T) {
					n := conformance.NewNode(t)
					c := n.Pool().Cache(0)
					a := open(t, n, "[::]:0", opts)
					var ends []*Link
					for i := range links {
						ends = append(ends, open(t, n, []string{"127.0.0.1:0", "[::1]:0"}[i%2], opts))
					}
					want := make([][][]byte, links)
					var b packet.Batch
					for i, size := range sizes.bytes {
						for k, e := range ends {
							data := payload(i*links+k, size)
							want[k] = append(want[k], data)
							b.Append(to(c, e.local, data))
							if b.Room() == 0 {
								a.Send(c, &b)
							}
						}
					}
					a.Send(c, &b)
					a.Flush(c)
					for k, e := range ends {
						if got := receive(t, e, c, len(sizes.bytes)); !slices.EqualFunc(got, want[k], bytes.Equal) {
							t.Errorf("link %d received %d datagrams %.100x\nwant %d %.100x", k, len(got), got, len(want[k]), want[k])
						}
						if st := e.Stats(); st.RxDrops != 0 || st.RxPackets != uint64(len(sizes.bytes)) {
							t.Errorf("link %d: %+v", k, st)
						}
					}
					if st := a.Stats(); st.TxDrops != 0 || st.TxPackets != uint64(links*len(sizes.bytes)) {
						t.Errorf("%+v", st)
					}
				})
			}
		}
	}
}

// TestDroppedBetween drops packets to an address before there was one to it: the next one goes there all the same, and not where the last one went.
func TestDroppedBetween(t *testing.T) {
	n := conformance.NewNode(t)
	c := n.Pool().Cache(0)
	a, x, y := open(t, n, "127.0.0.1:0", map[string]string{"mtu": "100"}), open(t, n, "127.0.0.1:0", nil), open(t, n, "127.0.0.1:0", nil)
	var b packet.Batch
	b.Append(to(c, x.local, payload(1, 64)))
	b.Append(to(c, y.local, payload(2, 101))) // too long
	b.Append(to(c, y.local, payload(3, 64)))
	b.Append(to(c, y.local, payload(4, 64)))
	b.Append(to(c, x.local, payload(5, 64)))
	a.Send(c, &b)
	a.Flush(c)
	for _, e := range []struct {
		at   *Link
		want [][]byte
	}{{x, [][]byte{payload(1, 64), payload(5, 64)}}, {y, [][]byte{payload(3, 64), payload(4, 64)}}} {
		if got := receive(t, e.at, c, 2); !slices.EqualFunc(got, e.want, bytes.Equal) {
			t.Errorf("%x, want %x", got, e.want)
		}
	}
	if st := a.Stats(); st.TxDrops != 1 || st.TxPackets != 4 {
		t.Errorf("%+v", st)
	}
}

// run sends one run through a socket of its own, cut by the kernel.
func run(t *testing.T, dst *Link, n, segment, last int) (want [][]byte) {
	t.Helper()
	fd, _, err := sys.OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 1<<18)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	q := sys.NewMsgQueue()
	for i := range n {
		size := segment
		if i == n-1 {
			size = last
		}
		want = append(want, payload(i, size))
		q.SetPart(i, want[i])
	}
	q.SetRun(0, 0, n, segment, dst.local, false)
	if _, err := q.Send(fd, 0, 1); err != nil {
		t.Fatal(err)
	}
	return want
}

// TestRunIsJoined shows that the kernel delivers a run as one message.
func TestRunIsJoined(t *testing.T) {
	n := conformance.NewNode(t)
	l := open(t, n, "127.0.0.1:0", nil)
	run(t, l, 50, 1000, 300)
	l.rxq.SetFromLong(0, l.bufs[0])
	got := 0
	conformance.Until(t, func() bool {
		got, _ = l.rxq.Receive(l.sock, 1)
		return got == 1
	})
	if size, cut := l.rxq.Len(0); size != 49_300 || cut || l.rxq.Segment(0) != 1000 {
		t.Errorf("%d bytes, cut %v, in datagrams of %d", size, cut, l.rxq.Segment(0))
	}
}

// TestDropsLongDatagrams sends datagrams that are longer than a packet, alone and in a run.
func TestDropsLongDatagrams(t *testing.T) {
	for _, opts := range []map[string]string{nil, plain} {
		n := conformance.NewNode(t)
		l := open(t, n, "127.0.0.1:0", opts)
		c := n.Pool().Cache(0)
		run(t, l, 3, l.room, 7)
		run(t, l, 5, l.room+1, 7)
		run(t, l, 1, 60_000, 60_000)
		run(t, l, 1, 5, 5)
		var got [][]byte
		conformance.Until(t, func() bool {
			var b packet.Batch
			l.Receive(c, &b)
			for _, p := range b.Packets() {
				got = append(got, bytes.Clone(p.Data()))
			}
			c.FreeBatch(&b)
			return len(got) > 0 && len(got[len(got)-1]) == 5
		})
		// 5: of the second run all but its end, and the long one.
		if st := l.Stats(); len(got) != 5 || st.RxDrops != 5 || !bytes.Equal(got[1], payload(1, l.room)) || !bytes.Equal(got[3], payload(4, 7)) {
			t.Errorf("%v: received %d, %+v", opts, len(got), st)
		}
	}
}

// TestRunWaits receives a run while batches have room for a few packets only and the pool for none, and detaches in the midst of one.
func TestRunWaits(t *testing.T) {
	n := conformance.NewNode(t)
	l := open(t, n, "127.0.0.1:0", nil)
	c := n.Pool().Cache(0)
	const room = 7
	var full packet.Batch
	for full.Room() > room {
		full.Append(c.Alloc(packet.Node))
	}
	held := full.Len()
	want := append(run(t, l, 40, 1000, 300), run(t, l, 2, 10, 10)...)
	var got [][]byte
	var hoard []*packet.Packet
	conformance.Until(t, func() bool {
		more := l.Receive(c, &full)
		for _, p := range full.Packets()[held:] {
			got = append(got, bytes.Clone(p.Data()))
			c.Free(p)
		}
		full.Truncate(held)
		if len(got) == room { // no packet memory for once
			for p := c.Alloc(packet.Node); p != nil; p = c.Alloc(packet.Node) {
				hoard = append(hoard, p)
			}
			if more = l.Receive(c, &full); !more || full.Len() != held {
				t.Errorf("without memory: more is %v, %d packets", more, full.Len()-held)
			}
			for _, p := range hoard {
				c.Free(p)
			}
		}
		return len(got) == len(want) && !more
	})
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("received %d of %d, or others", len(got), len(want))
	}
	if hoard == nil {
		t.Error("the run came at once")
	}
	run(t, l, 40, 1000, 300)
	conformance.Until(t, func() bool {
		l.Receive(c, &full)
		return full.Len() > held
	})
	l.Detach(c)
	c.FreeBatch(&full)
	if held := n.Pool().Stats().ByState[packet.Held]; held != 0 {
		t.Errorf("%d packets are held", held)
	}
}

// TestEndRuns goes on without runs, and says so.
func TestEndRuns(t *testing.T) {
	a, b, c := pair(t, nil)
	var batch packet.Batch
	exchange(t, a, b, c, &batch, make([]byte, 64))
	a.endRuns()
	exchange(t, a, b, c, &batch, make([]byte, 64))
	if st := b.Stats(); st.RxPackets != 128 {
		t.Errorf("%+v", st)
	}
	if notes := a.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "a run was refused") {
		t.Errorf("notes %q", notes)
	}
}

// one is a socket that is used for a datagram a system call.
type one struct {
	fd   int
	addr netip.AddrPort
	q    *sys.MsgQueue
}

func newOne(tb testing.TB) one {
	fd, addr, err := sys.OpenUDP(netip.MustParseAddrPort("127.0.0.1:0"), 1<<20)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	return one{fd, addr, sys.NewMsgQueue()}
}

// exchange sends 64 datagrams, a call each, in turn to the others, which receive them, a call each.
func (o one) exchange(tb testing.TB, others []one, data [][]byte) {
	for i := range 64 {
		o.q.SetTo(0, data[i], others[i%len(others)].addr, false)
		if _, err := o.q.Send(o.fd, 0, 1); err != nil {
			tb.Fatal(err)
		}
	}
	var b [2048]byte
	for i := range 64 {
		o.q.SetFrom(0, b[:])
		if _, err := o.q.Receive(others[i%len(others)].fd, 1); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkExchange sends and receives 64 datagrams in one turn: a datagram a call, a datagram a message, and as runs, in turns
// of one run. The ratios are to a datagram a call.
func BenchmarkExchange(bm *testing.B) {
	mixed := make([]int, 64)
	rng := clock.NewRand(1, 1)
	for i := range mixed {
		mixed[i] = []int{64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1400}[rng.IntN(12)]
	}
	for _, v := range []struct {
		name  string
		sizes []int
		ends  int
	}{
		{"64B", slices.Repeat([]int{64}, 64), 1},
		{"1400B", slices.Repeat([]int{1400}, 64), 1},
		{"64B to 8", slices.Repeat([]int{64}, 64), 8},
		{"mixed to 8", mixed, 8},
	} {
		bm.Run(v.name, func(bm *testing.B) {
			var data [][]byte
			for i, s := range v.sizes {
				data = append(data, payload(i, s))
			}
			single := newOne(bm)
			var others []one
			for range v.ends {
				others = append(others, newOne(bm))
			}
			exchanges := []func(){func() { single.exchange(bm, others, data) }}
			for _, opts := range []map[string]string{plain, nil} {
				n := conformance.NewNode(bm)
				a, c := open(bm, n, "127.0.0.1:0", opts), n.Pool().Cache(0)
				var ends []*Link
				for range v.ends {
					ends = append(ends, open(bm, n, "127.0.0.1:0", opts))
				}
				var b packet.Batch
				exchanges = append(exchanges, func() {
					for i, d := range data {
						b.Append(to(c, ends[i%len(ends)].local, d))
					}
					a.Send(c, &b)
					a.Flush(c)
					for _, e := range ends {
						for b.Len() < 64/len(ends) {
							e.Receive(c, &b)
						}
						c.FreeBatch(&b)
					}
				})
			}
			var spent [3]time.Duration
			bm.ReportAllocs()
			for bm.Loop() {
				for i, fn := range exchanges {
					start := time.Now()
					fn()
					spent[i] += time.Since(start)
				}
			}
			for i, name := range []string{"call", "message", "run"} {
				bm.ReportMetric(float64(spent[i].Nanoseconds())/float64(bm.N)/64, "ns/packet-"+name)
			}
			bm.ReportMetric(float64(spent[0])/float64(spent[1]), "x-message")
			bm.ReportMetric(float64(spent[0])/float64(spent[2]), "x-run")
		})
	}
}
