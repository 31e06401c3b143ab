package xdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func TestMain(m *testing.M) { leak.Main(m, fmt.Sprintf("jnxdp%d", os.Getpid())) }

// Three namespaces in a row: there -- here -- beyond. here is the router with the node.
type network struct {
	there, here, beyond   *netns.Namespace
	mac                   [6]byte // of here's interface jnl0 towards there
	thereFD               int     // raw socket on there's interface
	buf                   []byte
	hereIndex, thereIndex int
}

// newNetwork builds the namespaces; they go with the test. queues is how many receive queues here's interface has.
func newNetwork(t testing.TB, queues int) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, AF_XDP sockets and BPF")
	}
	sweepStale(t)
	w := &network{thereFD: -1, buf: make([]byte, 1<<16)}
	prefix := fmt.Sprintf("jnxdp%d", os.Getpid())
	for _, ns := range []struct {
		name string
		to   **netns.Namespace
	}{{"there", &w.there}, {"here", &w.here}, {"beyond", &w.beyond}} {
		n, err := netns.Create(netns.Dir, prefix+ns.name)
		must(t, err)
		*ns.to = n
		t.Cleanup(func() {
			n.Close()
			must(t, netns.Delete(netns.Dir, prefix+ns.name))
		})
		must(t, ignore(n.Sysctl("ipv6/conf/all/disable_ipv6", "0")))
		must(t, ignore(n.Sysctl("ipv6/conf/default/accept_dad", "0")))
		must(t, ignore(n.Sysctl("ipv6/conf/default/router_solicitations", "0")))
	}
	must(t, w.here.Sysctl("ipv4/ip_forward", "1"))
	w.pair(t, queues, end{w.there, "jnl0", "10.77.0.2/24", "fd77::2/64"}, end{w.here, "jnl0", "10.77.0.1/24", "fd77::1/64"})
	w.pair(t, 1, end{w.here, "jnl1", "10.78.0.1/24", "fd78::1/64"}, end{w.beyond, "jnl0", "10.78.0.2/24", "fd78::2/64"})
	w.do(t, w.there, func(h *netlink.Handle) error { return route(h, "10.77.0.1") })
	w.do(t, w.beyond, func(h *netlink.Handle) error { return route(h, "10.78.0.1") })
	w.do(t, w.here, func(h *netlink.Handle) error {
		l, err := h.LinkByName("jnl0")
		if err == nil {
			copy(w.mac[:], l.Attrs().HardwareAddr)
			w.hereIndex = l.Attrs().Index
		}
		return err
	})
	must(t, w.there.Do(func() (err error) {
		const all = unix.ETH_P_ALL << 8
		if w.thereFD, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		i, err := net.InterfaceByName("jnl0")
		if err != nil {
			return err
		}
		w.thereIndex = i.Index
		must(t, unix.SetsockoptInt(w.thereFD, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		must(t, unix.SetsockoptInt(w.thereFD, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
		return unix.Bind(w.thereFD, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: all})
	}))
	t.Cleanup(func() { unix.Close(w.thereFD) })
	return w
}

func sweepStale(t testing.TB) {
	names, err := netns.List(netns.Dir, "jnxdp")
	must(t, err)
	for _, n := range names {
		var pid int
		var rest string
		if k, _ := fmt.Sscanf(n, "jnxdp%d%s", &pid, &rest); k == 2 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
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

func route(h *netlink.Handle, via string) error {
	l, err := h.LinkByName("jnl0")
	if err != nil {
		return err
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)})
}

type end struct {
	ns           *netns.Namespace
	name, v4, v6 string
}

// pair joins two namespaces and enters each end in the other's neighbour table, so that the links are quiet.
func (w *network) pair(t testing.TB, queues int, a, b end) {
	w.do(t, a.ns, func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: a.name, NumTxQueues: queues, NumRxQueues: queues},
			PeerName:  b.name, PeerNamespace: netlink.NsFd(b.ns.Fd()), PeerNumTxQueues: uint32(queues), PeerNumRxQueues: uint32(queues),
		})
	})
	ends := [2]end{a, b}
	var macs [2]net.HardwareAddr
	for i, e := range ends {
		w.do(t, e.ns, func(h *netlink.Handle) error {
			l, err := h.LinkByName(e.name)
			if err != nil {
				return err
			}
			macs[i] = l.Attrs().HardwareAddr
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
				if err := h.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: ip, HardwareAddr: macs[1-i], State: netlink.NUD_PERMANENT}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// hereLink changes here's interface jnl0.
func (w *network) hereLink(t testing.TB, fn func(h *netlink.Handle, l netlink.Link) error) {
	t.Helper()
	w.do(t, w.here, func(h *netlink.Handle) error {
		l, err := h.LinkByIndex(w.hereIndex)
		if err != nil {
			return err
		}
		return fn(h, l)
	})
}

// try opens here's interface on n.
func (w *network) try(n *nodeos.Node, spec nodeos.LinkSpec) (*Link, error) {
	spec.Driver, spec.Device = "xdp", "jnl0"
	var l nodeos.Link
	err := w.here.Do(func() (err error) {
		l, err = n.OpenLink(spec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.(*Link), nil
}

func (w *network) open(t testing.TB, n *nodeos.Node, spec nodeos.LinkSpec) *Link {
	t.Helper()
	l, err := w.try(n, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return l
}

// byHand opens a link that no worker has, to be driven by the test, claiming UDP to the suite's port.
func (w *network) byHand(t testing.TB, n *nodeos.Node, o map[string]string, ring int) (*Link, *packet.Cache) {
	t.Helper()
	var nl nodeos.Link
	must(t, w.here.Do(func() (err error) {
		nl, err = Open(n, 1, nodeos.LinkSpec{Name: "l0", Device: "jnl0", Opts: o, Ring: ring})
		return err
	}))
	l, c := nl.(*Link), n.Pool().Cache(0)
	t.Cleanup(func() {
		l.Detach(c)
		must(t, l.Close())
	})
	must(t, l.Claim(conformance.Claims(t, "l0", suiteRules(t)...)))
	must(t, l.start(c))
	return l, c
}

// suiteRules claims UDP to the suite's port.
func suiteRules(t testing.TB) []demux.Rule {
	p, err := demux.ParseProtocol("l0/ether/ip/udp")
	must(t, err)
	return []demux.Rule{{ID: 1, Protocol: p, Local: demux.Address{Top: demux.UDP, Port: conformance.Port}}}
}

// inject puts frames on the wire towards here.
func (w *network) inject(t testing.TB, frames ...[]byte) {
	for _, f := range frames {
		err := unix.ENOBUFS
		for err == unix.ENOBUFS { // the other end is behind
			err, _ = unix.Sendto(w.thereFD, f, 0, &unix.SockaddrLinklayer{Ifindex: w.thereIndex}).(unix.Errno)
		}
		if err != 0 {
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
var variants = []map[string]string{{"mode": "native"}, {"mode": "generic"}, {"mode": "native", "wakeup": "false"}}

func each(t *testing.T, fn func(t *testing.T, w *network, o map[string]string)) {
	w := newNetwork(t, 1)
	for _, o := range variants {
		t.Run(fmt.Sprint(o), func(t *testing.T) { fn(t, w, o) })
	}
}

func spec(o map[string]string) nodeos.LinkSpec { return nodeos.LinkSpec{Name: "l0", Opts: o} }

func (w *network) fixture(o map[string]string) conformance.Fixture {
	return conformance.Fixture{
		Base: demux.Ether,
		Open: func(t *testing.T, n *nodeos.Node, name string, ring int) {
			l := w.open(t, n, nodeos.LinkSpec{Name: name, Ring: ring, Opts: o})
			if notes := l.Info().Notes; len(notes) > 0 {
				t.Errorf("degraded: %v", notes)
			}
		},
		Inject: func(t *testing.T, frames ...[]byte) { w.inject(t, frames...) },
		Sent:   func(t *testing.T) []byte { return w.sent(t) },
		MAC:    func() [6]byte { return w.mac },
	}
}

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, w *network, o map[string]string) { conformance.Run(t, w.fixture(o)) })
}

// TestConformanceQueues runs the suite over a link of two queues. The suite wants all frames in order, so the other end has one queue to send by.
func TestConformanceQueues(t *testing.T) {
	w := newNetwork(t, 2)
	must(t, setQueues(w.there, 1))
	conformance.Run(t, w.fixture(map[string]string{"mode": "native"}))
}

// TestConformanceWorkers runs the suite over a link whose two queues have a worker each.
func TestConformanceWorkers(t *testing.T) {
	w := newNetwork(t, 2)
	must(t, setQueues(w.there, 1))
	f := w.fixture(nil)
	f.Workers = 2
	f.Open = func(t *testing.T, n *nodeos.Node, name string, ring int) {
		w.open(t, n, nodeos.LinkSpec{Name: name, Ring: ring, Workers: []int{1, 0}})
	}
	conformance.Run(t, f)
}

// setQueues sets how many queues jnl0 of a namespace uses.
func setQueues(ns *netns.Namespace, n int) error {
	return ns.Do(func() error {
		ctl, err := sys.OpenControl()
		if err != nil {
			return err
		}
		defer sys.CloseFD(ctl)
		return sys.SetQueues(ctl, "jnl0", n)
	})
}

// hardware reads an interface's address in the calling thread's namespace.
func hardware(name string, mac *[6]byte) error {
	i, err := net.InterfaceByName(name)
	if err == nil {
		copy(mac[:], i.HardwareAddr)
	}
	return err
}

func udpAddr(s string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
