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
			Text: "Each packet is replaced by an error to its source, which quotes as much of it as fits into MTU bytes (RFC 1812). As RFC 1122 demands, there are none about ICMP errors, " +
				"fragments other than the first, packets to or from broadcast or multicast addresses, and packets that came as link-level broadcast; those are dropped.\n\n" +
				"The destination annotation is set to the error's destination, and the error asks FixIPSrc for the address of the interface by which it leaves. " +
				"A redirect names the destination annotation as the gateway; a parameter problem points at the place that IPGWOptions noted. " +
				"The error about a packet with a source route has one too: the routers that it has passed, in reverse.",
			Args: []string{
				"SRC: Source address of the errors.", "TYPE: unreachable, redirect, timeexceeded, parameterproblem, sourcequench, or a number.",
				"CODE: net, host, protocol, port, needfrag, srcroutefail, transit, reassembly, erroratptr, or a number; default 0.",
				"BADADDRS: Addresses, apart by spaces; packets from them or to them get no errors (own broadcast addresses).", "MTU: Most bytes of an error, at least 68; default 576.",
				"PMTU: Next-hop MTU that needfrag errors name; default 0.", "USE_FIX_ANNO: Whether errors ask FixIPSrc for an address; default true.",
			},
			Handlers: []string{"count (r): Errors sent.", "src (rw): The SRC argument.", "mtu (rw): The MTU argument.", "pmtu (rw): The PMTU argument.", "drops (r): Packets that get no error."},
			Example:  "ttl[1] -> ICMPError(10.0.1.1, timeexceeded, transit) -> rt;", See: []string{"FixIPSrc", "DecIPTTL"},
		},
	})
}

// ICMPError makes ICMP errors.
type ICMPError struct {
	click.Base
	src       netip.Addr
	typ, code int
	mtu, pmtu int
	fix       bool
	bad       map[netip.Addr]bool
	id        uint16
	count     uint64
}

// Configure implements click.Element.
func (e *ICMPError) Configure(a *click.Args) {
	e.mtu, e.fix, e.bad = 576, true, map[netip.Addr]bool{}
	bad := func(s string, a *click.Args) error {
		for _, w := range lang.SplitWords(lang.Unquote(s)) {
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
		click.Key("MTU", click.IntRange(&e.mtu, minMTU, 65535)), click.Key("PMTU", click.IntRange(&e.pmtu, 0, 65535)), click.Key("USE_FIX_ANNO", click.Bool(&e.fix)))
	if a.OK() && !isError(byte(e.typ)) {
		a.Errorf("ICMP type %d is not an error type", e.typ)
	}
}

// named parses a number up to 255, or one of the names that are known when it is parsed.
func named(p *int, names func() map[string]int) click.Value {
	return func(s string, a *click.Args) error {
		if n, ok := names()[lang.Unquote(s)]; ok {
			*p = n
			return nil
		}
		if _, err := strconv.Atoi(s); err != nil {
			return fmt.Errorf("unknown name '%s'", s)
		}
		return click.IntRange(p, 0, 255)(s, a)
	}
}

// minMTU is what every link of the internet can carry (RFC 791): an error fits with the longest header and a quote of eight bytes.
const minMTU = 68

// isError reports whether messages of a type are errors, or may be.
func isError(typ byte) bool {
	switch typ {
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18:
		return false
	}
	return true
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
		if isError(h[n]) {
			return false
		}
	}
	return !(e.typ == 5 && !p.Anno.Dst.Is4())
}

// route appends the reverse of h's source route, padded to whole words, if there is one: the addresses before its pointer, the last first, and
// a pointer at the first of them (RFC 1122 section 3.2.1.8).
func route(dst, h []byte) []byte {
	o := h[20:ip.HeaderLen(h)]
	for len(o) >= 3 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if n < 2 || n > len(o) {
			break
		}
		if o[0] != 131 && o[0] != 137 || n < 3 {
			o = o[n:]
			continue
		}
		passed := o[3:max(3, min(int(o[2])-1, n))]
		passed = passed[:len(passed)&^3]
		dst = append(dst, o[0], byte(3+len(passed)), 4)
		for i := len(passed); i > 0; i -= 4 {
			dst = append(dst, passed[i-4:i]...)
		}
		for len(dst)&3 != 0 {
			dst = append(dst, 0)
		}
		break
	}
	return dst
}

// answer makes the error about p, or nil.
func (e *ICMPError) answer(p *packet.Packet) *packet.Packet {
	h := ip.Header(p)
	if !e.answerable(p, h) {
		return nil
	}
	var options [40]byte
	opts := route(options[:0], h)
	head := 20 + len(opts)
	quote := min(len(h), int(binary.BigEndian.Uint16(h[2:])), max(e.mtu-head-8, 8))
	q := e.Cache().Alloc(e.Owner())
	if q == nil {
		return nil
	}
	d := q.Put(head + 8 + quote)
	if d == nil {
		e.Cache().Free(q)
		return nil
	}
	e.id++
	clear(d[:head+8])
	copy(d[20:], opts)
	copy(d[head+8:], h[:quote])
	d[0], d[8], d[9] = 0x40|byte(head/4), 255, 1
	d[1] = 0xc0 // internetwork control (RFC 1812 section 4.3.2.5)
	binary.BigEndian.PutUint16(d[2:], uint16(len(d)))
	binary.BigEndian.PutUint16(d[4:], e.id)
	src := e.src.As4()
	copy(d[12:], src[:])
	copy(d[16:], h[12:16])
	m := d[head:]
	m[0], m[1] = byte(e.typ), byte(e.code)
	switch {
	case e.typ == 5:
		gw := p.Anno.Dst.As4()
		copy(m[4:], gw[:])
	case e.typ == 12 && e.code == 0:
		m[4] = ip.Param(p)
	case e.typ == 3 && e.code == 4:
		binary.BigEndian.PutUint16(m[6:], uint16(e.pmtu))
	}
	binary.BigEndian.PutUint16(m[2:], demux.Checksum(m))
	ip.SetChecksum(d)
	q.SetNetwork(0)
	q.SetTransport(head)
	q.Anno.Dst = ip.Dst(d)
	q.Anno.Time = e.Now()
	ip.SetFixSrc(q, e.fix)
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

// Inherit implements click.Inheritor.
func (e *ICMPError) Inherit(old click.Element) error {
	if o, ok := old.(*ICMPError); ok {
		e.id, e.count = o.id, o.count
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *ICMPError) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("src", func() string { return e.src.String() }, click.Addr4(&e.src))
	h.Value("mtu", func() string { return strconv.Itoa(e.mtu) }, click.IntRange(&e.mtu, minMTU, 65535))
	h.Value("pmtu", func() string { return strconv.Itoa(e.pmtu) }, click.IntRange(&e.pmtu, 0, 65535))
}
