package demux

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/packet"
)

// The Push functions write one header in front of a packet, fill in lengths and checksums from what the packet
// then holds, and set the header's offset in the packet. They return false, and leave the packet as it was, when the
// headroom is too small, the packet too long for a length field or the addresses do not fit. The packet must
// be unshared. They do not allocate.

// Header sizes that the Push functions write.
const (
	EtherLen = 14
	VLANLen  = 4
	IPv4Len  = 20
	IPv6Len  = 40
	UDPLen   = 8
)

// Ethernet types, in the host's byte order.
const (
	EtherTypeIPv4  = etherIPv4
	EtherTypeIPv6  = etherIPv6
	EtherTypeARP   = 0x0806
	EtherTypeVLAN  = etherVLAN
	EtherTypeSVLAN = etherSVID
)

// Protocol numbers inside IP.
const (
	ProtoICMP   = 1
	ProtoIPv4   = protoIPv4
	ProtoTCP    = protoTCP
	ProtoUDP    = protoUDP
	ProtoIPv6   = protoIPv6
	ProtoICMPv6 = 58
)

// DefaultTTL is the hop limit written where an IPHeader has none.
const DefaultTTL = 64

// IPHeader is what PushIPv4 and PushIPv6 need to know beyond the packet's length.
type IPHeader struct {
	Src, Dst netip.Addr
	Proto    uint8  // of the payload
	TTL      uint8  // 0: DefaultTTL
	TOS      uint8  // type of service, or traffic class
	ID       uint16 // IPv4 only
	DF       bool   // IPv4 only: do not fragment
	Flow     uint32 // IPv6 only: 20 bits of flow label
}

// PushEther writes an Ethernet II header.
func PushEther(p *packet.Packet, dst, src [6]byte, etherType uint16) bool {
	b := p.Push(EtherLen)
	if b == nil {
		return false
	}
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], etherType)
	p.SetMAC(0)
	return true
}

// PushVLAN puts an 802.1Q tag into the Ethernet header at the packet's start.
func PushVLAN(p *packet.Packet, tci uint16) bool { return PushTag(p, EtherTypeVLAN, tci) }

// PushTag is PushVLAN for a tag of the given type, EtherTypeVLAN or EtherTypeSVLAN.
func PushTag(p *packet.Packet, etherType, tci uint16) bool {
	if p.Len() < EtherLen {
		return false
	}
	b := p.Push(VLANLen)
	if b == nil {
		return false
	}
	copy(b, b[VLANLen:VLANLen+12])
	binary.BigEndian.PutUint16(b[12:], etherType)
	binary.BigEndian.PutUint16(b[14:], tci)
	p.SetMAC(0)
	return true
}

// PushIPv4 writes an IPv4 header without options.
func PushIPv4(p *packet.Packet, h *IPHeader) bool {
	n := p.Len() + IPv4Len
	if n > 0xffff || !h.Src.Is4() || !h.Dst.Is4() {
		return false
	}
	b := p.Push(IPv4Len)
	if b == nil {
		return false
	}
	h.put4(b)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint16(b[10:], Checksum(b[:IPv4Len]))
	p.SetNetwork(0)
	return true
}

// PushIPv6 writes an IPv6 header without extensions.
func PushIPv6(p *packet.Packet, h *IPHeader) bool {
	n := p.Len()
	if n > 0xffff || !h.Src.Is6() || !h.Dst.Is6() {
		return false
	}
	b := p.Push(IPv6Len)
	if b == nil {
		return false
	}
	h.put6(b)
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	p.SetNetwork(0)
	return true
}

// PutIPHeader writes the header to b, which must have room for it, with length and, in version 4, checksum zero. It returns how
// many bytes it has and its version, which is that of the addresses; both must be of that version.
func PutIPHeader(b []byte, h *IPHeader) (n, version int) {
	if h.Dst.Is4() {
		h.put4(b)
		return IPv4Len, 4
	}
	h.put6(b)
	return IPv6Len, 6
}

func (h *IPHeader) put4(b []byte) {
	clear(b[:IPv4Len])
	b[0], b[1] = 0x45, h.TOS
	binary.BigEndian.PutUint16(b[4:], h.ID)
	if h.DF {
		b[6] = 0x40
	}
	b[8], b[9] = h.ttl(), h.Proto
	src, dst := h.Src.As4(), h.Dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
}

func (h *IPHeader) put6(b []byte) {
	binary.BigEndian.PutUint32(b, 6<<28|uint32(h.TOS)<<20|h.Flow&0xfffff)
	b[4], b[5], b[6], b[7] = 0, 0, h.Proto, h.ttl()
	src, dst := h.Src.As16(), h.Dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
}

// PushIP is PushIPv4 or PushIPv6, as the addresses say.
func PushIP(p *packet.Packet, h *IPHeader) bool {
	if h.Dst.Is4() {
		return PushIPv4(p, h)
	}
	return PushIPv6(p, h)
}

func (h *IPHeader) ttl() uint8 {
	if h.TTL == 0 {
		return DefaultTTL
	}
	return h.TTL
}

// PushUDP writes a UDP header with its checksum. The addresses are those that the IP header will have.
func PushUDP(p *packet.Packet, src, dst netip.AddrPort) bool {
	n := p.Len() + UDPLen
	if n > 0xffff || !src.Addr().IsValid() || src.Addr().Is4() != dst.Addr().Is4() || !dst.Addr().IsValid() {
		return false
	}
	b := p.Push(UDPLen)
	if b == nil {
		return false
	}
	binary.BigEndian.PutUint16(b, src.Port())
	binary.BigEndian.PutUint16(b[2:], dst.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	b[6], b[7] = 0, 0
	check := Fold(Sum(PseudoSum(src.Addr(), dst.Addr(), ProtoUDP, n), b))
	if check == 0 { // zero would mean: no checksum (RFC 768)
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], check)
	p.SetTransport(0)
	return true
}
