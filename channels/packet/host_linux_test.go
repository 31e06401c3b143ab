package packet

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// TestClaimedOrNot sends claimed and unclaimed packets to a router with forwarding on and looks at both sides.
func TestClaimedOrNot(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		n := conformance.NewNode(t)
		w.open(t, n, spec(o))
		host := udpAt(t, w.here, "10.77.0.1:0")
		hostPort := host.LocalAddr().(*net.UDPAddr).Port
		beyond := udpAt(t, w.beyond, "10.78.0.2:0")
		beyondPort := beyond.LocalAddr().(*net.UDPAddr).Port
		there := udpAt(t, w.there, "10.77.0.2:0")

		// The channel claims by key, so both kinds of packets have the same addresses and ports.
		claimed := conformance.NewSink(t, n, "if/ether/ip/udp", "", "0/63")
		send := func(addr string, port int, msg string) {
			if _, err := there.WriteToUDPAddrPort([]byte(msg), netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 50 {
			for _, to := range []struct {
				addr string
				port int
				at   *net.UDPConn
			}{{"10.77.0.1", hostPort, host}, {"10.78.0.2", beyondPort, beyond}} {
				send(to.addr, to.port, fmt.Sprint("claimed ", i, to.addr))
				send(to.addr, to.port, fmt.Sprint("open ", i, to.addr))
				if got := next(t, to.at); got != fmt.Sprint("open ", i, to.addr) {
					t.Fatalf("at %s: %q", to.addr, got)
				}
				g := claimed.Next(t)
				if string(g.Data) != fmt.Sprint("claimed ", i, to.addr) {
					t.Fatalf("channel: %q", g.Data)
				}
				checkUDP(t, g.Frame)
			}
		}
		claimed.Empty(t)
		st, err := n.LinkStats("l0")
		if err != nil || st.Unclaimed != 0 || st.RxPackets != 100 {
			t.Errorf("stats %+v, %v: unclaimed packets were copied to the ring", st, err)
		}
	})
}

// checkUDP verifies both checksums of a frame of IPv4 and UDP: kernels leave them unfinished between namespaces.
func checkUDP(t *testing.T, f []byte) {
	t.Helper()
	if len(f) < 42 || demux.Checksum(f[14:34]) != 0 {
		t.Fatalf("IP checksum of %x", f)
	}
	src, dst := netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
	if c := demux.Fold(demux.Sum(demux.PseudoSum(src, dst, demux.ProtoUDP, len(f)-34), f[34:])); c != 0 {
		t.Fatalf("UDP checksum of %x is off by %04x", f, c)
	}
}

// serve accepts one TCP connection in a namespace and returns what was read from it.
func serve(t *testing.T, w *network) (addr string, result chan [32]byte) {
	var ln net.Listener
	must(t, w.here.Do(func() (err error) {
		ln, err = net.Listen("tcp", "10.77.0.1:0")
		return err
	}))
	t.Cleanup(func() { ln.Close() })
	result = make(chan [32]byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		h := sha256.New()
		io.Copy(h, c)
		result <- [32]byte(h.Sum(nil))
	}()
	return ln.Addr().String(), result
}

func dial(t *testing.T, w *network, addr string) net.Conn {
	var c net.Conn
	must(t, w.there.Do(func() error {
		a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		tc, err := net.DialTCP("tcp", nil, a)
		c = tc
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// TestTCPBesideTheNode transfers to the router's own stack while a channel has traffic, opens, claims change, and the link closes.
func TestTCPBesideTheNode(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		addr, result := serve(t, w)
		c := dial(t, w, addr)
		data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10/16)
		h := sha256.New()
		write := func(times int) {
			for range times {
				h.Write(data)
				if _, err := c.Write(data); err != nil {
					t.Fatal(err)
				}
			}
		}
		write(20)
		n := conformance.NewNode(t)
		w.open(t, n, spec(o))
		write(20)
		s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
		for i := range 20 {
			w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte{byte(i)}))
			other := conformance.NewSink(t, n, "l0/ether/ip/udp", ":9", "")
			write(2)
			other.Chan.Close()
			s.Next(t)
		}
		must(t, n.CloseLink("l0"))
		write(20)
		c.Close()
		select {
		case got := <-result:
			if got != [32]byte(h.Sum(nil)) {
				t.Error("the transfer arrived damaged")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the transfer did not end")
		}
	})
}

// TestSuperFrames claims an established TCP connection, whose sender then hands its kernel more than fits a frame.
func TestSuperFrames(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		addr, _ := serve(t, w)
		c := dial(t, w, addr)
		port := netip.MustParseAddrPort(addr).Port()
		n := conformance.NewNode(t)
		l := w.open(t, n, spec(o))
		s := conformance.NewSink(t, n, "l0/ether/ip/tcp", fmt.Sprintf(":%d", port), "")
		payload := make([]byte, 10000) // within the first window, so one call makes one super-frame
		for i := range payload {
			payload[i] = byte(i * 31)
		}
		if _, err := c.Write(payload); err != nil {
			t.Fatal(err)
		}
		var got []byte
		first := uint32(0)
		for frames := 0; len(got) < len(payload); frames++ {
			g := s.Next(t)
			f := g.Frame
			if len(f) > 1514 {
				t.Fatalf("a frame of %d bytes reached the channel", len(f))
			}
			if demux.Checksum(f[14:34]) != 0 {
				t.Fatal("IP checksum is wrong")
			}
			src, dst := netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))
			if x := demux.Fold(demux.Sum(demux.PseudoSum(src, dst, demux.ProtoTCP, len(f)-34), f[34:])); x != 0 {
				t.Fatalf("TCP checksum is off by %04x", x)
			}
			seq := binary.BigEndian.Uint32(f[38:])
			if frames == 0 {
				first = seq
			}
			if seq != first+uint32(len(got)) {
				t.Fatalf("sequence number %d, want %d", seq, first+uint32(len(got)))
			}
			got = append(got, g.Data...)
		}
		if !bytes.Equal(got, payload) {
			t.Error("the payload was damaged")
		}
		if st := l.Stats(); st.RxDrops != 0 {
			t.Errorf("stats %+v", st)
		}
		must(t, n.CloseLink("l0"))
		if l.segRx.Len <= 1514 {
			t.Error("the kernel made no super-frame, so nothing was tested")
		}
	})
}

// TestVLANDevice lets a VLAN device send, whose tag travels beside the data.
func TestVLANDevice(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) {
		w.do(t, w.there, func(h *netlink.Handle) error {
			parent, err := h.LinkByName("jnl0")
			if err != nil {
				return err
			}
			v := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "jnv7", ParentIndex: parent.Attrs().Index}, VlanId: 7}
			if err := h.LinkAdd(v); errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip("this kernel has no VLAN devices; the suite's tagged frames take the same way")
			} else if err != nil {
				return err
			}
			t.Cleanup(func() { w.do(t, w.there, func(h *netlink.Handle) error { return h.LinkDel(v) }) })
			a, _ := netlink.ParseAddr("10.79.0.2/24")
			if err := h.AddrAdd(v, a); err != nil {
				return err
			}
			if err := h.LinkSetUp(v); err != nil {
				return err
			}
			return h.NeighSet(&netlink.Neigh{LinkIndex: v.Attrs().Index, IP: net.IPv4(10, 79, 0, 1), HardwareAddr: w.mac[:], State: netlink.NUD_PERMANENT})
		})
		n := conformance.NewNode(t)
		w.open(t, n, spec(o))
		udp := conformance.NewSink(t, n, "l0/ether/ip/udp", ":7000", "")
		whole := conformance.NewSink(t, n, "l0", "", "10/000081000007080045%0000ffffffffffffffff")
		c := udpAt(t, w.there, "10.79.0.2:0")
		for _, port := range []uint16{7000, 7001} {
			if _, err := c.WriteToUDPAddrPort([]byte("tagged"), netip.AddrPortFrom(netip.MustParseAddr("10.79.0.1"), port)); err != nil {
				t.Fatal(err)
			}
		}
		g := udp.Next(t)
		if string(g.Data) != "tagged" || !g.Anno.HasVLAN || g.Anno.VLAN != 7 || !bytes.Equal(g.Frame[12:18], []byte{0x81, 0, 0, 7, 8, 0}) {
			t.Errorf("%q, tag %v %d, frame %x", g.Data, g.Anno.HasVLAN, g.Anno.VLAN, g.Frame)
		}
		if g := whole.Next(t); len(g.Data) != 52 || binary.BigEndian.Uint16(g.Data[40:]) != 7001 {
			t.Errorf("whole frame %x", g.Data)
		}
	})
}

// attached counts what stands at here's tc ingress.
func attached(t *testing.T, w *network) (tcx, clsact int) {
	t.Helper()
	must(t, w.here.Do(func() error {
		r, err := link.QueryPrograms(link.QueryOptions{Target: w.hereIndex, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			tcx = len(r.Programs)
		}
		return nil
	}))
	w.do(t, w.here, func(h *netlink.Handle) error {
		l, err := h.LinkByName("jnl0")
		if err != nil {
			return err
		}
		fs, err := h.FilterList(l, netlink.HANDLE_MIN_INGRESS)
		clsact = len(fs)
		return err
	})
	return tcx, clsact
}

// TestChild is not a test: TestKill starts it as another process.
func TestChild(t *testing.T) {
	ns := os.Getenv("JANOS_PACKET_TEST_NS")
	if ns == "" {
		t.Skip("only as a child of TestKill")
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "child", Clock: clock.NewReal()})
	must(t, err)
	noTCX = os.Getenv("JANOS_PACKET_TEST_CLSACT") != ""
	w := &network{}
	w.here, err = openNS(ns)
	must(t, err)
	w.open(t, n, spec(nil))
	conformance.NewSink(t, n, "if/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	fmt.Println("ready")
	for {
		_ = unix.Pause() // select would be a deadlock to a runtime that has nothing else to do
	}
}

// TestKill kills a process that has claims, in both forms of attachment.
func TestKill(t *testing.T) {
	w := newNetwork(t)
	host := udpAt(t, w.here, fmt.Sprintf("10.77.0.1:%d", conformance.Port))
	there := udpAt(t, w.there, "10.77.0.2:0")
	send := func(port int, msg string) {
		if _, err := there.WriteToUDPAddrPort([]byte(msg), netip.AddrPortFrom(netip.MustParseAddr("10.77.0.1"), uint16(port))); err != nil {
			t.Fatal(err)
		}
	}
	open := udpAt(t, w.here, "10.77.0.1:7001")
	for _, clsact := range []string{"", "1"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
		cmd.Env = append(os.Environ(), "JANOS_PACKET_TEST_NS="+w.here.Name(), "JANOS_PACKET_TEST_CLSACT="+clsact)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = killWithParent
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		ready := false
		for sc := bufio.NewScanner(out); !ready && sc.Scan(); {
			ready = sc.Text() == "ready"
		}
		if !ready {
			cmd.Wait()
			t.Fatal("the child did not get ready")
		}
		send(conformance.Port, "claimed")
		send(7001, "open")
		if got := next(t, open); got != "open" {
			t.Fatalf("got %q", got)
		}
		must(t, cmd.Process.Kill())
		cmd.Wait()
		send(conformance.Port, "after")
		if got := next(t, host); got != "after" { // the claimed one before it would come first
			t.Errorf("clsact %q: host got %q after the kill", clsact, got)
		}
		tcx, filters := attached(t, w)
		if want := len(clsact); tcx != 0 || filters != want {
			t.Errorf("clsact %q: %d tcx programs and %d filters stay, want 0 and %d", clsact, tcx, filters, want)
		}
		var swept int
		must(t, w.here.Do(func() (err error) {
			swept, err = Sweep()
			return err
		}))
		if swept != len(clsact) {
			t.Errorf("clsact %q: swept %d", clsact, swept)
		}
	}
	if tcx, filters := attached(t, w); tcx != 0 || filters != 0 {
		t.Errorf("%d tcx programs and %d filters stay", tcx, filters)
	}
}

// TestOthersStay closes links beside filters and programs of others.
func TestOthersStay(t *testing.T) {
	w := newNetwork(t)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "others", Type: ebpf.SchedCLS, License: "GPL", Instructions: passCode()})
	must(t, err)
	defer prog.Close()
	var undo func() error
	must(t, w.here.Do(func() error {
		other, err := link.AttachTCX(link.TCXOptions{Interface: w.hereIndex, Program: prog, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		t.Cleanup(func() { other.Close() })
		undo, err = attachClsact(w.hereIndex, prog.FD())
		return err
	}))
	for _, old := range []bool{false, true} {
		noTCX = old
		n := conformance.NewNode(t)
		w.open(t, n, spec(nil))
		s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
		w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte("x")))
		s.Next(t)
		must(t, n.CloseLink("l0"))
		noTCX = false
		if tcx, filters := attached(t, w); tcx != 1 || filters != 1 {
			t.Errorf("%d tcx programs and %d filters are there, want the other's", tcx, filters)
		}
	}
	must(t, undo())
}

// TestInterfaceGoes takes the interface down and up, and away.
func TestInterfaceGoes(t *testing.T) {
	w := newNetwork(t)
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	out, err := n.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "l0"})
	must(t, err)
	set := func(up bool) {
		w.do(t, w.here, func(h *netlink.Handle) error {
			i, err := h.LinkByIndex(w.hereIndex)
			if err != nil {
				return err
			}
			if up {
				return h.LinkSetUp(i)
			}
			return h.LinkSetDown(i)
		})
	}
	send := func() { sendOne(t, n, l, out, conformance.UDPFrame(w.mac, 9, []byte("out"))) }
	send()
	if l.Err() != nil || l.Stats().TxPackets != 1 {
		t.Fatalf("%v, %+v", l.Err(), l.Stats())
	}
	set(false)
	send()
	if l.Err() == nil || l.Stats().TxDrops != 1 {
		t.Errorf("down: %v, %+v", l.Err(), l.Stats())
	}
	turns := n.Worker(0).Stats().Turns
	n.Worker(0).Call(func() {})
	n.Worker(0).Call(func() {})
	if d := n.Worker(0).Stats().Turns - turns; d > 20 {
		t.Errorf("the worker made %d turns with an interface that is down", d)
	}
	set(true)
	w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte("again")))
	if g := s.Next(t); string(g.Data) != "again" {
		t.Errorf("got %q", g.Data)
	}
	send()
	if l.Err() != nil {
		t.Errorf("up again: %v", l.Err())
	}
	w.do(t, w.here, func(h *netlink.Handle) error {
		i, err := h.LinkByIndex(w.hereIndex)
		if err != nil {
			return err
		}
		return h.LinkDel(i)
	})
	send()
	if l.Err() == nil {
		t.Error("the interface is gone and the link does not say so")
	}
	must(t, n.CloseLink("l0"))
}

var killWithParent = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

// TestSwapExactlyOnce changes the claims while traffic flows: each packet is the host's or the ring's.
func TestSwapExactlyOnce(t *testing.T) {
	w := newNetwork(t)
	host := udpAt(t, w.here, fmt.Sprintf("10.77.0.1:%d", conformance.Port))
	must(t, host.SetReadBuffer(4<<20))
	l, c := w.byHand(t, nil, 1<<14)
	p, err := demux.ParseProtocol("l0/ether/ip/udp")
	must(t, err)
	on := []demux.Rule{{ID: 1, Protocol: p, Local: demux.Address{Top: demux.UDP, Port: conformance.Port}}}
	const count = 8000
	done := make(chan bool)
	go func() {
		defer close(done)
		for i := range count {
			w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, binary.BigEndian.AppendUint32(nil, uint32(i))))
		}
	}()
	swaps := 0
	for sending := true; sending; swaps++ {
		select {
		case <-done:
			sending = false
		default:
		}
		rules := on
		if swaps%2 == 0 {
			rules = nil
		}
		must(t, l.Claim(conformance.Claims(t, "l0", rules...)))
	}
	must(t, l.Claim(conformance.Claims(t, "l0")))
	w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, binary.BigEndian.AppendUint32(nil, count))) // ends the host's share
	seen := make([]int, count)
	atHost := 0
	for {
		msg := next(t, host)
		i := binary.BigEndian.Uint32([]byte(msg))
		if i == count {
			break
		}
		seen[i]++
		atHost++
	}
	var b packet.Batch
	for atRing := 0; atHost+atRing < count; {
		l.Receive(c, &b)
		for _, p := range b.Packets() {
			seen[binary.BigEndian.Uint32(p.Data()[42:])]++
			atRing++
		}
		c.FreeBatch(&b)
		if st := l.Stats(); st.RxDrops > 0 {
			t.Fatalf("the ring was too small: %+v", st)
		}
	}
	for i, n := range seen {
		if n != 1 {
			t.Errorf("packet %d was seen %d times", i, n)
		}
	}
	t.Logf("%d swaps, %d packets at the host, %d at the ring", swaps, atHost, count-atHost)
	if swaps < 10 || atHost == 0 || atHost == count {
		t.Error("the claims did not change under traffic")
	}
}

// TestWithoutBPF opens a link where programs may not be loaded, as in a user namespace.
func TestWithoutBPF(t *testing.T) {
	w := newNetwork(t)
	noBPF = true
	defer func() { noBPF = false }()
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	if notes := l.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "the host's stack sees claimed packets too") {
		t.Errorf("notes %q", notes)
	}
	s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	w.inject(t, conformance.UDPFrame(w.mac, 9, []byte("open")), conformance.UDPFrame(w.mac, conformance.Port, []byte("claimed")))
	if g := s.Next(t); string(g.Data) != "claimed" {
		t.Errorf("got %q", g.Data)
	}
	s.Empty(t)
	strict := spec(map[string]string{"claims": "strict"})
	strict.Name, strict.Device, strict.Driver = "l1", "jnl0", "packet"
	must(t, w.here.Do(func() error {
		if l, err := n.OpenLink(strict); errs.KindOf(err) != errs.Permission {
			return fmt.Errorf("strict claims: %v, %v", l, err)
		}
		return nil
	}))
}
