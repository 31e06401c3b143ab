package icmp

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	handlers := []string{"src (rw): The SRC argument.", "dst (rw): The DST argument.", "drops (r): Packets dropped."}
	text := "Network and transport headers are marked and the destination annotation is set. The sequence number counts the packets from 1. Packets that have no room for the headers, or would be too long, are dropped."
	click.Register(click.Class{
		Name: "ICMPPingEncap", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Encap{ping: true} },
		Doc: click.Doc{
			Group: "icmp", Title: "makes packets the data of echo requests", Text: text,
			Args:     []string{"SRC: Source address.", "DST: Destination address.", "IDENTIFIER: Of the requests; default 0."},
			Handlers: handlers, Example: "... -> ICMPPingEncap(10.0.0.1, 10.0.1.2, IDENTIFIER 3) -> ...;", See: []string{"ICMPIPEncap", "ICMPPingResponder"},
		},
	})
	click.Register(click.Class{
		Name: "ICMPIPEncap", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Encap{} },
		Doc: click.Doc{
			Group: "icmp", Title: "makes packets the data of ICMP messages",
			Text: text + " Identifier and sequence number are in messages of the types echo, timestamp and inforeq and in the replies to them.",
			Args: []string{
				"SRC: Source address.", "DST: Destination address.", "TYPE: Name or number of the type.", "CODE: Name or number of the code; default 0.", "IDENTIFIER: Of messages that have one; default 0.",
			},
			Handlers: handlers, Example: "... -> ICMPIPEncap(10.0.0.1, 10.0.1.2, unreachable, port) -> ...;", See: []string{"ICMPPingEncap", "ICMPError"},
		},
	})
}

// Encap makes packets the data of ICMP messages.
type Encap struct {
	click.Base
	ping      bool
	src, dst  netip.Addr
	typ, code int
	id        int
	seq       uint16
	count     uint16 // IP identification
}

// Configure implements click.Element.
func (e *Encap) Configure(a *click.Args) {
	params := []click.Param{click.Must("SRC", click.Addr4(&e.src)), click.Must("DST", click.Addr4(&e.dst)), click.Key("IDENTIFIER", click.IntRange(&e.id, 0, 65535))}
	if e.ping {
		e.typ = 8
	} else {
		params = append(params, click.Must("TYPE", named(&e.typ, func() map[string]int { return ip.ICMPTypes })), click.May("CODE", named(&e.code, func() map[string]int { return ip.ICMPCodes[e.typ] })))
	}
	a.Parse(params...)
}

// fields says how long the header of messages of a type is, and whether it has identifier and sequence number.
func fields(typ int) (length int, numbered bool) {
	switch typ {
	case 13, 14:
		return 20, true // three times
	case 0, 8, 15, 16:
		return 8, true
	}
	return 8, false
}

// Act implements click.Actor.
func (e *Encap) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		n, _ := fields(e.typ)
		if p.Len()+20+n > 65535 || !e.Cache().Unshare(p) || p.Push(20+n) == nil {
			e.DropOne(p)
			return false
		}
		e.fill(p)
		return true
	})
}

// fill writes the headers of a packet, which begins with room for them.
func (e *Encap) fill(p *packet.Packet) {
	h := p.Data()
	n, numbered := fields(e.typ)
	clear(h[:20+n])
	e.count++
	h[0], h[8], h[9] = 0x45, 255, 1
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	binary.BigEndian.PutUint16(h[4:], e.count)
	s, d := e.src.As4(), e.dst.As4()
	copy(h[12:], s[:])
	copy(h[16:], d[:])
	ip.SetChecksum(h)
	m := h[20:]
	m[0], m[1] = byte(e.typ), byte(e.code)
	if numbered {
		e.seq++
		binary.BigEndian.PutUint16(m[4:], uint16(e.id))
		binary.BigEndian.PutUint16(m[6:], e.seq)
	}
	binary.BigEndian.PutUint16(m[2:], demux.Checksum(m))
	p.SetNetwork(0)
	p.SetTransport(20)
	p.Anno.Dst = e.dst
}

// Inherit implements click.Inheritor.
func (e *Encap) Inherit(old click.Element) error {
	if o, ok := old.(*Encap); ok {
		e.seq, e.count = o.seq, o.count
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *Encap) AddHandlers(h *click.Handlers) {
	h.Value("src", func() string { return e.src.String() }, click.Addr4(&e.src))
	h.Value("dst", func() string { return e.dst.String() }, click.Addr4(&e.dst))
}
