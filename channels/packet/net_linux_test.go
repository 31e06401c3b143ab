package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Three namespaces in a row: there -- here -- beyond. here is the router with the node.
type network struct {
	there, here, beyond   *netns.Namespace
	mac                   [6]byte // of here's interface jnl0 towards there
	thereFD               int     // raw socket on there's interface
	buf                   []byte
	hereIndex, thereIndex int
}

// newNetwork builds the namespaces; they go with the test. Names carry the process's number, and those of
// processes that died are swept.
func newNetwork(t testing.TB) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, packet sockets and BPF")
	}
	sweepStale(t)
	w := &network{thereFD: -1, buf: make([]byte, 1<<16)}
	prefix := fmt.Sprintf("jnpkt%d", os.Getpid())
	for _, ns := range []struct {
		name string
		to   **netns.Namespace
	}{{"there", &w.there}, {"here", &w.here}, {"beyond", &w.beyond}} {
		n := netnstest.New(t, prefix+ns.name)
		*ns.to = n
		must(t, ignore(n.Sysctl("ipv6/conf/all/disable_ipv6", "0")))
		must(t, ignore(n.Sysctl("ipv6/conf/default/accept_dad", "0")))
		must(t, ignore(n.Sysctl("ipv6/conf/default/router_solicitations", "0")))
	}
	must(t, w.here.Sysctl("ipv4/ip_forward", "1"))
	w.pair(t, w.there, "jnl0", "10.77.0.2/24", "fd77::2/64", w.here, "jnl0", "10.77.0.1/24", "fd77::1/64")
	w.pair(t, w.here, "jnl1", "10.78.0.1/24", "fd78::1/64", w.beyond, "jnl0", "10.78.0.2/24", "fd78::2/64")
	w.do(t, w.there, func(h *netlink.Handle) error { return route(h, "jnl0", "10.77.0.1") })
	w.do(t, w.beyond, func(h *netlink.Handle) error { return route(h, "jnl0", "10.78.0.1") })
	w.do(t, w.here, func(h *netlink.Handle) error {
		l, err := h.LinkByName("jnl0")
		if err == nil {
			copy(w.mac[:], l.Attrs().HardwareAddr)
			w.hereIndex = l.Attrs().Index
		}
		return err
	})
	must(t, w.there.Do(func() (err error) {
		w.thereFD, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(unix.ETH_P_ALL<<8|unix.ETH_P_ALL>>8)&0xffff)
		if err != nil {
			return err
		}
		i, err := net.InterfaceByName("jnl0")
		if err != nil {
			return err
		}
		w.thereIndex = i.Index
		must(t, unix.SetsockoptInt(w.thereFD, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		must(t, unix.SetsockoptInt(w.thereFD, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
		return unix.Bind(w.thereFD, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: unix.ETH_P_ALL << 8})
	}))
	t.Cleanup(func() { unix.Close(w.thereFD) })
	return w
}

func sweepStale(t testing.TB) {
	names, err := netns.List(netns.Dir, "jnpkt")
	must(t, err)
	for _, n := range names {
		var pid int
		var rest string
		if k, _ := fmt.Sscanf(n, "jnpkt%d%s", &pid, &rest); k == 2 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			must(t, netns.Delete(netns.Dir, n))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ignore is for settings that some kernels do not have.
func ignore(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (w *network) do(t testing.TB, ns *netns.Namespace, fn func(h *netlink.Handle) error) {
	t.Helper()
	h, err := ns.Netlink()
	must(t, err)
	defer h.Close()
	must(t, fn(h))
}

func route(h *netlink.Handle, dev, via string) error {
	l, err := h.LinkByName(dev)
	if err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)})
}

// pair joins two namespaces and enters each end in the other's neighbour table, so that the links are quiet.
func (w *network) pair(t testing.TB, a *netns.Namespace, aName, a4, a6 string, b *netns.Namespace, bName, b4, b6 string) {
	w.do(t, a, func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aName}, PeerName: bName, PeerNamespace: netlink.NsFd(b.Fd())})
	})
	type end struct {
		ns     *netns.Namespace
		name   string
		v4, v6 string
		mac    net.HardwareAddr
		peer4  net.IP
		peer6  net.IP
	}
	ends := []*end{{ns: a, name: aName, v4: a4, v6: a6}, {ns: b, name: bName, v4: b4, v6: b6}}
	for _, e := range ends {
		w.do(t, e.ns, func(h *netlink.Handle) error {
			l, err := h.LinkByName(e.name)
			if err != nil {
				return err
			}
			e.mac = l.Attrs().HardwareAddr
			for _, s := range []string{e.v4, e.v6} {
				ad, err := netlink.ParseAddr(s)
				if err != nil {
					return err
				}
				ad.Flags = unix.IFA_F_NODAD
				if err := h.AddrAdd(l, ad); err != nil {
					return err
				}
			}
			return h.LinkSetUp(l)
		})
	}
	for i, e := range ends {
		other := ends[1-i]
		w.do(t, e.ns, func(h *netlink.Handle) error {
			l, err := h.LinkByName(e.name)
			if err != nil {
				return err
			}
			for _, s := range []string{other.v4, other.v6} {
				ip, _, err := net.ParseCIDR(s)
				if err != nil {
					return err
				}
				if err := h.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip, HardwareAddr: other.mac, State: netlink.NUD_PERMANENT}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// open opens here's interface on n.
func (w *network) open(t testing.TB, n *nodeos.Node, spec nodeos.LinkSpec) *Link {
	t.Helper()
	spec.Driver = "packet"
	spec.Device = "jnl0"
	var l nodeos.Link
	must(t, w.here.Do(func() (err error) {
		l, err = n.OpenLink(spec)
		return err
	}))
	return l.(*Link)
}

// inject puts frames on the wire towards here.
func (w *network) inject(t testing.TB, frames ...[]byte) {
	for _, f := range frames {
		if err := unix.Sendto(w.thereFD, f, 0, &unix.SockaddrLinklayer{Ifindex: w.thereIndex}); err != nil {
			t.Errorf("sending a frame of %d bytes: %v", len(f), err)
		}
	}
}

// sent returns the next frame that arrives at there and was made by the suite; here's own stack talks too.
func (w *network) sent(t testing.TB) []byte {
	tv := unix.NsecToTimeval(int64(10 * time.Second))
	must(t, unix.SetsockoptTimeval(w.thereFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	for {
		n, _, err := unix.Recvfrom(w.thereFD, w.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Errorf("no frame came: %v", err)
			return nil
		}
		if n >= 12 && [6]byte(w.buf[6:12]) == conformance.ThereMAC {
			return append([]byte(nil), w.buf[:n]...)
		}
	}
}

// udpAt opens a UDP socket of a namespace's own stack.
func udpAt(t testing.TB, ns *netns.Namespace, addr string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	must(t, ns.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// next returns the next datagram of a socket.
func next(t testing.TB, c *net.UDPConn) string {
	t.Helper()
	b := make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("no datagram at %v: %v", c.LocalAddr(), err)
	}
	return string(b[:n])
}

// variants are the forms of the driver that pass the same tests.
var variants = []map[string]string{nil, {"latency": "low"}}

func each(t *testing.T, fn func(t *testing.T, w *network, o map[string]string)) {
	w := newNetwork(t)
	for _, o := range variants {
		t.Run(fmt.Sprint(o), func(t *testing.T) { fn(t, w, o) })
	}
}

func spec(o map[string]string) nodeos.LinkSpec { return nodeos.LinkSpec{Name: "l0", Opts: o} }

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) { w.conform(t, nodeos.LinkSpec{Opts: o}) })
}

// conform runs the suite over links of a Spec.
func (w *network) conform(t *testing.T, spec nodeos.LinkSpec) {
	conformance.Run(t, conformance.Fixture{
		Base:    demux.Ether,
		Workers: len(spec.Workers),
		Open: func(t *testing.T, n *nodeos.Node, name string, ring int) {
			spec.Name, spec.Ring = name, ring
			l := w.open(t, n, spec)
			if notes := l.Info().Notes; len(notes) > 0 {
				t.Errorf("degraded: %v", notes)
			}
		},
		Inject: func(t *testing.T, frames ...[]byte) { w.inject(t, frames...) },
		Sent:   func(t *testing.T) []byte { return w.sent(t) },
		MAC:    func() [6]byte { return w.mac },
	})
}

func openNS(name string) (*netns.Namespace, error) { return netns.Open(netns.Dir, name) }

func passCode() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, tcNext), asm.Return()}
}

// sendOne sends a frame on the worker and returns when the link has counted it.
func sendOne(t testing.TB, n *nodeos.Node, l *Link, out *nodeos.OutChan, frame []byte) {
	t.Helper()
	done := func() uint64 { st := l.Stats(); return st.TxPackets + st.TxDrops }
	before := done()
	w := n.Worker(0)
	w.Call(func() {
		var b packet.Batch
		b.Append(w.Cache().AllocFrom(packet.Node, frame))
		out.Send(w, &b)
	})
	conformance.Until(t, func() bool { return done() == before+1 })
}
