package demux

import (
	"encoding/binary"
	"net/netip"
)

// Sum adds b to a running one's complement sum (RFC 1071), in 16-bit words from b's start; an odd last byte counts as the high
// byte of a word, so only the last piece of several may be odd. Begin with 0 and end with Fold.
func Sum(sum uint64, b []byte) uint64 {
	for len(b) >= 32 {
		sum += uint64(binary.BigEndian.Uint32(b)) + uint64(binary.BigEndian.Uint32(b[4:])) +
			uint64(binary.BigEndian.Uint32(b[8:])) + uint64(binary.BigEndian.Uint32(b[12:])) +
			uint64(binary.BigEndian.Uint32(b[16:])) + uint64(binary.BigEndian.Uint32(b[20:])) +
			uint64(binary.BigEndian.Uint32(b[24:])) + uint64(binary.BigEndian.Uint32(b[28:]))
		b = b[32:]
	}
	for len(b) >= 4 {
		sum += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// Fold turns a running sum into the checksum that is written to a header.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Checksum returns the Internet checksum of b. Over data that contains a right checksum it is zero.
func Checksum(b []byte) uint16 { return Fold(Sum(0, b)) }

// Update16 returns the checksum check after one word under it has changed from old to new (RFC 1624, equation 3).
func Update16(check, old, new uint16) uint16 {
	return Fold(uint64(^check) + uint64(^old) + uint64(new))
}

// Update32 is Update16 for an aligned pair of words, such as an IPv4 address.
func Update32(check uint16, old, new uint32) uint16 {
	return Fold(uint64(^check) + uint64(^old>>16) + uint64(^old&0xffff) + uint64(new>>16) + uint64(new&0xffff))
}

// PseudoSum returns the running sum of the pseudo-header of UDP, TCP or ICMPv6: addresses (both of the same version), the
// protocol's number and the length of header and data.
func PseudoSum(src, dst netip.Addr, proto uint8, length int) uint64 {
	sum := uint64(proto) + uint64(length)
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		return Sum(Sum(sum, s[:]), d[:])
	}
	s, d := src.As16(), dst.As16()
	return Sum(Sum(sum, s[:]), d[:])
}
