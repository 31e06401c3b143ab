package xdp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// TestHost runs the suite of drivers that share an interface with the host.
func TestHost(t *testing.T) {
	for _, o := range variants[:2] {
		t.Run(o["mode"], func(t *testing.T) {
			w := newNetwork(t, 1)
			conformance.RunHost(t, conformance.Host{Net: w.Network, Open: func(t testing.TB, n *nodeos.Node) conformance.HostLink { return w.open(t, n, spec(o)) }})
		})
	}
}

// TestSwapExactlyOnce changes the claims while traffic flows: each packet is the host's or the node's.
func TestSwapExactlyOnce(t *testing.T) {
	w := newNetwork(t, 1)
	host := udpAt(t, w.here, fmt.Sprintf("10.77.0.1:%d", conformance.Port))
	must(t, host.SetReadBuffer(4<<20))
	for _, o := range variants[:2] {
		t.Run(o["mode"], func(t *testing.T) {
			n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "dut", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 1 << 15}})
			must(t, err)
			t.Cleanup(func() { must(t, n.Close()) })
			l, c := w.byHand(t, n, o, 1<<13)
			on := suiteRules(t)
			const most, swaps = 200000, 60
			var sent, atHost, atNode atomic.Uint32
			seen := make([]atomic.Uint32, most)
			done, read := make(chan bool), make(chan bool)
			stop := make(chan bool)
			go func() {
				defer close(done)
				for i := uint32(0); i < most; {
					select {
					case <-stop:
						return
					default:
					}
					if sent.Load()-atHost.Load()-atNode.Load() >= 100 { // the wire, a veth, holds 256 frames
						continue
					}
					sent.Add(1)
					w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, binary.BigEndian.AppendUint32(nil, i)))
					i++
				}
			}()
			go func() {
				defer close(read)
				b := make([]byte, 64)
				for {
					n, err := host.Read(b)
					if err != nil || n < 4 { // the shorter one ends the host's share
						return
					}
					seen[binary.BigEndian.Uint32(b)].Add(1)
					atHost.Add(1)
				}
			}()
			var b packet.Batch
			receive := func() {
				for l.Receive(c, &b); b.Len() > 0; l.Receive(c, &b) {
					for _, p := range b.Packets() {
						seen[binary.BigEndian.Uint32(p.Data()[42:])].Add(1)
						atNode.Add(1)
					}
					c.FreeBatch(&b)
				}
			}
			for swap := range swaps {
				rules := on
				if swap%2 == 0 {
					rules = nil
				} else if swap%4 == 1 {
					rules = append([]demux.Rule{{ID: 2, Protocol: on[0].Protocol, Local: demux.Address{Top: demux.UDP, Port: 9}}}, on...)
				}
				must(t, l.Claim(conformance.Claims(t, "l0", rules...)))
				for more := sent.Load() + 10; sent.Load() < min(more, most); {
					receive()
				}
			}
			close(stop)
			<-done
			must(t, l.Claim(conformance.Claims(t, "l0")))
			w.inject(t, conformance.UDPFrame(w.mac, conformance.Port, []byte("end")))
			<-read
			count := sent.Load()
			conformance.Until(t, func() bool { receive(); return atHost.Load()+atNode.Load() >= count })
			if st := l.Stats(); st.RxDrops > 0 {
				t.Fatalf("the ring was too small: %+v", st)
			}
			for i := range count {
				if n := seen[i].Load(); n != 1 {
					t.Errorf("packet %d was seen %d times", i, n)
				}
			}
			t.Logf("%d swaps, %d packets at the host, %d at the node", swaps, atHost.Load(), atNode.Load())
			if atHost.Load() == 0 || atNode.Load() == 0 {
				t.Error("the claims did not change under traffic")
			}
		})
	}
}

// TestChild is not a test: TestKill starts it as another process.
func TestChild(t *testing.T) {
	ns := os.Getenv("JANOS_XDP_TEST_NS")
	if ns == "" {
		t.Skip("only as a child of TestKill")
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "child", Clock: clock.NewReal()})
	must(t, err)
	w := &network{}
	w.here, err = netns.Open(netns.Dir, ns)
	must(t, err)
	w.open(t, n, spec(map[string]string{"mode": os.Getenv("JANOS_XDP_TEST_MODE")}))
	conformance.NewSink(t, n, "if/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
	fmt.Println("ready")
	for {
		_ = unix.Pause() // select would be a deadlock to a runtime that has nothing else to do
	}
}

// program returns the number of the XDP program on here's interface, 0 for none.
func program(t testing.TB, w *network) (id uint32) {
	t.Helper()
	w.hereLink(t, func(_ *netlink.Handle, l netlink.Link) error {
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			id = x.ProgId
		}
		return nil
	})
	return id
}

// TestKill kills a process that has claims, and opens the interface again.
func TestKill(t *testing.T) {
	w := newNetwork(t, 1)
	host := udpAt(t, w.here, fmt.Sprintf("10.77.0.1:%d", conformance.Port))
	open := udpAt(t, w.here, "10.77.0.1:7001")
	there := udpAt(t, w.there, "10.77.0.2:0")
	send := func(port uint16, msg string) {
		if _, err := there.WriteToUDPAddrPort([]byte(msg), netip.AddrPortFrom(netip.MustParseAddr("10.77.0.1"), port)); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"native", "generic"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
		cmd.Env = append(os.Environ(), "JANOS_XDP_TEST_NS="+w.here.Name(), "JANOS_XDP_TEST_MODE="+mode)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
		if program(t, w) == 0 {
			t.Error("the interface shows no program")
		}
		send(conformance.Port, "claimed")
		send(7001, "open")
		if got := next(t, open); got != "open" {
			t.Fatalf("got %q", got)
		}
		must(t, cmd.Process.Kill())
		cmd.Wait()
		// The kernel takes the program off when the last descriptor of the dead process is closed.
		conformance.Until(t, func() bool { return program(t, w) == 0 })
		send(conformance.Port, "after")
		if got := next(t, host); got != "after" { // the claimed one before it would come first
			t.Errorf("%s: host got %q after the kill", mode, got)
		}
		n := conformance.NewNode(t)
		w.open(t, n, spec(map[string]string{"mode": mode}))
		s := conformance.NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", conformance.Port), "")
		send(conformance.Port, "again")
		if g := s.Next(t); string(g.Data) != "again" {
			t.Errorf("%s: got %q after the restart", mode, g.Data)
		}
		must(t, n.CloseLink("l0"))
		if program(t, w) != 0 {
			t.Error("the closed link leaves its program")
		}
	}
}
