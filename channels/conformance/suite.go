package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Fixture is a driver under test.
type Fixture struct {
	// Base is what the link's frames begin with: demux.Ether or demux.UDP.
	Base demux.Layer
	// Open opens a link called name with a ring of about so many frames and adds it to n.
	Open func(t *testing.T, n *nodeos.Node, name string, ring int)
	// Inject makes frames arrive at the link, in order. Addressed to the link by Wrap's hardware address.
	Inject func(t *testing.T, frames ...[]byte)
	// Sent returns the next frame that the link has put out, waiting for it up to a generous time; nil if none came.
	Sent func(t *testing.T) []byte
	// MAC is the link's hardware address, or returns zero.
	MAC func() [6]byte
	// Workers is how many workers the nodes have, one if 0; Open may share the link among them.
	Workers int
	// Dst is set on packets that are sent, where the base is UDP.
	Dst netip.AddrPort
}

// patience bounds every wait for something that must happen; nothing is concluded from how long it took.
const patience = 10 * time.Second

// Run runs the suite.
func Run(t *testing.T, f Fixture) {
	t.Run("Deliver", f.deliver)
	t.Run("Send", f.send)
	t.Run("ChangeUnderTraffic", f.changeUnderTraffic)
	t.Run("Overflow", f.overflow)
	t.Run("Close", f.close)
	if f.Base == demux.Ether {
		t.Run("Frames", f.frames)
		t.Run("Kinds", f.kinds)
		t.Run("ForeignAddress", f.foreign)
	}
}

// Port is the UDP port of the packets that Wrap makes.
const Port = 7000

// Wrap returns a frame that carries payload: the payload itself on a base of UDP, UDP to Port on an Ethernet.
func (f *Fixture) Wrap(payload []byte) []byte {
	if f.Base == demux.UDP {
		return payload
	}
	return UDPFrame(f.MAC(), Port, payload)
}

// protocol is the string of channels for what Wrap makes.
func (f *Fixture) protocol() (proto, addr string) {
	if f.Base == demux.UDP {
		return "l0/udp", ""
	}
	return "l0/ether/ip/udp", fmt.Sprintf(":%d", Port)
}

// NewNode returns a node with one worker, or so many, that ends with the test.
func NewNode(t testing.TB, workers ...int) *nodeos.Node {
	t.Helper()
	spec := nodeos.NodeSpec{Name: "dut", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 2048}}
	for _, w := range workers {
		spec.Workers = w
	}
	n, err := nodeos.NewNode(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("closing the node: %v", err)
		}
	})
	return n
}

// Got is a packet that a channel received.
type Got struct {
	Data    []byte // from the payload of the channel's protocol
	Frame   []byte // from the MAC header, where there is one
	Anno    packet.Anno
	Network int // offset of the network header from the payload; 0 without one
}

// Until waits for something that must happen, by looking again and again.
func Until(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// Sink is an in-channel that keeps what it receives.
type Sink struct {
	Chan *nodeos.InChan
	node *nodeos.Node
	got  chan Got
}

// NewSink opens a channel of the root domain.
func NewSink(t testing.TB, n *nodeos.Node, proto, addr, key string) *Sink {
	t.Helper()
	k, err := demux.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{node: n, got: make(chan Got, 1<<14)}
	s.Chan, err = n.Root().NewInChan(nodeos.InChanSpec{Protocol: proto, Address: addr, Key: k, Quota: 1 << 12, Handler: func(w *nodeos.Worker, b *packet.Batch) {
		for _, p := range b.Packets() {
			g := Got{Data: bytes.Clone(p.Data()), Frame: bytes.Clone(p.MAC()), Anno: p.Anno}
			g.Network, _ = p.NetworkOffset()
			s.got <- g
		}
		w.Cache().FreeBatch(b)
	}})
	if err != nil {
		t.Fatalf("channel %s %s %s: %v", proto, addr, key, err)
	}
	return s
}

// Next waits for a packet.
func (s *Sink) Next(t testing.TB) Got {
	t.Helper()
	select {
	case g := <-s.got:
		return g
	case <-time.After(patience):
		t.Fatalf("channel %s: no packet came; %+v%s", s.Chan.Protocol(), s.Chan.Stats(), s.links())
	}
	return Got{}
}

// links says where on the node a packet may have stayed.
func (s *Sink) links() string {
	var b strings.Builder
	for _, l := range s.node.Links() {
		st, err := s.node.LinkStats(l.Info().Name)
		fmt.Fprintf(&b, "; link %s: %+v, %v", l.Info().Name, st, err)
	}
	fmt.Fprintf(&b, "; packets: %+v", s.node.Pool().Stats())
	return b.String()
}

// Empty fails the test if there is a packet.
func (s *Sink) Empty(t testing.TB) {
	t.Helper()
	select {
	case g := <-s.got:
		t.Errorf("channel %s: a packet too many: %x", s.Chan.Protocol(), g.Data)
	default:
	}
}

// Drain returns what is there.
func (s *Sink) Drain() (all []Got) {
	for {
		select {
		case g := <-s.got:
			all = append(all, g)
		default:
			return all
		}
	}
}

// numbered is a payload of size bytes that begins with a letter and a number.
func numbered(kind byte, i, size int) []byte {
	b := make([]byte, max(size, 5))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(i))
	for j := 5; j < len(b); j++ {
		b[j] = byte(j * 7)
	}
	return b
}

func (f *Fixture) deliver(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 0)
	proto, addr := f.protocol()
	a := NewSink(t, n, proto, addr, "0/61")
	b := NewSink(t, n, proto, addr, "0/62")
	rest := NewSink(t, n, proto, addr, "4/05")
	for i := range 20 {
		for _, k := range []byte("abc") {
			f.Inject(t, f.Wrap(numbered(k, i, 40)))
		}
	}
	for i := range 20 {
		for _, s := range []struct {
			*Sink
			kind byte
		}{{a, 'a'}, {b, 'b'}} {
			if g := s.Next(t); !bytes.Equal(g.Data, numbered(s.kind, i, 40)) {
				t.Fatalf("packet %d of %c: got %x", i, s.kind, g.Data)
			}
		}
	}
	if g := rest.Next(t); !bytes.Equal(g.Data, numbered('c', 5, 40)) {
		t.Fatalf("got %x", g.Data)
	}
	f.flushThrough(t, a)
	a.Empty(t)
	b.Empty(t)
	rest.Empty(t)
}

// flushThrough returns when everything injected before has been dealt with: order is kept.
func (f *Fixture) flushThrough(t *testing.T, a *Sink) {
	t.Helper()
	mark := numbered('a', 1<<20, 40)
	f.Inject(t, f.Wrap(mark))
	for g := a.Next(t); !bytes.Equal(g.Data, mark); g = a.Next(t) {
		t.Errorf("channel %s: a packet too many: %x", a.Chan.Protocol(), g.Data)
	}
}

func (f *Fixture) send(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 0)
	out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
	if err != nil {
		t.Fatal(err)
	}
	const count = 300
	sizes := []int{18, 64, 500, 1400}
	frame := func(i int) []byte { return f.Wrap(numbered('s', i, sizes[i%len(sizes)])) }
	for from := 0; from < count; from += 50 {
		w := n.Worker(0)
		var made [][]byte
		for i := from; i < from+50; i++ {
			made = append(made, frame(i))
		}
		w.Call(func() {
			var b packet.Batch
			for _, m := range made {
				p := w.Cache().AllocFrom(packet.Node, m)
				p.Anno.Dst, p.Anno.DstPort = f.Dst.Addr(), f.Dst.Port()
				b.Append(p)
			}
			out.Send(w, &b)
			if b.Len() != 0 {
				t.Error("Send left packets in the batch")
			}
		})
		for i := from; i < from+50; i++ {
			if got := f.Sent(t); !bytes.Equal(got, made[i-from]) {
				t.Fatalf("frame %d on the wire: %x\nwant %x", i, got, made[i-from])
			}
		}
	}
	// The worker counts after the system call, so the last frames may be here before their count.
	stats := func() nodeos.LinkStats {
		st, err := n.LinkStats("l0")
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	Until(t, func() bool { return stats().TxPackets >= count })
	if st := stats(); st.TxPackets != count || st.TxDrops != 0 {
		t.Errorf("stats %+v, want %d sent", st, count)
	}
	// What cannot be sent is dropped and counted.
	w := n.Worker(0)
	w.Call(func() {
		var b packet.Batch
		b.Append(w.Cache().AllocFrom(packet.Node, []byte{1, 2, 3})) // too short for an Ethernet, without an address for UDP
		out.Send(w, &b)
	})
	Until(t, func() bool { return stats().TxDrops > 0 })
	Until(t, func() bool { return n.Pool().Stats().ByState[packet.Held] == 0 })
	if st := stats(); st.TxDrops != 1 {
		t.Errorf("stats %+v, want one drop", st)
	}
}

// changeUnderTraffic opens and closes a channel while another one has traffic.
func (f *Fixture) changeUnderTraffic(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 0)
	proto, addr := f.protocol()
	stays := NewSink(t, n, proto, addr, "0/61")
	const rounds, burst = 25, 40
	inject := make(chan int)
	done := make(chan bool)
	go func() {
		defer close(done)
		for r := range inject {
			for i := range burst {
				f.Inject(t, f.Wrap(numbered('a', r*burst+i, 40)))
				f.Inject(t, f.Wrap(numbered('b', r*burst+i, 40)))
			}
		}
	}()
	for r := range rounds {
		inject <- r
		comes := NewSink(t, n, proto, addr, "0/62")
		for i := range burst {
			if g := stays.Next(t); !bytes.Equal(g.Data, numbered('a', r*burst+i, 40)) {
				t.Fatalf("round %d: packet %x, want number %d", r, g.Data, r*burst+i)
			}
		}
		comes.Chan.Close()
		last := -1
		for _, g := range comes.Drain() {
			i := int(binary.BigEndian.Uint32(g.Data[1:]))
			if g.Data[0] != 'b' || i <= last {
				t.Fatalf("round %d: the changing channel got %x after number %d", r, g.Data, last)
			}
			last = i
		}
	}
	close(inject)
	<-done
	f.flushThrough(t, stays)
	stays.Empty(t)
}

// overflow fills the ring while the worker is held up.
func (f *Fixture) overflow(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 16)
	proto, addr := f.protocol()
	s := NewSink(t, n, proto, addr, "0/61")
	held, release := make(chan bool), make(chan bool)
	for i := range max(f.Workers, 1) {
		n.Worker(i).Post(func() { held <- true; <-release })
		<-held
	}
	const count = 6000
	for i := range count {
		f.Inject(t, f.Wrap(numbered('a', i, 1200)))
	}
	close(release)
	received := 0
	deadline := time.Now().Add(patience)
	var st nodeos.LinkStats
	for time.Now().Before(deadline) {
		received += len(s.Drain())
		if st, _ = n.LinkStats("l0"); received > 0 && received+int(st.RxDrops) >= count {
			break
		}
	}
	if st.RxDrops == 0 || received+int(st.RxDrops) != count || received != int(st.RxPackets) {
		t.Errorf("%d of %d received, stats %+v", received, count, st)
	}
	f.flushThrough(t, s) // and it works on
}

// close opens and closes links and looks for what stays.
func (f *Fixture) close(t *testing.T) {
	once := func() {
		n := NewNode(t, max(f.Workers, 1))
		f.Open(t, n, "l0", 0)
		proto, addr := f.protocol()
		s := NewSink(t, n, proto, addr, "")
		f.Inject(t, f.Wrap(numbered('a', 1, 40)))
		s.Next(t)
		if err := n.CloseLink("l0"); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	once() // whatever is opened once for the process
	before := descriptors(t)
	for range 5 {
		once()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// descriptors counts the process's, where the system tells.
func descriptors(t *testing.T) int {
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(es)
}
