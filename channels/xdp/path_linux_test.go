package xdp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// generator sends the same frame 64 times, in one call where the wire takes them.
func (w *network) generator(t testing.TB, frame []byte) func() {
	q := sys.NewMsgQueue()
	for i := range sys.MaxMsgs {
		q.Set(i, frame)
	}
	fd := w.thereFD
	return func() {
		for at := 0; at < sys.MaxMsgs; {
			n, err := q.Send(fd, at, sys.MaxMsgs)
			if at += n; err != nil && err != unix.ENOBUFS && err != unix.EAGAIN { // those say that the other end is behind
				t.Errorf("sent %d: %v", at, err)
				return
			}
		}
	}
}

// TestDoesNotAllocate pins the packet path: frames come and go out again from where they lie.
func TestDoesNotAllocate(t *testing.T) {
	w := newNetwork(t, 1)
	for _, o := range variants {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			n := conformance.NewNode(t)
			l, c := w.byHand(t, n, o, 0)
			send := w.generator(t, conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22)))
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
				t.Errorf("%v allocations", n)
			}
			if received < 1000 {
				t.Errorf("only %d frames were received", received)
			}
			if st := l.Stats(); st.TxPackets != uint64(received) || st.TxDrops != 0 {
				t.Errorf("received %d, stats %+v", received, st)
			}
		})
	}
}

// TestNothingIsCopied looks at the frames that packets lie in.
func TestNothingIsCopied(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l, c := w.byHand(t, n, nil, 0)
	var b packet.Batch
	frame := conformance.UDPFrame(w.mac, conformance.Port, []byte("stay"))
	receive := func() *packet.Packet {
		t.Helper()
		w.inject(t, frame)
		conformance.Until(t, func() bool { l.Receive(c, &b); return b.Len() == 1 })
		p := b.At(0)
		b.Reset()
		return p
	}
	fill := n.Pool().Stats().ByState[packet.Fill]
	if fill != l.queues[0].target() {
		t.Errorf("%d frames are with the kernel, want %d", fill, l.queues[0].target())
	}
	p := receive()
	if s := n.Pool().Stats(); s.ByState[packet.Held] != 1 || s.ByState[packet.Fill] != fill {
		t.Errorf("states %v after a packet came", s.ByState)
	}
	at := n.Pool().Region()[int(p.Frame())<<l.shift+p.Headroom():]
	if &at[0] != &p.Data()[0] || !bytes.Equal(p.Data(), frame) || p.Headroom() < n.Pool().Spec().Headroom {
		t.Errorf("packet of frame %d with headroom %d: %x", p.Frame(), p.Headroom(), p.Data())
	}

	// An unshared packet leaves from its own frame, whatever has been pushed in front of it.
	back := p.Data()
	copy(back[6:], conformance.ThereMAC[:])
	copy(back, bytes.Repeat([]byte{0xff}, 6))
	id := p.Frame()
	b.Append(p)
	l.Send(c, &b)
	if l.with[id] != sending || n.Pool().Stats().ByState[packet.Sending] != 1 {
		t.Errorf("the packet is not sent from frame %d", id)
	}
	want := bytes.Clone(p.Data())
	l.Flush(c)
	if got := w.sent(t); !bytes.Equal(got, want) {
		t.Errorf("sent %x, want %x", got, want)
	}
	conformance.Until(t, func() bool { l.reap(c); return l.flying == 0 })

	// A shared one is copied, and the other view may be written to meanwhile.
	p = receive()
	q := c.Clone(p)
	copy(p.Data()[6:], conformance.ThereMAC[:])
	want = bytes.Clone(p.Data())
	b.Append(p)
	l.Send(c, &b)
	if l.with[q.Frame()] == sending || l.flying != 1 {
		t.Error("a shared frame is sent from where it is")
	}
	clear(q.Data())
	l.Flush(c)
	if got := w.sent(t); !bytes.Equal(got, want) {
		t.Errorf("sent %x, want %x", got, want)
	}
	c.Free(q)
	conformance.Until(t, func() bool { l.reap(c); return l.flying == 0 })
	if s := n.Pool().Stats(); s.ByState[packet.Free] != n.Pool().Spec().Frames-fill {
		t.Errorf("states %v at the end", s.ByState)
	}
}

// TestSharedMemory has two links of a node use one registration, also when the one that made it closes first.
func TestSharedMemory(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	open := func(name, device string) (l nodeos.Link) {
		t.Helper()
		must(t, w.here.Do(func() (err error) {
			l, err = n.OpenLink(nodeos.LinkSpec{Name: name, Device: device, Driver: "xdp"})
			return err
		}))
		return l
	}
	count := func() int {
		registered.mu.Lock()
		defer registered.mu.Unlock()
		socks := 0
		for m, s := range registered.socks {
			if m.pool == n.Pool() {
				socks += len(s)
			}
		}
		return socks
	}
	open("l0", "jnl0")
	open("l1", "jnl1")
	if count() != 2 {
		t.Errorf("%d sockets", count())
	}
	beyond := udpAt(t, w.beyond, "10.78.0.2:7000")
	there := udpAt(t, w.there, "10.77.0.2:0")
	var beyondMAC, hereMAC [6]byte
	must(t, w.beyond.Do(func() error { return hardware("jnl0", &beyondMAC) }))
	must(t, w.here.Do(func() error { return hardware("jnl1", &hereMAC) }))
	// forward carries from l0 to l1 by hand, in the frame that the packet came in.
	forward := func(msg string) {
		t.Helper()
		out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l1"})
		must(t, err)
		in, err := n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: ":7000", Handler: func(wk *nodeos.Worker, b *packet.Batch) {
			for _, p := range b.Packets() {
				at, _ := p.MACOffset()
				d := p.Push(-at)
				copy(d, beyondMAC[:])
				copy(d[6:], hereMAC[:])
			}
			out.Send(wk, b)
		}})
		must(t, err)
		if _, err := there.WriteTo([]byte(msg), beyond.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if got := next(t, beyond); got != msg {
			t.Errorf("got %q, want %q", got, msg)
		}
		in.Close()
	}
	forward("one")
	must(t, n.CloseLink("l0"))
	open("l0", "jnl0") // shares what l1 keeps
	forward("two")
	must(t, n.CloseLink("l1"))
	open("l1", "jnl1")
	forward("three")
	must(t, n.CloseLink("l0"))
	must(t, n.CloseLink("l1"))
	if s := n.Pool().Stats(); count() != 0 || s.ByState[packet.Free] != n.Pool().Spec().Frames {
		t.Errorf("%d sockets and frames %v stay", count(), s.ByState)
	}
}

// TestTwoNodes runs two nodes of one process on the two interfaces.
func TestTwoNodes(t *testing.T) {
	w := newNetwork(t, 1)
	there := udpAt(t, w.there, "10.77.0.2:0")
	beyond := udpAt(t, w.beyond, "10.78.0.2:0")
	a, b := conformance.NewNode(t), conformance.NewNode(t)
	must(t, w.here.Do(func() error {
		if _, err := a.OpenLink(nodeos.LinkSpec{Name: "jnl0", Driver: "xdp"}); err != nil {
			return err
		}
		_, err := b.OpenLink(nodeos.LinkSpec{Name: "jnl1", Driver: "xdp"})
		return err
	}))
	sa := conformance.NewSink(t, a, "if/ether/ip/udp", ":7000", "")
	sb := conformance.NewSink(t, b, "if/ether/ip/udp", ":7000", "")
	// Both channels have the first slot, in cells of their own: a third one, which is never received from, takes no credit of the other node's.
	stuck := inChan(t, a, nodeos.InChanSpec{Protocol: "if/ether/ip/udp", Quota: 3}, 7001, nil)
	if len(shared.nodes) != 2 || shared.nodes[a.Pool()] == shared.nodes[b.Pool()] {
		t.Errorf("cells %v", shared.nodes)
	}
	for i := range 20 {
		if _, err := there.WriteToUDP([]byte{'a', byte(i)}, udpAddr("10.77.0.1:7000")); err != nil {
			t.Fatal(err)
		}
		if _, err := beyond.WriteToUDP([]byte{'b', byte(i)}, udpAddr("10.78.0.1:7000")); err != nil {
			t.Fatal(err)
		}
		if g := sa.Next(t); string(g.Data) != string([]byte{'a', byte(i)}) {
			t.Errorf("first node: %q", g.Data)
		}
		if g := sb.Next(t); string(g.Data) != string([]byte{'b', byte(i)}) {
			t.Errorf("second node: %q", g.Data)
		}
	}
	free := inChan(t, b, nodeos.InChanSpec{Protocol: "if/ether/ip/udp", Quota: 8}, 7001, nil)
	if x, y := mustSlot(stuck), mustSlot(free); x != y {
		t.Errorf("slots %d and %d, the test wants one", x, y)
	}
	for range 8 {
		for from, to := range map[*net.UDPConn]string{there: "10.77.0.1:7001", beyond: "10.78.0.1:7001"} {
			if _, err := from.WriteToUDP([]byte("x"), udpAddr(to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	conformance.Until(t, func() bool { return stuck.Stats().Full == 5 && stuck.Stats().Packets == 3 && free.Stats().Packets == 8 })
	if st := free.Stats(); st.Full != 0 {
		t.Errorf("%+v", st)
	}
	must(t, a.Close())
	if _, err := beyond.WriteToUDP([]byte("still"), udpAddr("10.78.0.1:7000")); err != nil {
		t.Fatal(err)
	}
	if g := sb.Next(t); string(g.Data) != "still" {
		t.Errorf("second node: %q", g.Data)
	}
}

func mustSlot(c *nodeos.InChan) uint32 {
	slot, ok := c.Slot()
	if !ok {
		panic("a channel without a slot")
	}
	return slot
}

// TestDomainEndsUnderLoad terminates domains whose channels are flooded, and looks for their frames.
func TestDomainEndsUnderLoad(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	w.open(t, n, spec(nil))
	stop, stopped := make(chan bool), make(chan bool)
	send := w.generator(t, conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22)))
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				send()
			}
		}
	}()
	for i := range 10 {
		d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("d", i)}})
		must(t, err)
		out, err := d.NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
		must(t, err)
		in, err := d.NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: fmt.Sprintf(":%d", conformance.Port), Handler: func(wk *nodeos.Worker, b *packet.Batch) {
			for _, p := range b.Packets() {
				at, _ := p.MACOffset()
				p.Push(-at)
			}
			out.Send(wk, b)
		}})
		must(t, err)
		conformance.Until(t, func() bool { return in.Stats().Packets > 200 })
		d.Terminate(nil)
		conformance.Until(t, func() bool { return d.State() == nodeos.Dead })
	}
	close(stop)
	<-stopped
	must(t, n.CloseLink("l0"))
	if s := n.Pool().Stats(); s.ByState[packet.Free] != n.Pool().Spec().Frames || len(s.Charged) > 0 {
		t.Errorf("states %v, charged %v", s.ByState, s.Charged)
	}
}

// TestCredit sees the program drop what the worker does not take, and go on when it does.
func TestCredit(t *testing.T) {
	for _, o := range variants[:2] {
		t.Run(o["mode"], func(t *testing.T) {
			w := newNetwork(t, 1)
			n := conformance.NewNode(t)
			l, c := w.byHand(t, n, o, 100)
			q := l.queues[0]
			send := w.generator(t, conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22)))
			var b packet.Batch
			total := uint64(0)
			for round := range 4 {
				for range 5 {
					send()
				}
				total += 5 * sys.MaxMsgs
				conformance.Until(t, func() bool { return q.produced.Load()+q.full.Load() == total })
				if round == 0 && (q.produced.Load() != 100 || q.full.Load() != 220) {
					t.Errorf("%d redirected and %d dropped, want 100 and 220", q.produced.Load(), q.full.Load())
				}
				for l.Receive(c, &b); b.Len() > 0; l.Receive(c, &b) {
					c.FreeBatch(&b)
				}
			}
			st := l.Stats()
			if st.RxPackets+st.RxDrops != total || st.RxPackets != q.produced.Load() || st.RxPackets < 400 {
				t.Errorf("stats %+v of %d, %d redirected", st, total, q.produced.Load())
			}
		})
	}
}

// TestLostCredit takes redirected packets away that never arrive, and lets some of them arrive after all.
func TestLostCredit(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l, c := w.byHand(t, n, nil, 100)
	q := l.queues[0]
	q.produced.Add(100)
	frame := conformance.UDPFrame(w.mac, conformance.Port, []byte("x"))
	w.inject(t, frame)
	conformance.Until(t, func() bool { return q.full.Load() == 1 })
	l.Flush(c)
	l.Flush(c) // nothing has come since the last look
	if q.lost != 100 || q.consumed.Load() != 100 {
		t.Errorf("%d taken for lost, %d published", q.lost, q.consumed.Load())
	}
	w.inject(t, frame, frame)
	var b packet.Batch
	conformance.Until(t, func() bool { l.Receive(c, &b); return b.Len() == 2 })
	c.FreeBatch(&b)
	q.taken += 3 // three of the hundred came
	l.Receive(c, &b)
	if q.lost != 97 || q.consumed.Load() != 102 || q.taken != 102 {
		t.Errorf("%d taken for lost, %d published", q.lost, q.consumed.Load())
	}
}

// TestPoolRunsOut takes all frames away: packets are dropped and counted, and when frames come back the link goes on.
func TestPoolRunsOut(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l, c := w.byHand(t, n, nil, 0)
	q := l.queues[0]
	var hoard []*packet.Packet
	for p := c.Alloc(packet.Node); p != nil; p = c.Alloc(packet.Node) {
		hoard = append(hoard, p)
	}
	frame := conformance.UDPFrame(w.mac, conformance.Port, []byte("x"))
	var b packet.Batch
	got := 0
	for i := range q.target() + 50 {
		w.inject(t, frame)
		conformance.Until(t, func() bool { return q.produced.Load()+q.full.Load() == uint64(i+1) })
		got += drain(l, c, &b, &hoard)
	}
	if got != q.target() || !q.starved() || l.Stats().RxDrops != 50 {
		t.Errorf("%d packets of %d frames, starved %v, stats %+v", got, q.target(), q.starved(), l.Stats())
	}
	if !l.Receive(c, &b) {
		t.Error("a link without frames goes to sleep")
	}
	for _, p := range hoard {
		c.Free(p)
	}
	if l.Receive(c, &b); q.lent != q.target() {
		t.Errorf("%d frames lent, want %d", q.lent, q.target())
	}
	w.inject(t, frame)
	conformance.Until(t, func() bool { l.Receive(c, &b); return b.Len() == 1 })
	c.FreeBatch(&b)
}

// drain keeps what waits.
func drain(l *Link, c *packet.Cache, b *packet.Batch, keep *[]*packet.Packet) int {
	l.Receive(c, b)
	n := b.Len()
	*keep = append(*keep, b.Packets()...)
	b.Reset()
	return n
}

// TestQueues spreads packets over two queues and finds all of them, and leaves those of a queue that is not the link's to the host.
func TestQueues(t *testing.T) {
	w := newNetwork(t, 2)
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	host := udpAt(t, w.here, fmt.Sprintf("10.77.0.1:%d", conformance.Port))
	// Flows choose the queue by their hash, so of many some take each.
	flows := func(each func(i int)) {
		for i := range 40 {
			c := udpAt(t, w.there, "10.77.0.2:0")
			if _, err := c.WriteToUDP(binary.BigEndian.AppendUint32(nil, uint32(i)), udpAddr(host.LocalAddr().String())); err != nil {
				t.Fatal(err)
			}
			each(i)
		}
	}
	flows(func(i int) {
		if g := s.Next(t); binary.BigEndian.Uint32(g.Data) != uint32(i) {
			t.Errorf("flow %d: %x", i, g.Data)
		}
	})
	if len(l.queues) != 2 || l.queues[0].produced.Load() == 0 || l.queues[1].produced.Load() == 0 || l.queues[0].produced.Load()+l.queues[1].produced.Load() != 40 {
		t.Errorf("queues redirected %d and %d", l.queues[0].produced.Load(), l.queues[1].produced.Load())
	}
	must(t, n.CloseLink("l0"))
	l = w.open(t, n, spec(map[string]string{"queues": "1"}))
	s.Chan.Close()
	atNode, atHost := make(chan bool, 64), make(chan bool)
	_, err := n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: fmt.Sprintf(":%d", conformance.Port), Handler: func(wk *nodeos.Worker, b *packet.Batch) {
		for range b.Packets() {
			atNode <- true
		}
		wk.Cache().FreeBatch(b)
	}})
	must(t, err)
	go func() {
		defer close(atHost)
		b := make([]byte, 2048)
		for {
			if _, err := host.Read(b); err != nil {
				return
			}
			atHost <- true
		}
	}()
	here, there := 0, 0
	flows(func(i int) {
		select {
		case <-atHost:
			there++
		case <-atNode:
			here++
		case <-time.After(10 * time.Second):
			t.Fatalf("flow %d is lost", i)
		}
	})
	host.Close()
	<-atHost
	if here == 0 || there == 0 || uint64(here) != l.Stats().RxPackets {
		t.Errorf("%d of 40 flows here and %d at the host; stats %+v", here, there, l.Stats())
	}
}

// TestWorkers shares an interface among two workers. Each receives from its own queue and sends by it, and a channel has packets and one credit from both.
func TestWorkers(t *testing.T) {
	w := newNetwork(t, 2)
	n := conformance.NewNode(t, 2)
	l := w.open(t, n, nodeos.LinkSpec{Name: "l0", Workers: []int{0, 1}})
	if len(l.ports) != 2 || len(l.ports[0].queues) != 1 || len(l.ports[1].queues) != 1 {
		t.Fatalf("ports %+v", l.ports)
	}
	const quota, flows = 30, 40
	c := inChan(t, n, nodeos.InChanSpec{Quota: quota, Worker: 1}, conformance.Port, nil)
	to := udpAddr(fmt.Sprintf("10.77.0.1:%d", conformance.Port))
	for range flows {
		if _, err := udpAt(t, w.there, "10.77.0.2:0").WriteToUDP([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
	}
	conformance.Until(t, func() bool { st := c.Stats(); return st.Packets == quota && st.Full == flows-quota })
	a, b := l.ports[0].counts.RxPackets.Load(), l.ports[1].counts.RxPackets.Load()
	if st := l.Stats(); a == 0 || b == 0 || st.RxPackets != a+b || st.RxDrops != 0 {
		t.Errorf("%d and %d packets came by the workers; %+v", a, b, st)
	}
	n.Worker(1).Call(func() {
		var b packet.Batch
		if got := c.Receive(&b); got != quota {
			t.Errorf("received %d", got)
		}
		n.Worker(1).Cache().FreeBatch(&b)
	})
	conformance.Until(t, func() bool { return onTheWay(l, c) == 0 })
	out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
	must(t, err)
	for i := range 2 {
		frame := conformance.UDPFrame(w.mac, 9, []byte{byte(i)})
		copy(frame, bytes.Repeat([]byte{0xff}, 6))
		copy(frame[6:], conformance.ThereMAC[:])
		wk := n.Worker(i)
		wk.Call(func() {
			var b packet.Batch
			b.Append(wk.Cache().AllocFrom(packet.Node, frame))
			out.Send(wk, &b)
		})
		if got := w.sent(t); !bytes.Equal(got, frame) {
			t.Errorf("worker %d: %x was sent", i, got)
		}
		conformance.Until(t, func() bool { return l.ports[i].counts.TxPackets.Load() == 1 })
	}
	must(t, n.CloseLink("l0"))
	if s := n.Pool().Stats(); s.ByState[packet.Free] != n.Pool().Spec().Frames {
		t.Errorf("frames are missing: %v", s.ByState)
	}
	if len(registered.lent) != 0 {
		t.Errorf("frames stay reserved: %v", registered.lent)
	}
}

func TestFinishChecksum(t *testing.T) {
	payload := []byte("some payload of odd length.")
	for _, s := range []conformance.FrameSpec{
		{Payload: payload}, {Payload: payload, V6: true}, {Payload: payload, Options: 3}, {Payload: payload, Tags: []uint16{5}},
		{Payload: payload, Tags: []uint16{5, 6}, V6: true}, {Pad: true}, {Payload: payload, More: true},
	} {
		s.Port = 7
		f := s.Build()
		before := bytes.Clone(f)
		finishChecksum(f)
		if !bytes.Equal(f, before) {
			t.Errorf("%+v: a finished frame was changed", s)
		}
		// Find the UDP header, and put there what a kernel would.
		at := demux.EtherLen + demux.VLANLen*len(s.Tags) + 20 + 4*s.Options
		if s.V6 {
			at += 20
		}
		sum := demux.PseudoSum(conformance.There, conformance.Here, demux.ProtoUDP, 8+len(s.Payload))
		if s.V6 {
			sum = demux.PseudoSum(conformance.There6, conformance.Here6, demux.ProtoUDP, 8+len(s.Payload))
		}
		binary.BigEndian.PutUint16(f[at+6:], ^demux.Fold(sum))
		partial := bytes.Clone(f)
		finishChecksum(f)
		want := before
		if s.More { // fragments are finished by who makes them
			want = partial
		}
		if !bytes.Equal(f, want) {
			t.Errorf("%+v: %x, want %x", s, f, want)
		}
	}
}

// FuzzFinishChecksum looks for panics, and for bytes changed other than a checksum.
func FuzzFinishChecksum(f *testing.F) {
	for _, s := range []conformance.FrameSpec{{}, {V6: true}, {Tags: []uint16{1, 2}, Options: 10}, {FragOff: 8}} {
		s.Payload = []byte("payload")
		f.Add(s.Build())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		finishChecksum(b)
		changed := 0
		for i := range b {
			if b[i] != before[i] {
				changed++
			}
		}
		if changed > 2 {
			t.Errorf("%d bytes changed", changed)
		}
		once := bytes.Clone(b)
		if finishChecksum(b); changed == 0 && !bytes.Equal(b, once) {
			t.Error("a frame that needs nothing was changed")
		}
	})
}

// TestPromiscuous takes frames for other hardware addresses, and leaves the interface as it was.
func TestPromiscuous(t *testing.T) {
	w := newNetwork(t, 1)
	promiscuous := func() (n int) {
		w.hereLink(t, func(_ *netlink.Handle, l netlink.Link) error { n = l.Attrs().Promisc; return nil })
		return n
	}
	n := conformance.NewNode(t)
	w.open(t, n, spec(map[string]string{"promisc": "true"}))
	if promiscuous() != 1 {
		t.Error("the interface is not promiscuous")
	}
	s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	w.inject(t, conformance.UDPFrame([6]byte{2, 0x77, 9, 9, 9, 9}, conformance.Port, []byte("not for us")))
	if g := s.Next(t); string(g.Data) != "not for us" || g.Anno.Kind != packet.ToOther {
		t.Errorf("got %q of kind %d", g.Data, g.Anno.Kind)
	}
	must(t, n.CloseLink("l0"))
	if promiscuous() != 0 {
		t.Error("the interface stays promiscuous")
	}
}
