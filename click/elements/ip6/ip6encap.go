package ip6

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/packet"
)

func init() {
	const text = "Network and transport headers are marked and the destination annotation is set. Packets that have no room for the headers, or would be too long, are dropped."
	const dstArg = "DST: Destination address, or DST_ANNO for the annotation."
	click.Register(click.Class{
		Name: "IP6Encap", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Encap{} },
		Doc: click.Doc{
			Group: "ip6", Title: "puts packets into IPv6", Text: text,
			Args:     []string{"PROTO: Number of the protocol above, or icmp6, tcp, udp, ipip (IPv4), ip6 (IPv6).", "SRC: Source address.", dstArg, "HLIM: Hop limit; default 250.", "CLASS: Traffic class; default 0."},
			Handlers: []string{"src (rw): The SRC argument.", "dst (rw): The DST argument.", "drops (r): Packets dropped."},
			Example:  "... -> IP6Encap(ipip, 2001:db8::1, 2001:db8::2, HLIM 20) -> ...;", See: []string{"UDPIP6Encap", "IPEncap"},
		},
	})
	click.Register(click.Class{
		Name: "UDPIP6Encap", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Encap{udp: true} },
		Doc: click.Doc{
			Group: "ip6", Title: "puts packets into UDP and IPv6", Text: text,
			Args: []string{"SRC: Source address.", "SPORT: Source port.", dstArg, "DPORT: Destination port."},
			Handlers: []string{
				"src (rw): The SRC argument.", "sport (rw): The SPORT argument.", "dst (rw): The DST argument.", "dport (rw): The DPORT argument.", "drops (r): Packets dropped.",
			},
			Example: "... -> UDPIP6Encap(2001:db8::1, 1000, 2001:db8::2, 2000) -> ...;", See: []string{"IP6Encap", "UDPIPEncap"},
		},
	})
}

// Encap puts packets into IPv6, and into UDP before.
type Encap struct {
	click.Base
	udp          bool
	src, dst     netip.Addr
	byAnno       bool
	sport, dport uint16
	proto        int
	hlim, class  int
}

// Configure implements click.Element.
func (e *Encap) Configure(a *click.Args) {
	e.hlim = 250
	if e.udp {
		e.proto = protoUDP
		a.Parse(click.Must("SRC", click.Addr6(&e.src)), click.Must("SPORT", click.Port(&e.sport)), click.Must("DST", e.setDst), click.Must("DPORT", click.Port(&e.dport)))
		return
	}
	proto := func(s string, a *click.Args) error {
		n, ok := ip.Protocols[s]
		switch {
		case s == "icmp6":
			n, ok = protoICMP6, true
		case s == "ip6":
			n, ok = 41, true
		}
		if ok {
			e.proto = n
			return nil
		}
		return click.IntRange(&e.proto, 0, 255)(s, a)
	}
	a.Parse(click.Must("PROTO", proto), click.Must("SRC", click.Addr6(&e.src)), click.Must("DST", e.setDst),
		click.Key("HLIM", click.IntRange(&e.hlim, 1, 255)), click.Key("CLASS", click.IntRange(&e.class, 0, 255)))
}

func (e *Encap) setDst(s string, a *click.Args) error {
	if s == "DST_ANNO" {
		e.byAnno = true
		return nil
	}
	err := click.Addr6(&e.dst)(s, a)
	if err == nil {
		e.byAnno = false
	}
	return err
}

// Act implements click.Actor.
func (e *Encap) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if !e.wrap(p) {
			e.DropOne(p)
			return false
		}
		return true
	})
}

func (e *Encap) wrap(p *packet.Packet) bool {
	to := e.dst
	if e.byAnno {
		if to = p.Anno.Dst; !to.Is6() {
			return false
		}
	}
	n := headerLen
	if e.udp {
		n += 8
	}
	if p.Len()+n-headerLen > 65535 || !e.Cache().Unshare(p) {
		return false
	}
	h := p.Push(n)
	if h == nil {
		return false
	}
	if u := h[headerLen:]; e.udp {
		binary.BigEndian.PutUint16(u, e.sport)
		binary.BigEndian.PutUint16(u[2:], e.dport)
		binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
		u[6], u[7] = 0, 0
		c := sum(e.src, to, protoUDP, u)
		if c == 0 {
			c = 0xffff // zero means no checksum, which IPv6 does not allow (RFC 8200 section 8.1)
		}
		binary.BigEndian.PutUint16(u[6:], c)
	}
	put(h, e.src, to, uint8(e.proto), uint8(e.hlim), uint8(e.class))
	p.SetNetwork(0)
	p.SetTransport(headerLen)
	p.Anno.Dst = to
	return true
}

// put writes the header of a packet without extension headers.
func put(h []byte, from, to netip.Addr, proto, hlim, class uint8) {
	h[0], h[1], h[2], h[3] = 0x60|class>>4, class<<4, 0, 0
	binary.BigEndian.PutUint16(h[4:], uint16(len(h)-headerLen))
	h[6], h[7] = proto, hlim
	s, d := from.As16(), to.As16()
	copy(h[8:], s[:])
	copy(h[24:], d[:])
}

// AddHandlers implements click.HandlerAdder.
func (e *Encap) AddHandlers(h *click.Handlers) {
	h.Value("src", func() string { return e.src.String() }, click.Addr6(&e.src))
	h.Value("dst", func() string {
		if e.byAnno {
			return "DST_ANNO"
		}
		return e.dst.String()
	}, e.setDst)
	if e.udp {
		h.Value("sport", func() string { return strconv.Itoa(int(e.sport)) }, click.Port(&e.sport))
		h.Value("dport", func() string { return strconv.Itoa(int(e.dport)) }, click.Port(&e.dport))
	}
}
