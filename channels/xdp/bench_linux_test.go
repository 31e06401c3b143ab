package xdp

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// perPacket reports the processor time of the calling thread for each packet, the kernel's work for it included. The benchmark has locked
// the thread.
func perPacket(b *testing.B, packets int, loop func()) {
	used := func() int64 {
		var u unix.Rusage
		must(b, unix.Getrusage(unix.RUSAGE_THREAD, &u))
		return u.Utime.Nano() + u.Stime.Nano()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	loop()
	before := used()
	b.ReportAllocs()
	for b.Loop() {
		loop()
	}
	b.ReportMetric(float64(used()-before)/float64(b.N*packets), "cpu-ns/packet")
}

// benchSetup has a frame that the link claims and one that nobody does.
func benchSetup(b *testing.B, o map[string]string) (w *network, l *Link, c *packet.Cache, claimed, open func()) {
	w = newNetwork(b, 1)
	l, c = w.byHand(b, conformance.NewNode(b), o, 0)
	return w, l, c, w.generator(b, conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22))),
		w.generator(b, conformance.UDPFrame(w.mac, 9, make([]byte, 22)))
}

// BenchmarkReceive sends and receives on one thread: the time is generator, wire, program, ring and packet. unclaimed is
// the same with frames that no rule claims, which end in the host's stack.
func BenchmarkReceive(b *testing.B) {
	for _, o := range variants[:2] {
		b.Run(o["mode"], func(b *testing.B) {
			_, l, c, send, _ := benchSetup(b, o)
			var batch packet.Batch
			perPacket(b, sys.MaxMsgs, func() {
				send()
				for l.Receive(c, &batch); batch.Len() > 0; l.Receive(c, &batch) {
					c.FreeBatch(&batch)
				}
			})
			if st := l.Stats(); st.RxDrops > 0 {
				b.Errorf("%+v", st)
			}
		})
	}
	b.Run("unclaimed", func(b *testing.B) {
		_, _, _, _, open := benchSetup(b, variants[0])
		perPacket(b, sys.MaxMsgs, open)
	})
}

// BenchmarkForward is BenchmarkReceive with every frame sent back out of the interface. bare is the least program that does the same with
// the same socket, rings and XDP program: it moves places from ring to ring.
func BenchmarkForward(b *testing.B) {
	for _, o := range variants[:2] {
		b.Run(o["mode"], func(b *testing.B) {
			_, l, c, send, _ := benchSetup(b, o)
			var batch packet.Batch
			perPacket(b, sys.MaxMsgs, func() {
				send()
				for l.Receive(c, &batch); batch.Len() > 0; l.Receive(c, &batch) {
					l.Send(c, &batch)
				}
				l.Flush(c)
			})
			if st := l.Stats(); st.RxDrops > 0 || st.TxDrops > 0 {
				b.Errorf("%+v", st)
			}
		})
		b.Run("bare-"+o["mode"], func(b *testing.B) {
			_, l, _, send, _ := benchSetup(b, o)
			q := l.queues[0]
			x := q.sock
			taken := uint64(0)
			perPacket(b, sys.MaxMsgs, func() {
				send()
				for n := x.RxReady(); n > 0; n = x.RxReady() {
					for i := range n {
						x.PutTx(x.Rx(i))
					}
					x.ReleaseRx(n)
					taken += uint64(n)
					q.consumed.Store(taken)
				}
				x.PublishTx()
				for x.TxWaiting() > 0 {
					_ = x.KickTx()
					x.TxTaken()
				}
				for n := x.CompReady(); n > 0; n = x.CompReady() {
					for i := range n {
						x.PutFill(x.Comp(i) >> l.shift << l.shift)
					}
					x.PublishFill()
					x.ReleaseComp(n)
				}
			})
		})
	}
}

func BenchmarkSend(b *testing.B) {
	w, l, c, _, _ := benchSetup(b, nil)
	frame := conformance.UDPFrame(w.mac, 9, make([]byte, 22))
	var batch packet.Batch
	perPacket(b, 64, func() {
		for range 64 {
			batch.Append(c.AllocFrom(packet.Node, frame))
		}
		l.Send(c, &batch)
		l.Flush(c)
	})
	if st := l.Stats(); st.TxDrops > 0 {
		b.Errorf("%+v", st)
	}
}

// BenchmarkClaim measures a change of rules: one more and one less, of so many. The first rules are written out in the program, which is then made anew.
func BenchmarkClaim(b *testing.B) {
	_, l, _, _, _ := benchSetup(b, nil)
	p := suiteRules(b)[0].Protocol
	rule := func(i int) demux.Rule {
		return demux.Rule{ID: uint32(i), Protocol: p, Local: demux.Address{Top: demux.UDP, Port: uint16(i + 1)}}
	}
	for _, n := range []int{1, 16, 128, 4096} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			var rules []demux.Rule
			for i := range n {
				rules = append(rules, rule(i))
			}
			without, err := demux.Compile(demux.Ether, "l0", rules)
			must(b, err)
			must(b, l.Claim(nodeos.Claims{Program: without}))
			for b.Loop() {
				with, err := without.With(rule(n))
				must(b, err)
				must(b, l.Claim(nodeos.Claims{Program: with}))
				without = with.Without(uint32(n))
				must(b, l.Claim(nodeos.Claims{Program: without}))
			}
		})
	}
}

// BenchmarkDecision runs programs without packets that go anywhere: the least one that redirects to a socket, the decision about a claimed packet, and the same
// for a channel with a rate and for one that is cut through to a drop.
func BenchmarkDecision(b *testing.B) {
	w := newNetwork(b, 1)
	l, _ := w.byHand(b, conformance.NewNode(b), nil, 0)
	frame := conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22))
	l.queues[0].credit.Store(math.MaxInt64)
	run := func(name string, p *ebpf.Program, want uint32) {
		b.Run(name, func(b *testing.B) {
			got, took, err := p.Benchmark(frame, b.N, nil)
			must(b, err)
			if got != want {
				b.Fatalf("the program returns %d, want %d", got, want)
			}
			b.ReportMetric(float64(took.Nanoseconds()), "ns/packet")
		})
	}
	bare, err := load("janos_bare", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, mdQueue, asm.Word),
		asm.LoadMapPtr(asm.R1, l.programs.sockets.FD()),
		asm.Mov.Imm(asm.R3, xdpPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
	})
	must(b, err)
	defer bare.Close()
	run("bare", bare, xdpRedirect)
	run("entry", l.programs.entry, xdpRedirect)
	run("decision", l.programs.decision, xdpRedirect)
	l.chans.word(1, chanAlone).Store(1)
	run("alone", l.programs.decision, xdpRedirect)
	l.chans.word(1, chanAlone).Store(0)
	l.chans.word(1, chanInterval).Store(1)
	l.chans.word(1, chanTolerance).Store(1 << 60)
	run("rate", l.programs.decision, xdpRedirect)
	l.chans.word(1, chanInterval).Store(0)
	l.chans.word(1, chanKind).Store(kindCut)
	l.programs.cut = asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("cut"), asm.Return()}
	must(b, l.Claim(conformance.Claims(b, "l0", suiteRules(b)...)))
	run("cut", l.programs.decision, xdpDrop)
}

// BenchmarkCutPath runs the programs of a link whose packets are cut through, beside the least program that redirects: from the entry to the redirect, or the
// decision alone.
func BenchmarkCutPath(b *testing.B) {
	run := func(b *testing.B, name string, p *ebpf.Program, frame []byte) {
		b.Run(name, func(b *testing.B) {
			const runs = 1 << 22 // the kernel says only how many whole ns one takes
			start := time.Now()
			got, _, err := p.Benchmark(frame, runs, nil)
			took := time.Since(start)
			must(b, err)
			if got != xdpRedirect {
				b.Fatalf("the program returns %d, want %d", got, xdpRedirect)
			}
			b.ReportMetric(float64(took.Nanoseconds())/runs, "ns/packet")
		})
	}
	ip := demux.Tuple{Offset: 12, Value: []byte{8, 0}}
	whole := func(key ...demux.Tuple) nodeos.CutChanSpec {
		return nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "l0", Key: key, Quota: 64}, Out: nodeos.OutChanSpec{Protocol: "l1"}}
	}
	const port = 7000
	ports := func(n int) (specs []nodeos.CutChanSpec) {
		for i := range n {
			s := whole(ip, demux.Tuple{Offset: 36, Value: binary.BigEndian.AppendUint16(nil, uint16(port+i))})
			s.BitRate, s.Burst = 100e9, time.Second
			specs = append(specs, s)
		}
		return specs
	}
	macs := nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "l0/ether", Address: "0x0800", Quota: 64}, Out: nodeos.OutChanSpec{Protocol: "l1/ether", LinkAddr: hop}}
	for _, c := range []struct {
		name  string
		specs []nodeos.CutChanSpec
	}{
		{"1 key", []nodeos.CutChanSpec{whole(ip)}}, {"1 key, addresses", []nodeos.CutChanSpec{macs}}, {"16 keys", ports(16)}, {"64 keys", ports(64)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newCutNetwork(b, "native")
			for _, s := range c.specs {
				inKernel(b, w.cut(b, w.n.Root(), s))
			}
			in, err := w.n.Link("l0")
			must(b, err)
			l := in.(*Link)
			frame := conformance.UDPFrame(w.mac, port+uint16(len(c.specs)/2), make([]byte, 22))
			least, err := load("janos_bare", asm.Instructions{
				asm.LoadMapPtr(asm.R1, l.chans.cuts.out.FD()), asm.Mov.Imm(asm.R2, int32(l.out)), asm.Mov.Imm(asm.R3, 0), asm.FnRedirectMap.Call(), asm.Return(),
			})
			must(b, err)
			defer least.Close()
			run(b, "redirect", least, frame)
			if c.name != "1 key, addresses" { // the frame of a test run stays changed, and is not ours then
				run(b, "entry", l.programs.entry, frame)
			}
			run(b, "decision", l.programs.decision, frame)
		})
	}
}

// BenchmarkRoundTrip measures a frame's way through a node and back: wire, ring, wake, channel, send, wire.
func BenchmarkRoundTrip(b *testing.B) {
	w := newNetwork(b, 1)
	n := conformance.NewNode(b)
	w.open(b, n, spec(nil))
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
	for b.Loop() {
		w.inject(b, frame)
		w.sent(b)
	}
}

// BenchmarkOpenClose measures a link's life, which waits for the kernel.
func BenchmarkOpenClose(b *testing.B) {
	w := newNetwork(b, 1)
	n := conformance.NewNode(b)
	for b.Loop() {
		w.open(b, n, spec(nil))
		must(b, n.CloseLink("l0"))
	}
}
