package xdp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// cutNetwork is a node on both interfaces of here, and a socket that sees what arrives beyond.
type cutNetwork struct {
	*network
	n      *nodeos.Node
	fd     int
	mode   string
	source [6]byte // of here's interface towards beyond
}

func newCutNetwork(t testing.TB, mode string) *cutNetwork {
	t.Helper()
	w := &cutNetwork{network: newNetwork(t, 1), n: conformance.NewNode(t), mode: mode}
	w.beyondSocket(t)
	must(t, w.here.Do(func() error { return hardware("jnl1", &w.source) }))
	must(t, w.beyond.Do(func() error { return sys.SetGRO("jnl0", true) }))
	w.openBoth(t)
	return w
}

func (w *cutNetwork) openBoth(t testing.TB) {
	t.Helper()
	w.openAs(t, "l0", "jnl0")
	w.openAs(t, "l1", "jnl1")
}

func (w *cutNetwork) openAs(t testing.TB, name, device string) {
	t.Helper()
	must(t, w.here.Do(func() error {
		_, err := w.n.OpenLink(nodeos.LinkSpec{Name: name, Device: device, Driver: "xdp", Opts: map[string]string{"mode": w.mode}})
		return err
	}))
}

func (w *cutNetwork) beyondSocket(t testing.TB) {
	must(t, w.beyond.Do(func() (err error) {
		const all = unix.ETH_P_ALL << 8
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		i, err := net.InterfaceByName("jnl0")
		if err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(10 * time.Second))
		must(t, unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
		must(t, unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
		must(t, unix.SetsockoptInt(w.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		must(t, unix.SetsockoptInt(w.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: all})
	}))
	t.Cleanup(func() { unix.Close(w.fd) })
}

// arrived returns the next frame beyond that the node sent; here's own stack talks too. nil: none came.
func (w *cutNetwork) arrived() []byte {
	b, aux := make([]byte, 4096), make([]byte, 128)
	for {
		n, m, _, _, err := unix.Recvmsg(w.fd, b, aux, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil
		}
		if n < 14 || b[0] != 0x0e {
			continue
		}
		// The kernel has taken the outer tag out: it is in the last two words of a struct tpacket_auxdata.
		const header, valid = unix.SizeofCmsghdr, unix.TP_STATUS_VLAN_VALID | unix.TP_STATUS_VLAN_TPID_VALID
		if m < header+20 || binary.NativeEndian.Uint32(aux[header:])&valid != valid {
			return b[:n]
		}
		f := append([]byte(nil), b[:12]...)
		f = binary.BigEndian.AppendUint16(f, binary.NativeEndian.Uint16(aux[header+18:]))
		f = binary.BigEndian.AppendUint16(f, binary.NativeEndian.Uint16(aux[header+16:]))
		return append(f, b[12:n]...)
	}
}

// hop is where cut-through channels of the tests lead: its first byte tells their frames from others.
var hop = [6]byte{0x0e, 0, 0, 0, 0, 7}

func (w *cutNetwork) spec() nodeos.CutChanSpec {
	return nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: ":7000", Quota: 1024}, Out: nodeos.OutChanSpec{Protocol: "l1/ether", Address: "0x88b5", LinkAddr: hop}}
}

func (w *cutNetwork) cut(t testing.TB, d *nodeos.Domain, spec nodeos.CutChanSpec) *nodeos.CutChan {
	t.Helper()
	c, err := d.NewCutThrough(spec)
	must(t, err)
	return c
}

func inKernel(t testing.TB, c *nodeos.CutChan) {
	t.Helper()
	if where, why := c.Where(); where != "kernel" {
		t.Errorf("done in %s: %s", where, why)
	}
}

func (w *cutNetwork) frame(payload []byte) []byte { return conformance.UDPFrame(w.mac, 7000, payload) }

func TestCutPath(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			w := newCutNetwork(t, mode)
			root := w.n.Root()
			c := w.cut(t, root, w.spec())
			inKernel(t, c)
			pass := func(f []byte) []byte {
				t.Helper()
				w.inject(t, f)
				return w.arrived()
			}
			head := func(typ ...byte) []byte {
				return append(append(append([]byte(nil), hop[:]...), w.source[:]...), typ...)
			}
			for i := range 20 {
				payload := bytes.Repeat([]byte{byte(i)}, 60+i)
				if got, want := pass(w.frame(payload)), append(head(0x88, 0xb5), payload...); !bytes.Equal(got, want) {
					t.Fatalf("got %x, want %x", got, want)
				}
			}
			if st := c.Stats(); st.Packets != 20 || st.Kernel != 20 || st.Bytes != 20*60+190 {
				t.Errorf("%+v", st)
			}
			c.Close()

			// A hop with a tag: what comes has two tags and padding.
			c = w.cut(t, root, nodeos.CutChanSpec{
				In: nodeos.InChanSpec{Protocol: "l0/ether", Address: "0x0800", Key: demux.Key{{Offset: 9, Value: []byte{17}}, {Offset: 22, Value: []byte{27, 88}}}}, Out: nodeos.OutChanSpec{Protocol: "l1/ether", LinkAddr: hop, VLAN: []uint16{0x6005}}, DecTTL: true,
			})
			inKernel(t, c)
			in := conformance.FrameSpec{Dst: w.mac, Port: 7000, Payload: []byte("x"), Tags: []uint16{3, 4}, Pad: true}.Build()
			got := pass(in)
			ip := bytes.Clone(in[22:])
			ip[8]--
			want := append(head(0x81, 0, 0x60, 5, 8, 0), ip...)
			if len(got) < 38 || demux.Checksum(got[18:38]) != 0 {
				t.Fatalf("got %x", got)
			}
			copy(want[28:30], got[28:30])
			if !bytes.Equal(got, want) && mode == "native" || !bytes.HasPrefix(got, want[:min(len(got), len(want))]) {
				t.Errorf("got %x, want %x", got, want)
			}
			last := conformance.FrameSpec{Dst: w.mac, Port: 7000, Payload: make([]byte, 40)}.Build()
			last[22] = 1
			w.inject(t, last)
			conformance.Until(t, func() bool { return c.Stats().TTL == 1 })
			inKernel(t, c)
			c.Close()

			// Into a tunnel that user space makes, and then the kernel.
			tunnel := nodeos.OutChanSpec{Protocol: "l1/ether/ip/udp", Address: "10.78.0.2:99", LinkAddr: hop}
			spec := w.spec()
			spec.Out = tunnel
			c = w.cut(t, root, spec)
			if where, why := c.Where(); where != "user" || why == "" {
				t.Errorf("done in %s because %q", where, why)
			}
			a := pass(w.frame([]byte("tunnel")))
			tunnel.NoChecksum = true
			must(t, c.Redirect(tunnel))
			inKernel(t, c)
			b := pass(w.frame([]byte("tunnel")))
			if len(a) != 48 || len(b) != 48 || bytes.Equal(a[40:42], b[40:42]) {
				t.Fatalf("%x and %x", a, b)
			}
			clear(a[40:42])
			if !bytes.Equal(a, b) {
				t.Errorf("user space %x, kernel %x", a, b)
			}
			if st := c.Stats(); st.Packets != 2 || st.Kernel != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestCutRefusals follows a channel through what keeps it in user space.
func TestCutRefusals(t *testing.T) {
	w := newCutNetwork(t, "native")
	must(t, w.beyond.Do(func() error { return sys.SetGRO("jnl0", false) }))
	c := w.cut(t, w.n.Root(), w.spec())
	if where, why := c.Where(); where != "user" || why != "interface jnl1 takes no redirected frames (the other end of a virtual Ethernet must have an XDP program or merge packets: ethtool -K DEVICE gro on)" {
		if l, _ := w.n.Link("l1"); l.(*Link).netdev != nil {
			t.Errorf("done in %s because %q", where, why)
		}
	}
	w.inject(t, w.frame([]byte("up")))
	if w.arrived() == nil {
		t.Error("user space does not do it")
	}
	must(t, w.beyond.Do(func() error { return sys.SetGRO("jnl0", true) }))
	must(t, c.Redirect(w.spec().Out))
	inKernel(t, c)
	m := &twin{info: nodeos.LinkInfo{Name: "m", Driver: "twin", Number: w.n.NextLinkNumber(), Base: demux.Ether, MTU: 1500}}
	must(t, w.n.AddLink(m, 0))
	out := w.spec().Out
	out.Protocol = "m/ether"
	must(t, c.Redirect(out))
	if where, why := c.Where(); where != "user" || why != "out-link m is of driver twin" {
		t.Errorf("done in %s because %q", where, why)
	}
	other := conformance.NewNode(t)
	foreign := &Link{info: nodeos.LinkInfo{Name: "x"}}
	l, err := w.n.Link("l0")
	must(t, err)
	if _, err := l.(*Link).Cut(nodeos.Cut{Chan: c.In(), Out: foreign}); err == nil || err.Error() != "out-link x is of another node" {
		t.Errorf("a link of another node: %v", err)
	}
	must(t, other.Close())
}

// TestCutRate floods a channel: it lets through what its rate allows.
func TestCutRate(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		for _, form := range []string{"payload", "whole"} {
			t.Run(mode+" "+form, func(t *testing.T) {
				w := newCutNetwork(t, mode)
				spec, length := w.spec(), uint64(demux.EtherLen+100)
				if form == "whole" {
					spec = nodeos.CutChanSpec{In: nodeos.InChanSpec{Protocol: "l0", Key: demux.Key{{Offset: 36, Value: []byte{27, 88}}}, Quota: 1024}, Out: nodeos.OutChanSpec{Protocol: "l1"}}
					length += demux.IPv4Len + demux.UDPLen
				}
				const bits = 8_000_000 // some 10,000 frames a second
				spec.BitRate, spec.Burst = bits, 20*time.Millisecond
				c := w.cut(t, w.n.Root(), spec)
				inKernel(t, c)
				send := w.generator(t, w.frame(make([]byte, 100)))
				start := time.Now()
				total := uint64(0)
				for range 100 {
					send()
					total += sys.MaxMsgs
				}
				conformance.Until(t, func() bool { st := c.Stats(); return st.Packets+st.Rate == total })
				most := 20e-3 + time.Since(start).Seconds() + 5e-3
				st := c.Stats()
				if sent := float64(st.Packets * length * 8); sent > most*bits || st.Rate == 0 || st.Packets < 100 {
					t.Errorf("%d packets left and %d did not, at most %.0f", st.Packets, st.Rate, most*bits/8/float64(length))
				}
			})
		}
	}
}

// cutFlow is traffic of numbered packets, no more of them on the way than the rings hold.
type cutFlow struct {
	w          *cutNetwork
	sent, seen atomic.Uint64
	stop       chan struct{}
	done       sync.WaitGroup
}

func (x *cutFlow) run(t *testing.T, window uint64) {
	x.stop = make(chan struct{})
	x.done.Go(func() {
		payload := make([]byte, 60)
		for {
			select {
			case <-x.stop:
				return
			default:
			}
			if x.sent.Load()-x.seen.Load() >= window {
				continue
			}
			binary.BigEndian.PutUint64(payload, x.sent.Load())
			x.w.inject(t, x.w.frame(payload))
			x.sent.Add(1)
		}
	})
}

func (x *cutFlow) end() {
	close(x.stop)
	x.done.Wait()
}

// TestCutRedirectUnderLoad changes where packets leave, in the kernel and between it and user space: none is lost, none has half of a header, and none comes
// twice.
func TestCutRedirectUnderLoad(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			w := newCutNetwork(t, mode)
			// Each form's fields are all of one number.
			var outs []nodeos.OutChanSpec
			var forms [][]byte
			for k := range byte(3) {
				mac, addr := [6]byte{0x0e, k, k, k, k, k}, netip.AddrFrom4([4]byte{10, k, k, k})
				outs = append(outs, nodeos.OutChanSpec{Protocol: "l1/ether/ip/udp", Address: addr.String() + ":99", LinkAddr: mac, TTL: 10 + k, TOS: 4 * k, VLAN: []uint16{uint16(k)}, NoChecksum: k > 0})
				f := append(append([]byte(nil), mac[:]...), w.source[:]...)
				f = append(f, 0x81, 0, 0, k, 8, 0, 0x45, 4*k, 0, 88, 0, 0, 0, 0, 10+k, 17, 0, 0, 10, 78, 0, 1, 10, k, k, k)
				binary.BigEndian.PutUint16(f[28:], demux.Checksum(f[18:38]))
				forms = append(forms, append(f, 0, 99, 0, 99, 0, 68))
			}
			spec := w.spec()
			spec.Out = outs[1]
			c := w.cut(t, w.n.Root(), spec)
			x := &cutFlow{w: w}
			var counts [3]int
			var next atomic.Int64 // frames that the reader is to see
			next.Store(1 << 62)
			seen := make(map[uint64]bool)
			var reader sync.WaitGroup
			reader.Go(func() {
				for int64(x.seen.Load()) < next.Load() {
					f := w.arrived()
					if f == nil {
						t.Errorf("only %d of %d packets came", x.seen.Load(), x.sent.Load())
						return
					}
					k := int(f[1])
					if len(f) != 106 || k > 2 || !bytes.Equal(f[:44], forms[k]) {
						t.Errorf("a frame of no form: %x", f)
						return
					}
					counts[k]++
					n := binary.BigEndian.Uint64(f[46:])
					if seen[n] {
						t.Errorf("packet %d came twice", n)
					}
					seen[n] = true
					x.seen.Add(1)
				}
			})
			x.run(t, 64)
			changes := 300
			for i := range changes {
				k := 1 + i%2
				if i%10 == 9 {
					k = 0 // user space
				}
				must(t, c.Redirect(outs[k]))
				if where, why := c.Where(); (where == "kernel") != (k > 0) {
					t.Fatalf("form %d is done in %s %s", k, where, why)
				}
				before := x.seen.Load()
				conformance.Until(t, func() bool { return x.seen.Load() >= before+8 })
			}
			x.end()
			next.Store(int64(x.sent.Load()))
			w.inject(t, w.frame(bytes.Repeat([]byte{0xff}, 60))) // one more, so that the reader looks
			reader.Wait()
			st := c.Stats()
			if st.Packets < x.sent.Load() || st.Full+st.Poor+st.Gone+st.Invalid+st.TooBig > 0 || counts[0] == 0 || counts[1] == 0 || counts[2] == 0 {
				t.Errorf("%d sent, %v seen of each form, %+v", x.sent.Load(), counts, st)
			}
			t.Logf("%d packets through %d changes: %v", x.sent.Load(), changes, counts)
		})
	}
}

// TestCutEndsUnderLoad ends domains, channels and links while packets pass.
func TestCutEndsUnderLoad(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			w := newCutNetwork(t, mode)
			stop, stopped := make(chan bool), make(chan bool)
			send := w.generator(t, w.frame(make([]byte, 60)))
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
			flows := func(c *nodeos.CutChan) {
				t.Helper()
				inKernel(t, c)
				before := c.Stats().Kernel
				conformance.Until(t, func() bool { return c.Stats().Kernel > before+100 })
			}
			cells := shared.nodes[w.n.Pool()]
			for i := range 6 {
				d, err := w.n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("d", i)}})
				must(t, err)
				c := w.cut(t, d, w.spec())
				flows(c)
				if i%2 == 0 {
					d.Terminate(nil)
					conformance.Until(t, func() bool { return d.State() == nodeos.Dead })
				} else {
					c.Close()
				}
				if where, _ := c.Where(); where != "user" {
					t.Error("a dead channel is still in the kernel")
				}
				cells.cuts.mu.Lock()
				must(t, cells.cuts.settle())
				if f, h := len(cells.cuts.free), len(cells.cuts.freeHeads); f != maxCuts || h != maxHeads {
					t.Errorf("%d places and %d heads are free", f, h)
				}
				cells.cuts.mu.Unlock()
				if last := c.Stats(); last.Kernel < 100 || last != c.Stats() {
					t.Errorf("a dead channel counts %+v", last)
				}
			}
			c := w.cut(t, w.n.Root(), w.spec())
			for _, order := range [][2]string{{"l0", "l1"}, {"l1", "l0"}} {
				flows(c)
				for _, l := range order {
					must(t, w.n.CloseLink(l))
				}
				if where, why := c.Where(); where != "user" || why == "" {
					t.Errorf("done in %s because %q without its links", where, why)
				}
				w.openBoth(t)
			}
			flows(c)
			close(stop)
			<-stopped
			must(t, w.n.CloseLink("l0"))
			must(t, w.n.CloseLink("l1"))
			if s := w.n.Pool().Stats(); s.ByState[packet.Free] != w.n.Pool().Spec().Frames {
				t.Errorf("frames %v", s.ByState)
			}
		})
	}
}

// TestCutChild is not a test: TestCutKill starts it as another process.
func TestCutChild(t *testing.T) {
	ns := os.Getenv("JANOS_XDP_CUT_NS")
	if ns == "" {
		t.Skip("only as a child of TestCutKill")
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "child", Clock: clock.NewReal()})
	must(t, err)
	w := &cutNetwork{network: &network{}, n: n, mode: os.Getenv("JANOS_XDP_CUT_MODE")}
	w.here, err = netns.Open(netns.Dir, ns)
	must(t, err)
	w.openBoth(t)
	c := w.cut(t, n.Root(), w.spec())
	inKernel(t, c)
	fmt.Println("ready")
	for {
		_ = unix.Pause()
	}
}

// TestCutKill kills a process that has a channel in the kernel: nothing of it stays.
func TestCutKill(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) { testCutKill(t, mode) })
	}
}

func testCutKill(t *testing.T, mode string) {
	w := newCutNetwork(t, mode)
	must(t, w.n.CloseLink("l0"))
	must(t, w.n.CloseLink("l1"))
	host := udpAt(t, w.here, "10.77.0.1:7000")
	cmd := exec.Command(os.Args[0], "-test.run=^TestCutChild$", "-test.v")
	cmd.Env = append(os.Environ(), "JANOS_XDP_CUT_NS="+w.here.Name(), "JANOS_XDP_CUT_MODE="+mode)
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
	w.inject(t, w.frame(make([]byte, 60)))
	if f := w.arrived(); len(f) != 74 {
		t.Errorf("the child forwards %x", f)
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	programs := func() (n int) {
		w.do(t, w.here, func(h *netlink.Handle) error {
			for _, name := range []string{"jnl0", "jnl1"} {
				l, err := h.LinkByName(name)
				if err != nil {
					return err
				}
				if x := l.Attrs().Xdp; x != nil && x.Attached {
					n++
				}
			}
			return nil
		})
		return n
	}
	conformance.Until(t, func() bool { return programs() == 0 })
	there := udpAt(t, w.there, "10.77.0.2:0")
	if _, err := there.WriteToUDP([]byte("after"), udpAddr("10.77.0.1:7000")); err != nil {
		t.Fatal(err)
	}
	if got := next(t, host); got != "after" {
		t.Errorf("the host got %q", got)
	}
	w.openBoth(t)
	c := w.cut(t, w.n.Root(), w.spec())
	inKernel(t, c)
	w.inject(t, w.frame(make([]byte, 61)))
	if f := w.arrived(); len(f) != 75 {
		t.Errorf("%s: after the restart %x came", mode, f)
	}
	must(t, errors.Join(w.n.CloseLink("l0"), w.n.CloseLink("l1")))
}
