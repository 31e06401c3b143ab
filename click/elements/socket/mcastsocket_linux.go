package socket

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "McastSocket", Ports: "0-1/0-1", Processing: "a/h", Flow: "x/y", New: func() click.Element { return &McastSocket{} },
		Doc: click.Doc{
			Group: "device", Title: "carries packets by UDP multicast",
			Text: "What comes in is sent to the group, and what others send to the group goes out; nothing passes through. With SOURCEIP the element's own packets, which come back with LOOP, are left out. " +
				"The descriptors go on with the element of the same name and the same arguments after a hot swap.",
			Args: append([]string{
				"MCASTIP: Address of the group.", "MCASTPORT: Port of the group.", "SOURCEIP: Own address, whose interface is sent and listened on; default what the host's routes say.", "SOURCEPORT: Own port; default any.",
				"LOOP: Whether listeners on this host get what is sent; default true.",
			}, commonArgs...),
			Handlers: commonHandlers, Example: "link :: McastSocket(239.0.0.1, 1234, 192.0.2.1); link -> Print -> Discard; RatedSource -> link;", See: []string{"Socket"},
		},
	})
}

// McastSocket is an element with sockets of a multicast group.
type McastSocket struct {
	port
	group  netip.AddrPort
	source netip.AddrPort
	loop   bool
	own    netip.AddrPort // of the socket that sends
	d      datagrams
}

// Configure implements click.Element.
func (e *McastSocket) Configure(a *click.Args) {
	var group, source netip.Addr
	var port, sport uint16
	var hasSource bool
	e.loop, e.d.via = true, -1
	if !a.Parse(append(e.params(), click.Must("MCASTIP", click.Addr4(&group)), click.Must("MCASTPORT", click.Port(&port)), click.May("SOURCEIP", click.Addr4(&source)).Given(&hasSource),
		click.May("SOURCEPORT", click.Port(&sport)), click.Key("LOOP", click.Bool(&e.loop)))...) {
		return
	}
	if !group.IsMulticast() {
		a.Errorf("MCASTIP: expected a multicast address, not '%v'", group)
	}
	e.group = netip.AddrPortFrom(group, port)
	if hasSource {
		e.source = netip.AddrPortFrom(source, sport)
	}
}

// Initialize implements click.Initializer.
func (e *McastSocket) Initialize() error {
	e.d.p, e.d.q = &e.port, sys.NewMsgQueue()
	e.d.to = func(*packet.Packet) (netip.AddrPort, bool) { return e.group, true }
	if e.source.IsValid() {
		e.d.from = func(_ *packet.Packet, a netip.AddrPort) bool { return a != e.own }
	}
	if err := e.prepare(&e.d); err != nil {
		return err
	}
	if old, ok := e.Before().(*McastSocket); ok && e.same(old) {
		return nil
	}
	var of [4]byte // the interface's address
	if e.source.IsValid() {
		of = e.source.Addr().As4()
	}
	out, err := open(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	e.d.via = out
	if e.source.IsValid() {
		if err := unix.Bind(out, address(e.source)); err != nil {
			return e.failed("binding to "+e.source.String(), err)
		}
		if err := unix.SetsockoptInet4Addr(out, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, of); err != nil {
			return e.failed("sending by the interface of "+e.source.Addr().String(), err)
		}
		if sa, err := unix.Getsockname(out); err == nil {
			if s, ok := sa.(*unix.SockaddrInet4); ok {
				e.own = netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
			}
		}
	}
	loop := byte(0)
	if e.loop {
		loop = 1
	}
	if err := unix.SetsockoptByte(out, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, loop); err != nil {
		return e.failed("IP_MULTICAST_LOOP", err)
	}
	in, err := open(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return e.failed("socket", err)
	}
	_ = unix.SetsockoptInt(in, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // others may listen to the group, too
	if err := unix.Bind(in, address(e.group)); err != nil {
		return e.failed("binding to "+e.group.String(), orClose(in, "bind", err))
	}
	if err := unix.SetsockoptIPMreq(in, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: e.group.Addr().As4(), Interface: of}); err != nil {
		return e.failed("joining "+e.group.Addr().String(), orClose(in, "IP_ADD_MEMBERSHIP", err))
	}
	if e.sndbuf > 0 {
		_ = unix.SetsockoptInt(out, unix.SOL_SOCKET, unix.SO_SNDBUF, e.sndbuf)
	}
	return e.attach(in)
}

// failed closes the socket that sends.
func (e *McastSocket) failed(what string, err error) error {
	err = orClose(e.d.via, what, err)
	e.d.via = -1
	return err
}

func (e *McastSocket) same(o *McastSocket) bool {
	return o.group == e.group && o.source == e.source && o.loop == e.loop && o.fd >= 0
}

// Inherit implements click.Inheritor.
func (e *McastSocket) Inherit(old click.Element) error {
	o, ok := old.(*McastSocket)
	if !ok {
		return nil
	}
	same := e.same(o)
	if same {
		e.own, e.d.via, o.d.via = o.own, o.d.via, -1
	}
	return e.inherit(&o.port, same)
}

// Cleanup implements click.Cleaner.
func (e *McastSocket) Cleanup() {
	if e.d.via >= 0 {
		unix.Close(e.d.via)
		e.d.via = -1
	}
	e.port.Cleanup()
}
