package socket

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

func init() {
	args := append([]string{"TYPE: TCP, UDP, GRE or ICMP.", "PORT: Receive only what has this as its destination port, as its GRE key or PPTP call, or as its ICMP identifier; default everything."}, commonArgs...)
	for _, c := range []struct{ name, ports, title, text, example string }{
		{"RawSocket", "0-1/0-1", "carries IPv4 packets of a protocol by a raw socket",
			"Packets have their IP header, which is marked where they are received. The host's own stack sees the received ones, too. What comes in is sent to the destination of its header; the host fills in its checksum, its length, and its source where that is 0. Needs CAP_NET_RAW.",
			"RawSocket(ICMP) -> Print -> Discard;"},
		{"FromRawSocket", "0/1", "receives IPv4 packets of a protocol by a raw socket", "It is a RawSocket without an input.", "FromRawSocket(UDP, 53) -> Discard;"},
		{"ToRawSocket", "1/0", "sends IPv4 packets by a raw socket", "It is a RawSocket without an output.", "RatedSource -> UDPIPEncap(10.0.0.1, 53, 10.0.0.2, 53) -> ToRawSocket(UDP, 53);"},
	} {
		see := []string{"Socket"}
		if c.name != "RawSocket" {
			see = append(see, "RawSocket")
		}
		click.Register(click.Class{Name: c.name, Ports: c.ports, Processing: "a/h", Flow: "x/y", New: func() click.Element { return &RawSocket{} },
			Doc: click.Doc{Group: "device", Title: c.title, Text: c.text, Args: args, Handlers: commonHandlers, Example: c.example, See: see}})
	}
}

// RawSocket is an element with a raw socket.
type RawSocket struct {
	port
	proto int
	key   uint32
	only  bool // the packets with that key
	d     datagrams
}

var rawProtocols = map[string]int{"TCP": unix.IPPROTO_TCP, "UDP": unix.IPPROTO_UDP, "GRE": unix.IPPROTO_GRE, "ICMP": unix.IPPROTO_ICMP}

// Configure implements click.Element.
func (e *RawSocket) Configure(a *click.Args) {
	var typ, key string
	e.d.via = -1
	if !a.Parse(append(e.params(), click.Must("TYPE", click.String(&typ)), click.May("PORT", click.String(&key)).Given(&e.only))...) {
		return
	}
	var ok bool
	typ = strings.ToUpper(typ)
	if e.proto, ok = rawProtocols[typ]; !ok {
		a.Errorf("TYPE: expected TCP, UDP, GRE or ICMP, not '%s'", typ)
		return
	}
	if !e.only {
		return
	}
	var err error
	switch typ {
	case "TCP", "UDP":
		kind, n := click.NameUDP, uint16(0)
		if typ == "TCP" {
			kind = click.NameTCP
		}
		n, err = a.ParsePort(lang.Unquote(key), kind)
		e.key = uint32(n)
	default:
		n, top := 0, 1<<32-1
		if typ == "ICMP" {
			top = 1<<16 - 1
		}
		err = click.IntRange(&n, 0, top)(key, a)
		e.key = uint32(n)
	}
	if err != nil {
		a.Errorf("PORT: %v", err)
	}
}

// wanted reports whether a received packet, which begins with its IP header, has the key. It marks the header.
func (e *RawSocket) wanted(k *packet.Packet) bool {
	d := k.Data()
	n := ip.HeaderLen(d)
	if len(d) < 20 || n < 20 || len(d) < n {
		return false
	}
	k.SetNetwork(0)
	k.SetTransport(n)
	if !e.only {
		return true
	}
	t := d[n:]
	if binary.BigEndian.Uint16(d[6:])&0x1fff != 0 {
		return false
	}
	key, ok := rawKey(e.proto, t)
	return ok && key == e.key
}

// rawKey returns what tells packets of a protocol apart.
func rawKey(proto int, t []byte) (uint32, bool) {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		if len(t) >= 4 {
			return uint32(binary.BigEndian.Uint16(t[2:])), true
		}
	case unix.IPPROTO_ICMP:
		if len(t) >= 8 {
			switch t[0] {
			case 0, 8, 13, 14, 15, 16, 17, 18: // those with an identifier
				return uint32(binary.BigEndian.Uint16(t[4:])), true
			}
		}
	case unix.IPPROTO_GRE: // RFC 2890; RFC 2637 for version 1
		at := 4
		if len(t) >= 4 && t[0]&0x80 != 0 {
			at += 4 // checksum
		}
		if len(t) >= at+4 && t[0]&0x20 != 0 {
			key := binary.BigEndian.Uint32(t[at:])
			if t[1]&7 == 1 {
				key &= 0xffff
			}
			return key, true
		}
	}
	return 0, false
}

// Initialize implements click.Initializer.
func (e *RawSocket) Initialize() error {
	e.d.p, e.d.q = &e.port, sys.NewMsgQueue()
	e.d.to = func(k *packet.Packet) (netip.AddrPort, bool) {
		d := k.Data()
		if len(d) < 20 || d[0]>>4 != 4 || int(d[9]) != e.proto {
			return netip.AddrPort{}, false
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(d[16:])), 0), true
	}
	e.d.from = func(k *packet.Packet, _ netip.AddrPort) bool { return e.wanted(k) }
	if err := e.prepare(&e.d); err != nil {
		return err
	}
	if old, ok := e.Before().(*RawSocket); ok && e.same(old) {
		return nil
	}
	fd, err := open(unix.AF_INET, unix.SOCK_RAW, e.proto)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	if err := orClose(fd, "IP_HDRINCL", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_HDRINCL, 1)); err != nil {
		return err
	}
	if e.Outputs() == 0 { // then the kernel need not keep anything for us
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0)
	}
	return e.attach(fd)
}

func (e *RawSocket) same(o *RawSocket) bool {
	return o.proto == e.proto && o.fd >= 0 && (o.Outputs() == 0) == (e.Outputs() == 0)
}

// Inherit implements click.Inheritor.
func (e *RawSocket) Inherit(old click.Element) error {
	if o, ok := old.(*RawSocket); ok {
		return e.inherit(&o.port, e.same(o))
	}
	return nil
}
