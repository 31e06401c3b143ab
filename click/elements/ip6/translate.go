package ip6

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	text := "The stateless translation of RFC 7915: headers, fragments, ICMP echoes and errors with the packets that they quote, checksums. Packets come with a marked network header; those that leave begin with it, and have the destination annotation set. " +
		"Time to live and hop limit are copied. What cannot be translated goes to output 1 if that is connected: addresses outside of PREFIX, other ICMP messages, routing headers that are not used up."
	args := []string{"PREFIX: IPv6 prefix of 96 bits, behind which the IPv4 address stands; default ::/96. 64:ff9b::/96 is the well-known one (RFC 6052)."}
	handlers := []string{"count (r): Packets translated.", "drops (r): Packets not translated that had nowhere to go."}
	click.Register(click.Class{
		Name: "ProtocolTranslator64", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &Translator{} },
		Doc: click.Doc{
			Group: "ip6", Title: "makes IPv4 packets of IPv6 packets", Text: text, Args: args, Handlers: handlers,
			Example: "rt6[3] -> ProtocolTranslator64(64:ff9b::/96) -> rt;", See: []string{"ProtocolTranslator46"},
		},
	})
	click.Register(click.Class{
		Name: "ProtocolTranslator46", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &Translator{to6: true} },
		Doc: click.Doc{
			Group: "ip6", Title: "makes IPv6 packets of IPv4 packets", Text: text + " IPv4 options are left out.", Args: args, Handlers: handlers,
			Example: "rt[3] -> ProtocolTranslator46(64:ff9b::/96) -> rt6;", See: []string{"ProtocolTranslator64"},
		},
	})
}

// Translator translates packets between the versions of IP.
type Translator struct {
	click.Base
	to6    bool
	prefix netip.Prefix
	head   [12]byte // the prefix
	count  uint64
	id     uint16 // of the next IPv4 packet
}

// Configure implements click.Element.
func (e *Translator) Configure(a *click.Args) {
	e.prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 96)
	if a.Parse(click.May("PREFIX", click.Prefix(&e.prefix))) && (!e.prefix.Addr().Is6() || e.prefix.Bits() != 96) {
		a.Errorf("PREFIX: expected an IPv6 prefix of 96 bits, not '%v'", e.prefix)
		return
	}
	x := e.prefix.Masked().Addr().As16()
	e.head = [12]byte(x[:])
}

// Act implements click.Actor.
func (e *Translator) Act(b *packet.Batch) {
	keep := 0
	for _, p := range b.Packets() {
		q := e.translate(p)
		if q == nil {
			e.ForwardOne(1, p)
			continue
		}
		e.Cache().Free(p)
		e.count++
		b.Set(keep, q)
		keep++
	}
	b.Truncate(keep)
}

// translate makes the packet that p becomes, or returns nil.
func (e *Translator) translate(p *packet.Packet) *packet.Packet {
	q := e.Cache().Alloc(e.Owner())
	if q == nil {
		return nil
	}
	out := q.Put(q.Tailroom())
	n := 0
	if e.to6 {
		if h := ip.Header(p); h != nil {
			n = e.six(out, h, false)
		}
	} else if h := header(p); h != nil {
		n = e.four(out, h, false)
	}
	if n == 0 {
		e.Cache().Free(q)
		return nil
	}
	q.Take(len(out) - n)
	q.Anno = p.Anno
	if e.to6 {
		mark(q, 0)
		q.Anno.Dst = dst(out)
	} else {
		q.SetNetwork(0)
		q.SetTransport(20)
		q.Anno.Dst = ip.Dst(out)
	}
	return q
}

// adjust changes the checksum at the place of a transport header after the pseudo-header's sum has changed from old to new.
func adjust(t []byte, at int, old, new uint64) {
	c := binary.BigEndian.Uint16(t[at:])
	binary.BigEndian.PutUint16(t[at:], demux.Fold(uint64(^c)+uint64(demux.Fold(old))+new))
}

// transport translates what is common to both directions, TCP and UDP, in place.
func transport(t []byte, proto uint8, old, new uint64) {
	switch {
	case proto == protoTCP && len(t) >= 18:
		adjust(t, 16, old, new)
	case proto == protoUDP && len(t) >= 8:
		if adjust(t, 6, old, new); t[6]|t[7] == 0 {
			t[6], t[7] = 0xff, 0xff
		}
	}
}

// four writes the IPv4 packet that h becomes to out and returns its length, or 0. inner says that h is quoted in an error, and may be cut.
func (e *Translator) four(out, h []byte, inner bool) int {
	if len(h) < headerLen || h[0]>>4 != 6 || [12]byte(h[8:20]) != e.head || [12]byte(h[24:36]) != e.head {
		return 0
	}
	total := headerLen + int(binary.BigEndian.Uint16(h[4:]))
	if total > len(h) && !inner {
		return 0
	}
	h = h[:min(len(h), total)]
	proto, at := h[6], headerLen
	id, field := e.id, uint16(0)
	if total > 1280 { // RFC 7915 section 5.1: what may be fragmented needs a number
		field = 0x4000
	}
	if !inner {
		e.id++
	}
	fragmented := false
	for i := 0; ; i++ {
		if proto != hopByHop && proto != routing && proto != destination && proto != fragment {
			break
		}
		if len(h) < at+8 || i == maxExtensions {
			return 0
		}
		x := h[at:]
		n := int(x[1])*8 + 8
		switch {
		case proto == routing && x[3] != 0:
			return 0
		case proto == fragment:
			n = 8
			fo := binary.BigEndian.Uint16(x[2:])
			id, field, fragmented = binary.BigEndian.Uint16(x[6:]), fo>>3, true
			if fo&1 != 0 {
				field |= 0x2000
			}
		}
		if len(h) < at+n {
			return 0
		}
		proto, at = x[0], at+n
		if field&0x1fff != 0 {
			break
		}
	}
	body := h[at:]
	if len(out) < 20+len(body) || proto == 1 {
		return 0
	}
	put4(out, h, total-at, id, field, proto)
	t := out[20 : 20+copy(out[20:], body)]
	old, new := demux.PseudoSum(src(h), dst(h), 0, 0), demux.PseudoSum(ip.Src(out), ip.Dst(out), 0, 0)
	switch {
	case proto == protoICMP6:
		out[9] = 1
		if fragmented {
			return 0
		}
		n := e.icmp4(out[20:], body, demux.PseudoSum(src(h), dst(h), protoICMP6, total-at), inner)
		if n == 0 {
			return 0
		}
		if !inner {
			binary.BigEndian.PutUint16(out[2:], uint16(20+n))
		}
		ip.SetChecksum(out[:20])
		return 20 + n
	case field&0x1fff == 0:
		transport(t, proto, old, new)
	}
	ip.SetChecksum(out[:20])
	return 20 + len(t)
}

// put4 writes an IPv4 header without checksum for the IPv6 header h.
func put4(out, h []byte, length int, id, field uint16, proto uint8) {
	out[0], out[1] = 0x45, h[0]<<4|h[1]>>4
	binary.BigEndian.PutUint16(out[2:], uint16(20+length))
	binary.BigEndian.PutUint16(out[4:], id)
	binary.BigEndian.PutUint16(out[6:], field)
	out[8], out[9] = h[7], proto
	copy(out[12:], h[20:24])
	copy(out[16:], h[36:40])
}

// Places of IPv6 and IPv4 header fields that parameter problems point at (RFC 7915 sections 4.2 and 5.2); 255: none.
func pointer4(at uint32) uint8 {
	switch {
	case at <= 1:
		return uint8(at)
	case at == 4 || at == 5:
		return 2
	case at == 6:
		return 9
	case at == 7:
		return 8
	case at >= 8 && at <= 23:
		return 12
	case at >= 24 && at <= 39:
		return 16
	}
	return 255
}

func pointer6(at uint8) uint8 {
	switch {
	case at <= 1:
		return at
	case at == 2 || at == 3:
		return 4
	case at == 8:
		return 7
	case at == 9:
		return 6
	case at >= 12 && at <= 15:
		return 8
	case at >= 16 && at <= 19:
		return 24
	}
	return 255
}

// icmp4 writes the ICMP message for the ICMPv6 message m, whose pseudo-header has the sum old, and returns its length, or 0.
func (e *Translator) icmp4(out, m []byte, old uint64, inner bool) int {
	if len(m) < 8 {
		return 0
	}
	if m[0] == 128 || m[0] == 129 { // echo
		copy(out, m)
		out[0] = 8 * (129 - m[0])
		adjust(out, 2, old+uint64(m[0])<<8, uint64(out[0])<<8)
		return len(m)
	}
	clear(out[:8])
	switch rest := binary.BigEndian.Uint32(m[4:]); {
	case inner: // no errors about errors
		return 0
	case m[0] == 1 && m[1] <= 4:
		out[0], out[1] = 3, [5]uint8{1, 10, 1, 1, 3}[m[1]]
	case m[0] == toobig:
		out[0], out[1] = 3, 4
		binary.BigEndian.PutUint16(out[6:], uint16(min(max(rest, 20)-20, 65535)))
	case m[0] == 3 && m[1] <= 1:
		out[0], out[1] = 11, m[1]
	case m[0] == parameterproblem && m[1] == 0 && pointer4(rest) != 255:
		out[0], out[4] = 12, pointer4(rest)
	case m[0] == parameterproblem && m[1] == 1:
		out[0], out[1] = 3, 2
	default:
		return 0
	}
	n := e.four(out[8:], m[8:], true)
	if n == 0 {
		return 0
	}
	binary.BigEndian.PutUint16(out[2:], demux.Checksum(out[:8+n]))
	return 8 + n
}

// six writes the IPv6 packet that h becomes to out and returns its length, or 0. inner says that h is quoted in an error, and may be cut.
func (e *Translator) six(out, h []byte, inner bool) int {
	if len(h) < 20 || h[0]>>4 != 4 || ip.HeaderLen(h) < 20 || ip.HeaderLen(h) > len(h) {
		return 0
	}
	hl, total := ip.HeaderLen(h), int(binary.BigEndian.Uint16(h[2:]))
	if total < hl || total > len(h) && !inner {
		return 0
	}
	h = h[:max(hl, min(len(h), total))]
	body, proto := h[hl:], h[9]
	switch proto {
	case hopByHop, routing, fragment, destination, protoICMP6: // which would be something else above IPv6
		return 0
	}
	field := binary.BigEndian.Uint16(h[6:])
	at, next := headerLen, proto
	if proto == 1 {
		next = protoICMP6
	}
	fragmented := field&0x3fff != 0
	if fragmented {
		at += 8
	}
	if len(out) < at+len(body) {
		return 0
	}
	out[0], out[1], out[2], out[3] = 0x60|h[1]>>4, h[1]<<4, 0, 0
	binary.BigEndian.PutUint16(out[4:], uint16(at-headerLen+total-hl))
	out[6], out[7] = next, h[8]
	copy(out[8:], e.head[:])
	copy(out[20:], h[12:16])
	copy(out[24:], e.head[:])
	copy(out[36:], h[16:20])
	if fragmented {
		out[6] = fragment
		x := out[headerLen:]
		clear(x[:8])
		x[0] = next
		binary.BigEndian.PutUint16(x[2:], field<<3|field>>13&1)
		copy(x[6:], h[4:6])
	}
	t := out[at : at+copy(out[at:], body)]
	switch {
	case proto == 1:
		if fragmented {
			return 0
		}
		n := e.icmp6(t[:0:len(out)-at], body, src(out), dst(out), total-hl, inner)
		if n == 0 {
			return 0
		}
		if !inner {
			binary.BigEndian.PutUint16(out[4:], uint16(n))
		}
		return at + n
	case field&0x1fff != 0:
	case proto == protoUDP && len(t) >= 8 && t[6]|t[7] == 0: // without a checksum, which IPv6 does not allow
		if fragmented || inner && len(body) < total-hl {
			return 0
		}
		c := sum(src(out), dst(out), protoUDP, t)
		if c == 0 {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(t[6:], c)
	default:
		transport(t, proto, demux.PseudoSum(ip.Src(h), ip.Dst(h), 0, 0), demux.PseudoSum(src(out), dst(out), 0, 0))
	}
	return at + len(t)
}

// icmp6 writes the ICMPv6 message for the ICMP message m, which would be length bytes long if it were not cut, into the capacity of out.
func (e *Translator) icmp6(out, m []byte, from, to netip.Addr, length int, inner bool) int {
	if len(m) < 8 {
		return 0
	}
	out = out[:cap(out)]
	if m[0] == 8 || m[0] == 0 { // echo
		copy(out, m)
		out[0] = 129 - m[0]/8
		adjust(out, 2, uint64(m[0])<<8, demux.PseudoSum(from, to, protoICMP6, length)+uint64(out[0])<<8)
		return len(m)
	}
	var head [8]byte
	switch mtu := uint32(binary.BigEndian.Uint16(m[6:])); {
	case inner:
		return 0
	case m[0] == 3 && m[1] == 2:
		head[0], head[1], head[7] = parameterproblem, 1, 6
	case m[0] == 3 && m[1] == 4:
		head[0] = toobig
		binary.BigEndian.PutUint32(head[4:], max(mtu+20, minMTU))
	case m[0] == 3 && m[1] <= 15 && m[1] != 14:
		head[0] = 1
		head[1] = [16]uint8{3: 4, 9: 1, 10: 1, 13: 1, 15: 1}[m[1]]
	case m[0] == 11 && m[1] <= 1:
		head[0], head[1] = 3, m[1]
	case m[0] == 12 && (m[1] == 0 || m[1] == 2) && pointer6(m[4]) != 255:
		head[0], head[7] = parameterproblem, pointer6(m[4])
	default:
		return 0
	}
	if len(out) < 8 {
		return 0
	}
	n := e.six(out[8:], m[8:], true)
	if n == 0 {
		return 0
	}
	copy(out, head[:])
	binary.BigEndian.PutUint16(out[2:], sum(from, to, protoICMP6, out[:8+n]))
	return 8 + n
}

// Inherit implements click.Inheritor.
func (e *Translator) Inherit(old click.Element) error {
	if o, ok := old.(*Translator); ok {
		e.count, e.id = o.count, o.id
		e.CountDrops(int(o.Drops()))
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *Translator) AddHandlers(h *click.Handlers) { h.Count("count", &e.count) }
