package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	args := []string{
		"ADDR: The host's address on the interface with the length of the network's prefix.", "GATEWAY: Address on that network that the host's default route is to lead to; default none.",
		"HEADROOM: Bytes that received packets have free before their data, at least; default 28.", "ETHER: The interface's Ethernet address, where it has one.",
		"MTU: Longest packet without a link header; default 1500.", "BURST: Most packets to emit at once; default 1.", "IGNORE_QUEUE_OVERFLOWS: Whether to say nothing about the second and further packets that the host has no room for; default false.",
		"DEVNAME: Name of the interface; default the first free one of the kernel.",
	}
	handlers := append([]string{"dev_name (r): The interface's name."}, commonHandlers...)
	text := "The interface is made when the router starts, with the address, and goes with the element; a hot swap hands it to the element of the same name and arguments. Needs CAP_NET_ADMIN and Linux. "
	click.Register(click.Class{
		Name: "KernelTun", Ports: "0-1/1-2", Processing: "a/h", Flow: "x/y", New: func() click.Element { return &Tun{} },
		Doc: click.Doc{
			Group: "device", Title: "exchanges IP packets with the host's own stack by a virtual interface",
			Text: text + "What the host sends to the network of ADDR, except ADDR itself, goes out, with its network header marked; what comes in is handed to the host. What is no IPv4 or IPv6 packet goes to output 1 or is dropped.",
			Args: args, Handlers: handlers, Example: "tun :: KernelTun(192.0.2.1/24) -> IPClassifier(icmp type echo) -> ICMPPingResponder -> tun;", See: []string{"KernelTap", "FromHost"},
		},
	})
	click.Register(click.Class{
		Name: "KernelTap", Ports: "0-1/1-2", Processing: "a/h", Flow: "x/y", New: func() click.Element { return &Tun{tap: true} },
		Doc: click.Doc{
			Group: "device", Title: "exchanges Ethernet frames with the host's own stack by a virtual interface",
			Text: text + "The host asks for addresses with ARP and neighbour discovery, which the graph has to answer.",
			Args: args, Handlers: handlers, Example: "tap :: KernelTap(192.0.2.1/24) -> cl :: Classifier(12/0806, 12/0800); cl[0] -> ARPResponder(0.0.0.0/0 2:0:0:0:0:9) -> tap; cl[1] -> Discard;", See: []string{"KernelTun", "FromHost"},
		},
	})
	click.Register(click.Class{
		Name: "FromHost", Ports: "0/1", Processing: "h", New: func() click.Element { return &Tun{tap: true, host: true} },
		Doc: click.Doc{
			Group: "device", Title: "receives the Ethernet frames that the host sends by a virtual interface",
			Text: text + "ToHost with the same name sends frames to the host.",
			Args: []string{
				"DEVNAME: Name of the interface.", "DST: The host's IPv4 address on it with the length of the network's prefix; default none.", "GATEWAY: As with KernelTap.", "HEADROOM: As with KernelTap.", "ETHER: The interface's Ethernet address; default the kernel's choice.",
				"MTU: Longest packet without a link header; default 1500.", "DST6: The host's IPv6 address on the interface with the length of the network's prefix; default none.", "BURST: Most packets to emit at once; default 1.",
			},
			Handlers: handlers, Example: "FromHost(fake0, 192.0.2.1/24) -> cl :: Classifier(12/0806, 12/0800); cl[0] -> ARPResponder(0.0.0.0/0 2:0:0:0:0:9) -> ToHost(fake0); cl[1] -> Discard;", See: []string{"ToHost", "KernelTap"},
		},
	})
	click.Register(click.Class{
		Name: "ToHost", Ports: "1/0", Processing: "a", New: func() click.Element { return &ToHost{} },
		Doc: click.Doc{
			Group: "device", Title: "sends Ethernet frames to the host by the interface of a FromHost",
			Args:     []string{"DEVNAME: Name of the interface, which a FromHost of the same graph has."},
			Handlers: []string{"sent (r): Frames handed over.", "drops (r): Frames that the host did not take."}, Example: "FromHost(fake0) -> Discard; Idle -> ToHost(fake0);", See: []string{"FromHost"},
		},
	})
}

// Tun is a virtual interface of the host.
type Tun struct {
	port
	tap      bool
	host     bool // FromHost
	addr     netip.Prefix
	addr6    netip.Prefix
	gateway  netip.Addr
	ether    [6]byte
	hasEther bool
	mtu      int
	most     int
	quiet    bool
	name     string // as configured
	dev      string // as it is
	full     bool   // said so
}

// Configure implements click.Element.
func (e *Tun) Configure(a *click.Args) {
	e.fd, e.stamp, e.headroom, e.mtu, e.most = -1, true, 28, 1500, 1
	more := []click.Param{
		click.May("GATEWAY", click.Addr4(&e.gateway)), click.Key("HEADROOM", click.IntRange(&e.headroom, 0, 1<<12)), click.Key("ETHER", click.Ether(&e.ether)).Given(&e.hasEther),
		click.Key("MTU", click.IntRange(&e.mtu, 68, 1<<16)), click.Key("BURST", click.IntRange(&e.most, 1, packet.MaxBatch)),
	}
	if e.host {
		a.Parse(append([]click.Param{click.Must("DEVNAME", click.String(&e.name)), click.May("DST", click.Prefix(&e.addr)), click.Key("DST6", click.Prefix(&e.addr6))}, more...)...)
	} else {
		a.Parse(append([]click.Param{click.Must("ADDR", click.Prefix(&e.addr)), click.Key("DEVNAME", click.String(&e.name)), click.Key("IGNORE_QUEUE_OVERFLOWS", click.Bool(&e.quiet))}, more...)...)
	}
	if !a.OK() {
		return
	}
	if e.addr.IsValid() && !e.addr.Addr().Is4() {
		a.Errorf("expected an IPv4 address with a length, not '%v'", e.addr)
	}
	if e.addr6.IsValid() && !e.addr6.Addr().Is6() {
		a.Errorf("DST6: expected an IPv6 address with a length, not '%v'", e.addr6)
	}
	if e.gateway.IsValid() && !e.gateway.IsUnspecified() && !e.addr.Contains(e.gateway) {
		a.Errorf("GATEWAY: %v is not on the network of %v", e.gateway, e.addr)
	}
	if len(e.name) > 15 || (e.host && e.name == "") {
		a.Errorf("DEVNAME: expected a name of 1 to 15 bytes, not '%s'", e.name)
	}
}

// Initialize implements click.Initializer.
func (e *Tun) Initialize() error {
	e.snap = 1 << 16
	e.drain = true
	spec := e.Cache().Pool().Spec()
	link := 0
	if e.tap {
		link = 14
	}
	if room := spec.FrameSize - spec.Headroom - link; e.mtu > room {
		return fmt.Errorf("MTU: %d bytes, packets of this node have %d", e.mtu, room)
	}
	if err := e.prepare(e); err != nil {
		return err
	}
	if old, ok := e.Before().(*Tun); ok && e.same(old) {
		return nil
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	if err := e.setUp(fd); err != nil {
		unix.Close(fd)
		return err
	}
	return e.attach(fd)
}

// setUp makes the interface.
func (e *Tun) setUp(fd int) error {
	ifr, err := unix.NewIfreq(e.name)
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if e.tap {
		flags = unix.IFF_TAP | unix.IFF_NO_PI
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("making the interface '%s': %w", e.name, err)
	}
	e.dev = ifr.Name()
	l, err := netlink.LinkByName(e.dev)
	if err != nil {
		return fmt.Errorf("interface %s: %w", e.dev, err)
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"MTU", func() error { return netlink.LinkSetMTU(l, e.mtu) }},
		{"Ethernet address", func() error {
			if !e.tap || !e.hasEther {
				return nil
			}
			return netlink.LinkSetHardwareAddr(l, net.HardwareAddr(e.ether[:]))
		}},
		{"address", func() error { return addAddr(l, e.addr) }},
		{"IPv6 address", func() error { return addAddr(l, e.addr6) }},
		{"start", func() error { return netlink.LinkSetUp(l) }},
		{"default route", func() error {
			if !e.gateway.IsValid() || e.gateway.IsUnspecified() {
				return nil
			}
			return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: e.gateway.AsSlice()})
		}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("interface %s, %s: %w", e.dev, s.what, err)
		}
	}
	return nil
}

func addAddr(l netlink.Link, p netip.Prefix) error {
	if !p.IsValid() {
		return nil
	}
	bits := p.Addr().BitLen()
	return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), bits)}})
}

func (e *Tun) same(o *Tun) bool {
	return o.fd >= 0 && o.tap == e.tap && o.host == e.host && o.addr == e.addr && o.addr6 == e.addr6 && o.gateway == e.gateway && o.mtu == e.mtu && o.ether == e.ether && o.name == e.name
}

// Inherit implements click.Inheritor.
func (e *Tun) Inherit(old click.Element) error {
	o, ok := old.(*Tun)
	if !ok {
		return nil
	}
	e.dev = o.dev
	return e.inherit(&o.port, e.same(o))
}

// recv implements carrier.
func (e *Tun) recv(b *packet.Batch, n int) bool {
	for range min(n, e.most) {
		k := e.alloc()
		if k == nil {
			e.retry()
			return false
		}
		got, err := unix.Read(e.fd, k.Data())
		if err != nil {
			e.Cache().Free(k)
			return err == unix.EINTR
		}
		k.Take(k.Len() - got)
		if e.tap {
			k.SetMAC(0)
		} else if !e.mark(k) {
			e.ForwardOne(1, k)
			continue
		}
		b.Append(k)
	}
	return true
}

// mark checks an IP packet from the host roughly and marks its header.
func (e *Tun) mark(k *packet.Packet) bool {
	d := k.Data()
	switch {
	case len(d) >= 20 && d[0]>>4 == 4:
		n := int(d[0]&15) * 4
		total := int(binary.BigEndian.Uint16(d[2:]))
		if n < 20 || total < n || total > len(d) {
			return false
		}
		k.SetNetwork(0)
		k.SetTransport(n)
		k.Anno.Dst = netip.AddrFrom4([4]byte(d[16:]))
	case len(d) >= 40 && d[0]>>4 == 6 && int(binary.BigEndian.Uint16(d[4:])) <= len(d)-40:
		k.SetNetwork(0)
		k.SetTransport(40)
		k.Anno.Dst = netip.AddrFrom16([16]byte(d[24:]))
	default:
		return false
	}
	return true
}

// send implements carrier.
func (e *Tun) send(list []*packet.Packet) int {
	link := 0
	if e.tap {
		link = 14
	}
	for i, k := range list {
		if k.Len() > e.mtu+link {
			e.CountDrops(1)
			continue
		}
		_, err := unix.Write(e.fd, k.Data())
		for err == unix.EINTR {
			_, err = unix.Write(e.fd, k.Data())
		}
		switch err {
		case nil:
			e.sent++
		case unix.EAGAIN:
			return i
		default:
			e.CountDrops(1)
			if err == unix.ENOBUFS && !(e.quiet && e.full) {
				e.full = true
				fmt.Fprintf(e.Output(), "%s: %s has no room\n", e.Name(), e.dev)
			}
		}
	}
	return len(list)
}

// AddHandlers implements click.HandlerAdder.
func (e *Tun) AddHandlers(h *click.Handlers) {
	e.port.AddHandlers(h)
	h.Read("dev_name", func() string { return e.dev })
}

// ToHost hands frames to the interface of a FromHost.
type ToHost struct {
	click.Base
	name   string
	to     *Tun
	task   *click.Task
	intake *click.Intake
	sent   uint64
}

// Configure implements click.Element.
func (e *ToHost) Configure(a *click.Args) { a.Parse(click.Must("DEVNAME", click.String(&e.name))) }

// Initialize implements click.Initializer.
func (e *ToHost) Initialize() error {
	for _, el := range e.Router().Elements() {
		if t, ok := el.(*Tun); ok && t.host && t.name == e.name {
			e.to = t
		}
	}
	if e.to == nil {
		return errors.New("there is no FromHost for " + e.name)
	}
	if e.to.Thread() != e.Thread() {
		return fmt.Errorf("FromHost(%s) is run by another thread; name the same one for both with StaticThreadSched", e.name)
	}
	if e.InputKind(0) == click.PullKind {
		e.task = e.NewTask(func() (int, bool) {
			b := e.Thread().Scratch()
			n, more := e.intake.Pull(b, burst)
			e.Push(0, b)
			e.Thread().Release(b)
			return n, more
		})
		e.intake = e.NewIntake(0, e.task)
		e.task.Schedule()
	}
	return nil
}

// Push implements click.Pusher.
func (e *ToHost) Push(_ int, b *packet.Batch) {
	n := 0
	if e.to.fd >= 0 && b.Len() > 0 {
		before := e.to.sent
		n = e.to.send(b.Packets())
		e.sent += e.to.sent - before
		e.CountDrops(n - int(e.to.sent-before))
	}
	e.CountDrops(b.Len() - n)
	e.Cache().FreeBatch(b)
}

// AddHandlers implements click.HandlerAdder.
func (e *ToHost) AddHandlers(h *click.Handlers) { h.Count("sent", &e.sent) }
