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

// TestHost runs the suite of drivers that share an interface with the host.
func TestHost(t *testing.T) {
	for _, o := range variants {
		t.Run(fmt.Sprint(o), func(t *testing.T) {
			w := newNetwork(t)
			conformance.RunHost(t, conformance.Host{Net: w.Network, Open: func(t testing.TB, n *nodeos.Node) conformance.HostLink { return w.open(t, n, spec(o)) }})
		})
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
