package icmp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ICMPError", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &ICMPError{} },
		Doc: click.Doc{
			Group: "icmp", Title: "answers packets with ICMP errors",
			Text: "Each packet is replaced by an error to its source, which quotes as much of it as fits into 576 bytes (RFC 1812). As RFC 1122 demands, there are none about ICMP errors, " +
				"fragments other than the first, packets to or from broadcast or multicast addresses, and packets that came as link-level broadcast; those are dropped.\n\n" +
				"The destination annotation is set to the error's destination, and the error asks FixIPSrc for the address of the interface by which it leaves. " +
				"A redirect names the destination annotation as the gateway; a parameter problem points at the place that IPGWOptions noted.",
			Args: []string{
				"SRC: Source address of the errors.", "TYPE: unreachable, redirect, timeexceeded, parameterproblem, sourcequench, or a number.",
				"CODE: net, host, protocol, port, needfrag, srcroutefail, transit, reassembly, erroratptr, or a number; default 0.",
				"BADADDRS: Addresses, apart by spaces, that get no errors (own broadcast addresses).", "MTU: Next-hop MTU that needfrag errors name; default 576.",
			},
			Handlers: []string{"count (r): Errors sent.", "drops (r): Packets that get no error."},
			Example:  "ttl[1] -> ICMPError(10.0.1.1, timeexceeded, transit) -> rt;", See: []string{"FixIPSrc", "DecIPTTL"},
		},
	})
}

// ICMPError makes ICMP errors.
type ICMPError struct {
	click.Base
	src       netip.Addr
	typ, code int
	mtu       int
	bad       map[netip.Addr]bool
	id        uint16
	count     uint64
}

// Configure implements click.Element.
func (e *ICMPError) Configure(a *click.Args) {
	e.mtu, e.bad = 576, map[netip.Addr]bool{}
	named := func(p *int, names func() map[string]int) click.Value {
		return func(s string, a *click.Args) error {
			if n, ok := names()[s]; ok {
				*p = n
				return nil
			}
			if _, err := strconv.Atoi(s); err != nil {
				return fmt.Errorf("unknown name '%s'", s)
			}
			return click.IntRange(p, 0, 255)(s, a)
		}
	}
	bad := func(s string, a *click.Args) error {
		for _, w := range lang.SplitWords(s) {
			var x netip.Addr
			if err := click.Addr4(&x)(w, a); err != nil {
				return err
			}
			e.bad[x] = true
		}
		return nil
	}
	a.Parse(click.Must("SRC", click.Addr4(&e.src)), click.Must("TYPE", named(&e.typ, func() map[string]int { return ip.ICMPTypes })),
		click.May("CODE", named(&e.code, func() map[string]int { return ip.ICMPCodes[e.typ] })), click.May("BADADDRS", bad),
		click.Key("MTU", click.IntRange(&e.mtu, 0, 65535)))
	if a.OK() && (e.typ == 0 || e.typ == 8) {
		a.Errorf("TYPE: %d is no error", e.typ)
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// answerable reports whether a packet may be answered with an error (RFC 1122 section 3.2.2).
func (e *ICMPError) answerable(p *packet.Packet, h []byte) bool {
	if h == nil || p.Anno.Kind == packet.ToBroadcast || p.Anno.Kind == packet.ToMulticast {
		return false
	}
	src, dst := ip.Src(h), ip.Dst(h)
	if src.IsUnspecified() || src.IsMulticast() || src == broadcast || src.As4()[0] == 127 || src.As4()[0] >= 240 ||
		dst.IsMulticast() || dst == broadcast || e.bad[src] || e.bad[dst] {
		return false
	}
	if binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return false
	}
	if h[9] == 1 {
		n := ip.HeaderLen(h)
		if len(h) <= n {
			return false
		}
		switch h[n] {
		case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18:
		default:
			return false // an error, or what may be one
		}
	}
	return !(e.typ == 5 && !p.Anno.Dst.Is4())
}

const quoteLimit = 576 - 20 - 8

// answer makes the error about p, or nil.
func (e *ICMPError) answer(p *packet.Packet) *packet.Packet {
	h := ip.Header(p)
	if !e.answerable(p, h) {
		return nil
	}
	quote := min(len(h), int(binary.BigEndian.Uint16(h[2:])), quoteLimit)
	q := e.Cache().Alloc(e.Owner())
	if q == nil {
		return nil
	}
	d := q.Put(28 + quote)
	if d == nil {
		e.Cache().Free(q)
		return nil
	}
	e.id++
	clear(d[:28])
	copy(d[28:], h[:quote])
	d[0], d[8], d[9] = 0x45, 255, 1
	d[1] = 0xc0 // internetwork control (RFC 1812 section 4.3.2.5)
	binary.BigEndian.PutUint16(d[2:], uint16(len(d)))
	binary.BigEndian.PutUint16(d[4:], e.id)
	src := e.src.As4()
	copy(d[12:], src[:])
	copy(d[16:], h[12:16])
	m := d[20:]
	m[0], m[1] = byte(e.typ), byte(e.code)
	switch {
	case e.typ == 5:
		gw := p.Anno.Dst.As4()
		copy(m[4:], gw[:])
	case e.typ == 12 && e.code == 0:
		m[4] = ip.Param(p)
	case e.typ == 3 && e.code == 4:
		binary.BigEndian.PutUint16(m[6:], uint16(e.mtu))
	}
	binary.BigEndian.PutUint16(m[2:], demux.Checksum(m))
	ip.SetChecksum(d)
	q.SetNetwork(0)
	q.SetTransport(20)
	q.Anno.Dst = ip.Dst(d)
	q.Anno.Time = e.Now()
	ip.SetFixSrc(q, true)
	return q
}

// Act implements click.Actor.
func (e *ICMPError) Act(b *packet.Batch) {
	keep := 0
	for _, p := range b.Packets() {
		if q := e.answer(p); q != nil {
			b.Set(keep, q)
			keep++
			e.count++
		} else {
			e.CountDrops(1)
		}
		e.Cache().Free(p)
	}
	b.Truncate(keep)
}

// AddHandlers implements click.HandlerAdder.
func (e *ICMPError) AddHandlers(h *click.Handlers) { h.Count("count", &e.count) }
