package conformance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// Host is a driver under test on an interface that it shares with the host.
type Host struct {
	Net  *Network
	Open func(t testing.TB, n *nodeos.Node) HostLink // as l0, on Here's jnl0
}

// HostLink is a link on an interface.
type HostLink interface {
	nodeos.Link
	Err() error // what is wrong with the interface
}

// RunHost runs what is to hold of every driver that shares an interface with the host.
func RunHost(t *testing.T, h Host) {
	t.Run("ClaimedOrNot", h.claimedOrNot)
	t.Run("TCPBesideTheNode", h.tcp)
	t.Run("TooManyShapes", h.shapes)
	t.Run("DomainEndsUnderLoad", h.domainEnds)
	t.Run("InterfaceGoes", h.interfaceGoes)
}

// claimedOrNot sends claimed and unclaimed packets to a router with forwarding on and looks at both sides.
func (h Host) claimedOrNot(t *testing.T) {
	n := NewNode(t)
	h.Open(t, n)
	host := UDPAt(t, h.Net.Here, "10.77.0.1:0")
	beyond := UDPAt(t, h.Net.Beyond, "10.78.0.2:0")
	there := UDPAt(t, h.Net.There, "10.77.0.2:0")

	// The channel claims by key, so both kinds of packets have the same addresses and ports.
	claimed := NewSink(t, n, "if/ether/ip/udp", "", "0/63")
	send := func(to *net.UDPConn, msg string) {
		if _, err := there.WriteToUDP([]byte(msg), to.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		for _, to := range []*net.UDPConn{host, beyond} {
			send(to, fmt.Sprint("claimed ", i, to.LocalAddr()))
			send(to, fmt.Sprint("open ", i, to.LocalAddr()))
			if got := NextDatagram(t, to); got != fmt.Sprint("open ", i, to.LocalAddr()) {
				t.Fatalf("at %s: %q", to.LocalAddr(), got)
			}
			g := claimed.Next(t)
			if string(g.Data) != fmt.Sprint("claimed ", i, to.LocalAddr()) {
				t.Fatalf("channel: %q", g.Data)
			}
			CheckUDP(t, g.Frame)
		}
	}
	claimed.Empty(t)
	if st, err := n.LinkStats("l0"); err != nil || st.Unclaimed != 0 || st.RxPackets != 100 || st.RxDrops != 0 {
		t.Errorf("stats %+v, %v: want the claimed packets and no others", st, err)
	}
}

// CheckUDP verifies both checksums of a frame of IPv4 and UDP: kernels leave them unfinished between namespaces.
func CheckUDP(t testing.TB, f []byte) {
	t.Helper()
	if len(f) < 42 || demux.Checksum(f[14:34]) != 0 {
		t.Fatalf("IP checksum of %x", f)
	}
	src, dst := netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
	if c := demux.Fold(demux.Sum(demux.PseudoSum(src, dst, demux.ProtoUDP, len(f)-34), f[34:])); c != 0 {
		t.Fatalf("UDP checksum of %x is off by %04x", f, c)
	}
}

// tcp transfers to the router's own stack while a link opens, a channel has traffic, claims change, and the link closes.
func (h Host) tcp(t *testing.T) {
	var ln net.Listener
	must(t, h.Net.Here.Do(func() (err error) {
		ln, err = net.Listen("tcp", "10.77.0.1:0")
		return err
	}))
	defer ln.Close()
	result := make(chan [32]byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		sum := sha256.New()
		_, _ = io.Copy(sum, c)
		result <- [32]byte(sum.Sum(nil))
	}()
	var c net.Conn
	must(t, h.Net.There.Do(func() (err error) {
		c, err = net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
		return err
	}))
	defer c.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16)
	sum := sha256.New()
	write := func(times int) {
		for range times {
			sum.Write(data)
			if _, err := c.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(20)
	n := NewNode(t)
	h.Open(t, n)
	write(20)
	s := NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", Port), "")
	for i := range 20 {
		h.Net.Inject(t, UDPFrame(h.Net.MAC, Port, []byte{byte(i)}))
		other := NewSink(t, n, "l0/ether/ip/udp", ":9", "")
		write(2)
		other.Chan.Close()
		s.Next(t)
	}
	must(t, n.CloseLink("l0"))
	write(20)
	c.Close()
	select {
	case got := <-result:
		if got != [32]byte(sum.Sum(nil)) {
			t.Error("the transfer arrived damaged")
		}
	case <-time.After(2 * patience):
		t.Fatal("the transfer did not end")
	}
}

// shapes opens channels by keys of more mask shapes than a link may have: one that is too much is refused when it is made, and those before go on.
func (h Host) shapes(t *testing.T) {
	n := NewNode(t)
	h.Open(t, n)
	s := NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", Port), "")
	open := func(i int) (*nodeos.InChan, error) {
		return n.Root().NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Key: demux.Key{{Offset: i, Value: []byte{1}}}, Handler: func(w *nodeos.Worker, b *packet.Batch) {
			w.Cache().FreeBatch(b)
		}})
	}
	var last *nodeos.InChan
	made := 1
	for ; ; made++ {
		c, err := open(made)
		if err != nil {
			if errs.KindOf(err) != errs.Limit || made != demux.MaxChainShapes {
				t.Errorf("with %d shapes on the link: %v", made, err)
			}
			break
		}
		last = c
	}
	last.Close()
	if _, err := open(made); err != nil {
		t.Errorf("another one in place of one that was closed: %v", err)
	}
	h.Net.Inject(t, UDPFrame(h.Net.MAC, Port, []byte("still")))
	if g := s.Next(t); string(g.Data) != "still" {
		t.Errorf("got %q", g.Data)
	}
}

// domainEnds terminates domains whose channels are flooded and send what they get, and looks for their frames.
func (h Host) domainEnds(t *testing.T) {
	n := NewNode(t)
	h.Open(t, n)
	stop, stopped := make(chan bool), make(chan bool)
	frame := UDPFrame(h.Net.MAC, Port, make([]byte, 22))
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				h.Net.Inject(t, frame)
			}
		}
	}()
	for i := range 10 {
		d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("d", i)}})
		must(t, err)
		out, err := d.NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
		must(t, err)
		in, err := d.NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: fmt.Sprintf(":%d", Port), Handler: func(wk *nodeos.Worker, b *packet.Batch) {
			for _, p := range b.Packets() {
				at, _ := p.MACOffset()
				p.Push(-at)
			}
			out.Send(wk, b)
		}})
		must(t, err)
		Until(t, func() bool { return in.Stats().Packets > 200 })
		d.Terminate(nil)
		Until(t, func() bool { return d.State() == nodeos.Dead })
	}
	close(stop)
	<-stopped
	must(t, n.CloseLink("l0"))
	if s := n.Pool().Stats(); s.ByState[packet.Free] != n.Pool().Spec().Frames || len(s.Charged) > 0 {
		t.Errorf("states %v, charged %v", s.ByState, s.Charged)
	}
}

// interfaceGoes takes the interface down and up, and away, and brings it back under its old name. It makes the link under test anew, so it is the last.
func (h Host) interfaceGoes(t *testing.T) {
	n := NewNode(t)
	l := h.Open(t, n)
	s := NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", Port), "")
	out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
	must(t, err)
	change := func(fn func(nl *netlink.Handle, i netlink.Link) error) {
		t.Helper()
		Netlink(t, h.Net.Here, func(nl *netlink.Handle) error {
			i, err := nl.LinkByIndex(h.Net.HereIndex)
			if err != nil {
				return err
			}
			return fn(nl, i)
		})
	}
	// send returns when the link has counted a frame.
	send := func() {
		t.Helper()
		done := func() uint64 { st := l.Stats(); return st.TxPackets + st.TxDrops }
		before := done()
		w := n.Worker(0)
		w.Call(func() {
			var b packet.Batch
			b.Append(w.Cache().AllocFrom(packet.Node, UDPFrame(h.Net.MAC, 9, []byte("out"))))
			out.Send(w, &b)
		})
		Until(t, func() bool { return done() == before+1 })
	}
	send()
	if l.Err() != nil || l.Stats().TxPackets != 1 {
		t.Fatalf("%v, %+v", l.Err(), l.Stats())
	}
	change(func(nl *netlink.Handle, i netlink.Link) error { return nl.LinkSetDown(i) })
	send()
	if errs.KindOf(l.Err()) != errs.Unreachable || l.Stats().TxDrops != 1 {
		t.Errorf("down: %v, %+v", l.Err(), l.Stats())
	}
	turns := n.Worker(0).Stats().Turns
	n.Worker(0).Call(func() {})
	n.Worker(0).Call(func() {})
	if d := n.Worker(0).Stats().Turns - turns; d > 20 {
		t.Errorf("the worker made %d turns with an interface that is down", d)
	}
	change(func(nl *netlink.Handle, i netlink.Link) error { return nl.LinkSetUp(i) })
	// What is sent before the kernel has noticed at the other end that there is a carrier again is lost.
	arrives := func(what string, send func()) {
		t.Helper()
		before := s.Chan.Stats().Packets
		Until(t, func() bool {
			send()
			return s.Chan.Stats().Packets > before
		})
		for string(s.Next(t).Data) != what { // or one of those before
		}
	}
	arrives("again", func() { h.Net.Inject(t, UDPFrame(h.Net.MAC, Port, []byte("again"))) })
	send()
	if l.Err() != nil || l.Stats().TxPackets != 2 {
		t.Errorf("up again: %v, %+v", l.Err(), l.Stats())
	}
	change(func(nl *netlink.Handle, i netlink.Link) error { return nl.LinkDel(i) })
	send()
	Until(t, func() bool { l.Stats(); return l.Err() != nil })
	if errs.KindOf(l.Err()) != errs.Unreachable || l.Stats().TxDrops != 2 {
		t.Errorf("gone: %v, %+v", l.Err(), l.Stats())
	}
	must(t, n.CloseLink("l0"))
	if st := n.Pool().Stats(); st.ByState[packet.Free] != n.Pool().Spec().Frames {
		t.Errorf("frames are missing: %v", st.ByState)
	}

	// The channel is still there, and goes on when the interface is opened again.
	h.Net.Join(t, 1)
	l = h.Open(t, n)
	there := UDPAt(t, h.Net.There, "10.77.0.2:0")
	arrives("back", func() { // an error is that of a former one, which found no carrier
		_, _ = there.WriteToUDPAddrPort([]byte("back"), netip.AddrPortFrom(netip.MustParseAddr("10.77.0.1"), Port))
	})
	if l.Err() != nil {
		t.Error(l.Err())
	}
}
