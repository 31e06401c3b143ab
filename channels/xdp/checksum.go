package xdp

import (
	"encoding/binary"

	"github.com/janos-os/janos/demux"
)

// finishChecksum completes the UDP or TCP checksum of a frame that comes from a program on the same machine: kernels leave there only the sum
// of the pseudo-header for the network card to go on from, and XDP does not say where they did. The sign is that the field holds exactly that sum.
// A finished checksum has that value once in 65,536 packets, and then completing it yields the same value again.
//
// It follows tags and plain headers: fragments and packets with IPv6 extension headers are finished by the kernel that
// makes them.
func finishChecksum(f []byte) {
	if len(f) < demux.EtherLen+demux.IPv4Len+demux.UDPLen {
		return
	}
	typ, ip := binary.BigEndian.Uint16(f[12:]), f[demux.EtherLen:]
	if typ == demux.EtherTypeIPv4 && finished4(ip) {
		return
	}
	for range 2 {
		if (typ == demux.EtherTypeVLAN || typ == demux.EtherTypeSVLAN) && len(ip) > demux.VLANLen {
			typ, ip = binary.BigEndian.Uint16(ip[2:]), ip[demux.VLANLen:]
		}
	}
	var proto byte
	var l4, addrs []byte
	switch typ {
	case demux.EtherTypeIPv4:
		if len(ip) < demux.IPv4Len || ip[0]>>4 != 4 {
			return
		}
		hdr, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if hdr < demux.IPv4Len || total < hdr || total > len(ip) || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return
		}
		proto, addrs, l4 = ip[9], ip[12:20], ip[hdr:total]
	case demux.EtherTypeIPv6:
		if len(ip) < demux.IPv6Len || ip[0]>>4 != 6 {
			return
		}
		total := demux.IPv6Len + int(binary.BigEndian.Uint16(ip[4:]))
		if total > len(ip) {
			return
		}
		proto, addrs, l4 = ip[6], ip[8:40], ip[demux.IPv6Len:total]
	default:
		return
	}
	at := 0
	switch {
	case proto == demux.ProtoUDP && len(l4) >= demux.UDPLen:
		at = 6
	case proto == demux.ProtoTCP && len(l4) >= 20:
		at = 16
	default:
		return
	}
	// Fold returns the complement of the sum.
	if ^demux.Fold(demux.Sum(uint64(proto)+uint64(len(l4)), addrs)) != binary.BigEndian.Uint16(l4[at:]) {
		return
	}
	check := demux.Checksum(l4)
	if check == 0 { // in UDP zero means none, in TCP the two zeros are equal
		check = 0xffff
	}
	binary.BigEndian.PutUint16(l4[at:], check)
}

// finished4 is the answer for most packets: it reports whether ip, which has 28 bytes at least, begins with a plain header of IPv4 and one of UDP or TCP with a
// checksum that is not the sum of the pseudo-header. The sum is taken of the bytes in the order in which they lie, which changes the order of its own bytes only
// (RFC 1071, section 2), and compared modulo 65,535; where 0 and 65,535 would have to be told apart the answer is no.
func finished4(ip []byte) bool {
	at := demux.IPv4Len + 6
	if ip[9] != demux.ProtoUDP {
		if at = demux.IPv4Len + 16; ip[9] != demux.ProtoTCP || len(ip) < at+2 {
			return false
		}
	}
	addrs := binary.LittleEndian.Uint64(ip[12:])
	sum := addrs>>32 + addrs&0xffffffff + uint64(binary.LittleEndian.Uint16(ip[2:])) + uint64(ip[9])<<8
	// Less the header's length and the field, as their complements.
	sum += 0xffff - demux.IPv4Len<<8 + uint64(^binary.LittleEndian.Uint16(ip[at:]))
	return ip[0] == 0x45 && sum%0xffff != 0
}
