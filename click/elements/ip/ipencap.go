package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "UDPIPEncap", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Encap{udp: true} },
		Doc: click.Doc{
			Group: "ip", Title: "puts packets into UDP and IPv4",
			Text:     "Network and transport headers are marked and the destination annotation is set. Packets that have no room for the headers, or would be too long, are dropped.",
			Args:     []string{"SRC: Source address.", "SPORT: Source port.", "DST: Destination address, or DST_ANNO for the annotation.", "DPORT: Destination port.", "CHECKSUM: Whether to compute the UDP checksum; default true."},
			Handlers: []string{"src (rw): The SRC argument.", "sport (rw): The SPORT argument.", "dst (rw): The DST argument.", "dport (rw): The DPORT argument.", "drops (r): Packets dropped."},
			Example:  "... -> UDPIPEncap(10.0.0.1, 1000, 10.0.1.2, 2000) -> ...;", See: []string{"IPEncap"},
		},
	})
	click.Register(click.Class{
		Name: "IPEncap", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Encap{} },
		Doc: click.Doc{
			Group: "ip", Title: "puts packets into IPv4",
			Text: "Network and transport headers are marked and the destination annotation is set. Packets that have no room for the header, or would be too long, are dropped.",
			Args: []string{"PROTO: Protocol number, or icmp, tcp, udp, ipip.", "SRC: Source address.", "DST: Destination address, or DST_ANNO for the annotation.", "TTL: Time to live; default 250.", "TOS: Type of service; default 0; not with one of the next three.",
				"DSCP: Differentiated services codepoint, 0 to 63; default 0.", "ECT: Whether the transport knows congestion notification: true and 1 set the ECN bits to 1, 2 sets them to 2; default false.",
				"CE: Whether to set the ECN bits to 3, congestion experienced; default false.", "DF: Whether to set the don't-fragment bit."},
			Handlers: []string{"src (rw): The SRC argument.", "dst (rw): The DST argument.", "drops (r): Packets dropped."},
			Example:  "... -> IPEncap(ipip, 10.0.0.1, 10.0.1.2) -> ...;", See: []string{"UDPIPEncap"},
		},
	})
}

// Encap puts packets into IPv4, and into UDP before.
type Encap struct {
	click.Base
	udp          bool
	src, dst     netip.Addr
	byAnno       bool
	sport, dport uint16
	proto        int
	ttl, tos     int
	df           bool
	checksum     bool
	id           uint16
}

// Configure implements click.Element.
func (e *Encap) Configure(a *click.Args) {
	e.ttl, e.checksum = 250, true
	if e.udp {
		e.proto = 17
		a.Parse(click.Must("SRC", click.Addr4(&e.src)), click.Must("SPORT", click.Port(&e.sport)), click.Must("DST", e.setDst),
			click.Must("DPORT", click.Port(&e.dport)), click.May("CHECKSUM", click.Bool(&e.checksum)))
		return
	}
	proto := func(s string, a *click.Args) error {
		if n, ok := Protocols[s]; ok {
			e.proto = n
			return nil
		}
		return click.IntRange(&e.proto, 0, 255)(s, a)
	}
	var dscp, ect int
	var ce, tos bool
	a.Parse(click.Must("PROTO", proto), click.Must("SRC", click.Addr4(&e.src)), click.Must("DST", e.setDst),
		click.Key("TTL", click.IntRange(&e.ttl, 0, 255)), click.Key("TOS", click.IntRange(&e.tos, 0, 255)).Given(&tos), click.Key("DSCP", click.IntRange(&dscp, 0, 63)),
		click.Key("ECT", parseECT(&ect)), click.Key("CE", click.Bool(&ce)), click.Key("DF", click.Bool(&e.df)))
	if ce {
		ect = 3
	}
	switch {
	case !tos:
		e.tos = dscp<<2 | ect
	case dscp != 0 || ect != 0:
		a.Errorf("TOS has all of DSCP, ECT and CE, give either it or these")
	}
}

// parseECT takes true, false or 2.
func parseECT(p *int) click.Value {
	return func(s string, a *click.Args) error {
		on := false
		switch err := click.Bool(&on)(s, a); {
		case s == "2":
			*p = 2
		case err != nil:
			return fmt.Errorf("expected true, false or 2, not '%s'", s)
		case on:
			*p = 1
		default:
			*p = 0
		}
		return nil
	}
}

func (e *Encap) setDst(s string, a *click.Args) error {
	if s == "DST_ANNO" {
		e.byAnno = true
		return nil
	}
	err := click.Addr4(&e.dst)(s, a)
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
	dst := e.dst
	if e.byAnno {
		if dst = p.Anno.Dst; !dst.Is4() {
			return false
		}
	}
	n := 20
	if e.udp {
		n += 8
	}
	if p.Len()+n > 65535 || !e.Cache().Unshare(p) {
		return false
	}
	h := p.Push(n)
	if h == nil {
		return false
	}
	if e.udp {
		u := h[20:]
		binary.BigEndian.PutUint16(u, e.sport)
		binary.BigEndian.PutUint16(u[2:], e.dport)
		binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
		u[6], u[7] = 0, 0
		if e.checksum {
			sum := demux.Fold(demux.Sum(demux.PseudoSum(e.src, dst, 17, len(u)), u))
			if sum == 0 {
				sum = 0xffff // RFC 768: zero means no checksum
			}
			binary.BigEndian.PutUint16(u[6:], sum)
		}
	}
	e.id++
	h[0], h[1] = 0x45, byte(e.tos)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	binary.BigEndian.PutUint16(h[4:], e.id)
	h[6], h[7], h[8], h[9] = 0, 0, byte(e.ttl), byte(e.proto)
	if e.df {
		h[6] = 0x40
	}
	s, d := e.src.As4(), dst.As4()
	copy(h[12:], s[:])
	copy(h[16:], d[:])
	SetChecksum(h)
	p.SetNetwork(0)
	p.SetTransport(20)
	p.Anno.Dst = dst
	return true
}

// AddHandlers implements click.HandlerAdder.
func (e *Encap) AddHandlers(h *click.Handlers) {
	h.Value("src", func() string { return e.src.String() }, click.Addr4(&e.src))
	h.Value("dst", func() string {
		if e.byAnno {
			return "DST_ANNO"
		}
		return e.dst.String()
	}, e.setDst)
	if e.udp {
		h.Value("dport", func() string { return strconv.Itoa(int(e.dport)) }, click.Port(&e.dport))
		h.Value("sport", func() string { return strconv.Itoa(int(e.sport)) }, click.Port(&e.sport))
	}
}
