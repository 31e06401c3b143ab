package nodeos

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// belt is a link without a wire that does with frames what a driver whose rings lie in the pool's region does: it lends frames, makes packets of
// them where they lie in the order in which they were lent, and keeps what it sends until it is flushed.
type belt struct {
	pipe
	lent  []packet.FrameID // a ring
	first int
	ids   [64]packet.FrameID
	frame [][]byte
	next  int
	left  int // frames to receive
	sent  []*packet.Packet
	total int
	drops int
}

const (
	beltRing = 1024
	beltTx   = 512
)

func (l *belt) lend(c *packet.Cache, n int) {
	for n > 0 {
		got := c.Lend(l.ids[:min(n, len(l.ids))])
		if got == 0 {
			return
		}
		for _, id := range l.ids[:got] {
			l.lent[l.first] = id
			if l.first++; l.first == len(l.lent) {
				l.first = 0
			}
		}
		n -= got
	}
}

func (l *belt) Attach(w *Worker, rx *Task) error {
	l.rx = rx
	l.lent = make([]packet.FrameID, beltRing)
	l.sent = make([]*packet.Packet, 0, beltTx)
	l.lend(w.cache, beltRing)
	return nil
}

func (l *belt) Receive(c *packet.Cache, b *packet.Batch) bool {
	n := min(l.left, b.Room())
	at := l.first
	for range n {
		f := l.frame[l.next]
		if l.next++; l.next == len(l.frame) {
			l.next = 0
		}
		p := c.Adopt(l.lent[at], 256, len(f))
		if at++; at == len(l.lent) {
			at = 0
		}
		copy(p.Data(), f)
		b.Append(p)
	}
	l.lend(c, n)
	l.left -= n
	return l.left > 0
}

func (l *belt) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		if len(l.sent) == beltTx {
			l.Flush(c)
		}
		c.SetState(p, packet.Sending)
		l.sent = append(l.sent, p)
	}
	l.total += b.Len()
	b.Reset()
}

func (l *belt) Flush(c *packet.Cache) {
	for i, p := range l.sent {
		c.Free(p)
		l.sent[i] = nil
	}
	l.sent = l.sent[:0]
}

func (l *belt) Mark()        {}
func (l *belt) Passed() bool { return true }

// newBelt opens a belt that receives frames of UDP datagrams to so many ports from 1 on.
func newBelt(b *testing.B, n *Node, name string, ports int) *belt {
	l := &belt{pipe: pipe{info: LinkInfo{Name: name, Driver: "belt", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500}}}
	for i := range ports {
		l.frame = append(l.frame, udp(b, uint16(i+1), "0123456789abcdef"))
	}
	if err := n.AddLink(l, 0); err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkForward is a packet's way through a node on one worker, all in memory: link, decision, in-channel, handler, out-channel, link. link is what
// the links in it cost by themselves.
func BenchmarkForward(b *testing.B) {
	type kind struct {
		name, in, out string
		address       bool
		domains, runs int // channels, each in a domain of its own; packets in a row that are the same one's
		credited      bool
	}
	for _, k := range []kind{
		{name: "link"},
		{name: "root", in: "a", out: "b"},
		{name: "credited", in: "a", out: "b", credited: true},
		{name: "ether", in: "a/ether", out: "b/ether", domains: 1},
		{name: "domain", in: "a", out: "b", domains: 1},
		{name: "udp", in: "a/ether/ip/udp", out: "b/ether/ip/udp", address: true, domains: 1},
		{name: "udp8", in: "a/ether/ip/udp", out: "b/ether/ip/udp", address: true, domains: 8},
	} {
		b.Run(k.name, func(b *testing.B) {
			n, err := NewNode(NodeSpec{Name: "b", Clock: clock.NewReal(), Stepped: true, Packets: packet.PoolSpec{Frames: 16384}})
			if err != nil {
				b.Fatal(err)
			}
			defer n.Close()
			from, to := newBelt(b, n, "a", max(k.domains, 1)), newBelt(b, n, "b", 1)
			if !k.credited {
				n.links["a"].ports[0].credited = nil
			}
			for i := range max(k.domains, 1) {
				if k.name == "link" {
					break
				}
				d := n.Root()
				if k.domains > 0 {
					d, err = d.NewDomain(DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("d", i), Limit: resctl.Amounts{resctl.Frames: 1 << 20}}})
					if err != nil {
						b.Fatal(err)
					}
				}
				is, os := InChanSpec{Protocol: k.in, Quota: 4096}, OutChanSpec{Protocol: k.out, LinkAddr: [6]byte{2, 1}}
				if k.address {
					is.Address = fmt.Sprint(":", i+1)
					os.Address, os.Source = "10.0.0.9:9", "10.0.0.8:8"
				} else if k.out == "b/ether" {
					os.Address = "0x0800"
				}
				out, err := d.NewOutChan(os)
				if err != nil {
					b.Fatal(err)
				}
				is.Handler = func(w *Worker, batch *packet.Batch) { out.Send(w, batch) }
				if _, err := d.NewInChan(is); err != nil {
					b.Fatal(err)
				}
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b.ReportAllocs()
			b.ResetTimer()
			used := threadTime(b)
			if k.name == "link" {
				var batch packet.Batch
				c := n.Worker(0).cache
				for from.left = b.N; from.left > 0; {
					from.Receive(c, &batch)
					to.Send(c, &batch)
					to.Flush(c)
				}
			} else {
				for left := b.N; left > 0; {
					k := min(left, 2048)
					from.left, to.total = k, 0
					from.rx.Wake()
					for n.Step() {
					}
					if to.total != k {
						b.Fatalf("%d of %d arrived", to.total, k)
					}
					left -= k
				}
			}
			b.ReportMetric(float64(threadTime(b)-used)/float64(b.N), "cpu-ns/op")
		})
	}
}

// threadTime returns the processor time that the calling thread has used.
func threadTime(t testing.TB) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
