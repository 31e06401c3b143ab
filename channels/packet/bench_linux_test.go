package packet

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// byHand opens a link that no worker has, to be driven by the benchmark, claiming UDP to the suite's port.
func (w *network) byHand(t testing.TB, o map[string]string, ring int) (*Link, *packet.Cache) {
	n := conformance.NewNode(t)
	var l nodeos.Link
	must(t, w.here.Do(func() (err error) {
		l, err = Open(n, 1, nodeos.LinkSpec{Name: "l0", Device: "jnl0", Opts: o, Ring: ring})
		return err
	}))
	t.Cleanup(func() { l.Close() })
	p, err := demux.ParseProtocol("l0/ether/ip/udp")
	must(t, err)
	must(t, l.Claim(conformance.Claims(t, "l0", []demux.Rule{{ID: 1, Protocol: p, Local: demux.Address{Top: demux.UDP, Port: conformance.Port}}}...)))
	return l.(*Link), n.Pool().Cache(0)
}

// generator sends the same frame 64 times in one call.
func (w *network) generator(t testing.TB, frame []byte) func() {
	q := sys.NewMsgQueue()
	for i := range sys.MaxMsgs {
		q.Set(i, frame)
	}
	fd := w.thereFD
	return func() {
		if n, err := q.Send(fd, 0, sys.MaxMsgs); n != sys.MaxMsgs {
			t.Fatalf("sent %d: %v", n, err)
		}
	}
}

var ringVersions = []struct {
	name string
	o    map[string]string
}{{"v3", map[string]string{"latency": "normal"}}, {"v2", nil}}

// BenchmarkReceive sends and receives on one thread: the time is generator, wire, filter, ring and copy. generator is
// the same with frames that no rule claims and no port listens on the host's side of the wire.
func BenchmarkReceive(b *testing.B) {
	w := newNetwork(b)
	run := func(b *testing.B, o map[string]string, port uint16, claimed bool) {
		l, c := w.byHand(b, o, 4096)
		frame := conformance.UDPFrame(w.mac, port, make([]byte, 22))
		send := w.generator(b, frame)
		var batch packet.Batch
		received := 0
		b.ReportAllocs()
		for b.Loop() {
			send()
			for more := claimed; more; {
				more = l.Receive(c, &batch)
				received += batch.Len()
				c.FreeBatch(&batch)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/packet")
		if claimed {
			b.ReportMetric(float64(received)/float64(64*b.N), "received/sent")
		}
	}
	for _, v := range ringVersions {
		b.Run(v.name, func(b *testing.B) { run(b, v.o, conformance.Port, true) })
	}
	b.Run("unclaimed", func(b *testing.B) { run(b, nil, 9, false) })
}

func BenchmarkSend(b *testing.B) {
	w := newNetwork(b)
	for _, o := range []map[string]string{nil, {"bypass": "true"}} {
		name := "qdisc"
		if o != nil {
			name = "bypass"
		}
		b.Run(name, func(b *testing.B) {
			l, c := w.byHand(b, o, 0)
			frame := conformance.UDPFrame(w.mac, 9, make([]byte, 22))
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				for range 64 {
					batch.Append(c.AllocFrom(packet.Node, frame))
				}
				l.Send(c, &batch)
				l.Flush(c)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/packet")
			if st := l.Stats(); st.TxDrops > 0 {
				b.Errorf("%+v", st)
			}
		})
	}
}

// BenchmarkRoundTrip measures a frame's way through a node and back: wire, ring, wake, channel, send, wire.
func BenchmarkRoundTrip(b *testing.B) {
	w := newNetwork(b)
	for _, v := range ringVersions {
		b.Run(v.name, func(b *testing.B) {
			n := conformance.NewNode(b)
			w.open(b, n, spec(v.o))
			out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
			must(b, err)
			_, err = n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0/ether", Address: "0x88b5", Handler: func(wk *nodeos.Worker, batch *packet.Batch) {
				for _, p := range batch.Packets() {
					d := p.Push(demux.EtherLen)
					copy(d, d[6:12])
					copy(d[6:], conformance.ThereMAC[:])
				}
				out.Send(wk, batch)
			}})
			must(b, err)
			frame := append(append(append([]byte(nil), w.mac[:]...), conformance.ThereMAC[:]...), 0x88, 0xb5)
			frame = append(frame, make([]byte, 50)...)
			must(b, unix.SetsockoptTimeval(w.thereFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
			for b.Loop() {
				w.inject(b, frame)
				w.sent(b)
			}
		})
	}
}

// TestDoesNotAllocate pins the packet path: frames come, are copied, and go out again.
func TestDoesNotAllocate(t *testing.T) {
	w := newNetwork(t)
	for _, v := range ringVersions {
		l, c := w.byHand(t, v.o, 0)
		frame := conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22))
		send := w.generator(t, frame)
		var batch packet.Batch
		received := 0
		if n := testing.AllocsPerRun(100, func() {
			send()
			for batch.Room() > 0 && l.Receive(c, &batch) {
			}
			received += batch.Len()
			l.Send(c, &batch)
			l.Flush(c)
		}); n != 0 {
			t.Errorf("%s: %v allocations", v.name, n)
		}
		if received < 1000 {
			t.Errorf("%s: only %d frames were received", v.name, received)
		}
	}
}

// portRules are rules for so many ports, from 1 on.
func portRules(t testing.TB, n int) (rules []demux.Rule) {
	p, err := demux.ParseProtocol("l0/ether/ip/udp")
	must(t, err)
	for i := range n {
		rules = append(rules, demux.Rule{ID: uint32(i), Protocol: p, Local: demux.Address{Top: demux.UDP, Port: uint16(i + 1)}})
	}
	return rules
}

// BenchmarkClaim measures a rule more and less beside others.
func BenchmarkClaim(b *testing.B) {
	w := newNetwork(b)
	l, _ := w.byHand(b, nil, 0)
	for _, n := range []int{0, 16, 512, 4096} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			rules := portRules(b, n+1)
			claims := conformance.Claims(b, "l0", rules[:n]...)
			must(b, l.Claim(claims))
			for b.Loop() {
				more := claims
				var err error
				more.Program, err = claims.Program.With(rules[n])
				must(b, err)
				must(b, l.Claim(more))
				must(b, l.Claim(claims))
			}
		})
	}
}

// BenchmarkForward is BenchmarkReceive with every frame sent back out of the interface.
func BenchmarkForward(b *testing.B) {
	w := newNetwork(b)
	for _, v := range ringVersions {
		b.Run(v.name, func(b *testing.B) {
			l, c := w.byHand(b, v.o, 4096)
			frame := conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22))
			send := w.generator(b, frame)
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				send()
				for more := true; more; {
					more = l.Receive(c, &batch)
					l.Send(c, &batch)
				}
				l.Flush(c)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/packet")
		})
	}
}
