package conformance

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

	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
)

// Network is three namespaces in a row, There - Here - Beyond, for tests of drivers that share an interface with the host. Here is the
// router, with forwarding on; the interface under test is its jnl0, towards There. All have IPv4 and IPv6 addresses, routes, and the
// hardware addresses of their neighbours, so that the links are quiet.
type Network struct {
	There, Here, Beyond   *netns.Namespace
	MAC                   [6]byte // of Here's jnl0
	ThereFD               int     // raw socket on There's jnl0
	HereIndex, ThereIndex int     // of jnl0 at both ends
	buf                   []byte
}

// NewNetwork builds the namespaces, which go with the test; without root it skips the test. Names begin with the prefix and the process's number; those of
// processes that died are swept. queues is how many queues each end of the link under test has.
func NewNetwork(t testing.TB, prefix string, queues int) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, raw sockets and BPF")
	}
	sweepStale(t, prefix)
	w := &Network{ThereFD: -1, buf: make([]byte, 1<<16)}
	for _, ns := range []struct {
		name string
		to   **netns.Namespace
	}{{"there", &w.There}, {"here", &w.Here}, {"beyond", &w.Beyond}} {
		n := netnstest.New(t, fmt.Sprint(prefix, os.Getpid(), ns.name))
		*ns.to = n
		must(t, ignore(n.Sysctl("ipv6/conf/all/disable_ipv6", "0")))
		must(t, ignore(n.Sysctl("ipv6/conf/default/accept_dad", "0")))
		must(t, ignore(n.Sysctl("ipv6/conf/default/router_solicitations", "0")))
	}
	must(t, w.Here.Sysctl("ipv4/ip_forward", "1"))
	w.Join(t, queues)
	pair(t, 1, end{w.Here, "jnl1", "10.78.0.1/24", "fd78::1/64"}, end{w.Beyond, "jnl0", "10.78.0.2/24", "fd78::2/64"})
	Netlink(t, w.There, func(h *netlink.Handle) error { return route(h, "10.77.0.1") })
	Netlink(t, w.Beyond, func(h *netlink.Handle) error { return route(h, "10.78.0.1") })
	Netlink(t, w.Here, func(h *netlink.Handle) error {
		l, err := h.LinkByName("jnl0")
		if err == nil {
			copy(w.MAC[:], l.Attrs().HardwareAddr)
			w.HereIndex = l.Attrs().Index
		}
		return err
	})
	must(t, w.There.Do(func() (err error) {
		const all = unix.ETH_P_ALL << 8 // in the network's byte order
		if w.ThereFD, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		i, err := net.InterfaceByName("jnl0")
		if err != nil {
			return err
		}
		w.ThereIndex = i.Index
		return errors.Join(
			unix.SetsockoptInt(w.ThereFD, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptInt(w.ThereFD, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.Bind(w.ThereFD, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: all}))
	}))
	t.Cleanup(func() { unix.Close(w.ThereFD) })
	return w
}

// Join makes the link between There and Here; NewNetwork has done so, and a test may do it again after it has deleted the link. Numbers, addresses of hardware and the raw socket are
// those of the link before.
func (w *Network) Join(t testing.TB, queues int) {
	t.Helper()
	pair(t, queues, end{w.There, "jnl0", "10.77.0.2/24", "fd77::2/64"}, end{w.Here, "jnl0", "10.77.0.1/24", "fd77::1/64"})
}

func sweepStale(t testing.TB, prefix string) {
	names, err := netns.List(netns.Dir, prefix)
	must(t, err)
	for _, n := range names {
		var pid int
		var rest string
		if k, _ := fmt.Sscanf(n[len(prefix):], "%d%s", &pid, &rest); k == 2 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
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

// Netlink calls fn with a netlink socket of a namespace, and fails the test with its error.
func Netlink(t testing.TB, ns *netns.Namespace, fn func(h *netlink.Handle) error) {
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

// pair joins two namespaces and enters each end in the other's neighbour table.
func pair(t testing.TB, queues int, a, b end) {
	Netlink(t, a.ns, func(h *netlink.Handle) error {
		return h.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: a.name, NumTxQueues: queues, NumRxQueues: queues},
			PeerName:  b.name, PeerNamespace: netlink.NsFd(b.ns.Fd()), PeerNumTxQueues: uint32(queues), PeerNumRxQueues: uint32(queues),
		})
	})
	ends := [2]end{a, b}
	var macs [2]net.HardwareAddr
	for i, e := range ends {
		Netlink(t, e.ns, func(h *netlink.Handle) error {
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
		Netlink(t, e.ns, func(h *netlink.Handle) error {
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

// Inject puts frames on the wire towards Here. It waits where the other end is behind.
func (w *Network) Inject(t testing.TB, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		err := error(unix.ENOBUFS)
		for err == unix.ENOBUFS || err == unix.EINTR {
			err = unix.Sendto(w.ThereFD, f, 0, &unix.SockaddrLinklayer{Ifindex: w.ThereIndex})
		}
		if err != nil {
			t.Errorf("sending a frame of %d bytes: %v", len(f), err)
		}
	}
}

// Sent returns the next frame that arrives at There and was made by the suite; Here's own stack talks too.
func (w *Network) Sent(t testing.TB) []byte {
	t.Helper()
	tv := unix.NsecToTimeval(int64(patience))
	must(t, unix.SetsockoptTimeval(w.ThereFD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	for {
		n, _, err := unix.Recvfrom(w.ThereFD, w.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Errorf("no frame came: %v", err)
			return nil
		}
		if n >= 12 && [6]byte(w.buf[6:12]) == ThereMAC {
			return append([]byte(nil), w.buf[:n]...)
		}
	}
}

// UDPAt opens a UDP socket of a namespace's own stack.
func UDPAt(t testing.TB, ns *netns.Namespace, addr string) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	must(t, ns.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// NextDatagram returns what the next datagram of a socket has.
func NextDatagram(t testing.TB, c *net.UDPConn) string {
	t.Helper()
	b := make([]byte, 2048)
	c.SetReadDeadline(time.Now().Add(patience))
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("no datagram at %v: %v", c.LocalAddr(), err)
	}
	return string(b[:n])
}
