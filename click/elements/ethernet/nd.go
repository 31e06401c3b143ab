package ethernet

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// Neighbour discovery for IPv6 (RFC 4861).
const (
	solicitation    = 135
	advertisement   = 136
	optionSource    = 1
	optionTarget    = 2
	flagSolicited   = 0x40
	flagOverride    = 0x20
	ndHead          = 14 + 40 // before the message
	ndLen           = 24 + 8  // of a message with one address option
	protoICMP6      = 58
	mostHops        = 255
	maxNDOptions    = 64
	solicitedPrefix = "\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff"
)

// ndMessage is a solicitation or an advertisement.
type ndMessage struct {
	typ      uint8
	flags    uint8
	src, dst [16]byte // of the IPv6 header
	target   [16]byte
	option   uint8 // kind of link, if hasLink
	link     [6]byte
	hasLink  bool
}

// parseND reads an Ethernet frame with a message, which is checked as RFC 4861 sections 7.1.1 and 7.1.2 want.
func parseND(d []byte) (m ndMessage, ok bool) {
	if len(d) < ndHead+24 || binary.BigEndian.Uint16(d[12:]) != typeIP6 || d[14]>>4 != 6 || d[20] != protoICMP6 || d[21] != mostHops {
		return m, false
	}
	n := int(binary.BigEndian.Uint16(d[18:]))
	if n < 24 || n > len(d)-ndHead {
		return m, false
	}
	m.src, m.dst = [16]byte(d[22:38]), [16]byte(d[38:54])
	b := d[ndHead : ndHead+n]
	m.typ, m.flags, m.target = b[0], b[4], [16]byte(b[8:24])
	if m.typ != solicitation && m.typ != advertisement || b[1] != 0 || m.target[0] == 0xff {
		return m, false
	}
	if demux.Fold(demux.Sum(demux.PseudoSum(netip.AddrFrom16(m.src), netip.AddrFrom16(m.dst), protoICMP6, n), b)) != 0 {
		return m, false
	}
	want := uint8(optionSource)
	if m.typ == advertisement {
		want = optionTarget
	}
	options := 0
	for o := b[24:]; len(o) > 0; options++ {
		if len(o) < 8 || o[1] == 0 || len(o) < int(o[1])*8 || options == maxNDOptions {
			return m, false
		}
		if o[0] == want && o[1] == 1 {
			m.option, m.link, m.hasLink = o[0], [6]byte(o[2:]), true
		}
		o = o[int(o[1])*8:]
	}
	none := m.src == [16]byte{}
	switch {
	case m.typ == solicitation && none:
		return m, !m.hasLink && string(m.dst[:13]) == solicitedPrefix
	case m.typ == advertisement:
		return m, !(m.flags&flagSolicited != 0 && m.dst[0] == 0xff)
	}
	return m, true
}

// newND makes a frame with a message, which has its address option, or nil.
func newND(e *click.Base, src, dst [6]byte, m *ndMessage) *packet.Packet {
	p := e.Cache().Alloc(e.Owner())
	if p == nil {
		return nil
	}
	d := p.Put(ndHead + ndLen)
	if d == nil {
		e.Cache().Free(p)
		return nil
	}
	clear(d)
	copy(d, dst[:])
	copy(d[6:], src[:])
	binary.BigEndian.PutUint16(d[12:], typeIP6)
	d[14], d[20], d[21] = 0x60, protoICMP6, mostHops
	binary.BigEndian.PutUint16(d[18:], ndLen)
	copy(d[22:], m.src[:])
	copy(d[38:], m.dst[:])
	b := d[ndHead:]
	b[0], b[4] = m.typ, m.flags
	copy(b[8:], m.target[:])
	b[24], b[25] = m.option, 1
	copy(b[26:], m.link[:])
	binary.BigEndian.PutUint16(b[2:], demux.Fold(demux.Sum(demux.PseudoSum(netip.AddrFrom16(m.src), netip.AddrFrom16(m.dst), protoICMP6, ndLen), b)))
	p.SetMAC(0)
	p.SetNetwork(14)
	p.SetTransport(ndHead)
	return p
}

// multicast6 returns the Ethernet address of an IPv6 multicast address (RFC 2464 section 7).
func multicast6(a [16]byte) [6]byte { return [6]byte{0x33, 0x33, a[12], a[13], a[14], a[15]} }
