package rewrite

import (
	"math/bits"
	"net/netip"
)

// key is what a packet says about its flow: source and destination address in a; in b the two ports and a tag, by which keys of
// different protocols or directions differ.
//
//	a  | source 32 | destination 32 |
//	b  | source port 16 | destination port 16 | tag 32 |
type key struct{ a, b uint64 }

// Tags. The low byte is the protocol where a table tells protocols apart.
const (
	tagTCP   = 6
	tagUDP   = 17
	tagReply = 1 << 8 // of pings that are replies, and of lookups by destination
)

func newKey(src, dst uint32, sport, dport uint16, tag uint32) key {
	return key{uint64(src)<<32 | uint64(dst), uint64(sport)<<48 | uint64(dport)<<32 | uint64(tag)}
}

func (k key) src() uint32   { return uint32(k.a >> 32) }
func (k key) dst() uint32   { return uint32(k.a) }
func (k key) sport() uint16 { return uint16(k.b >> 48) }
func (k key) dport() uint16 { return uint16(k.b >> 32) }
func (k key) tag() uint32   { return uint32(k.b) }

// reverse is the key of packets in the other direction. flip are the bits of the tag that differ between directions.
func (k key) reverse(flip uint32) key {
	b := uint64(k.dport())<<48 | uint64(k.sport())<<32 | uint64(k.tag()^flip)
	return key{bits.RotateLeft64(k.a, 32), b}
}

// addr4 is an address as the keys have it.
func addr4(a netip.Addr) uint32 {
	v := a.As4()
	return uint32(v[0])<<24 | uint32(v[1])<<16 | uint32(v[2])<<8 | uint32(v[3])
}

func toAddr(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// fold is the one's complement sum of words as 16 bits.
func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// change is what a checksum's sum grows by when one address becomes another (RFC 1624).
func change32(from, to uint32) uint64 {
	return uint64(^from>>16) + uint64(^from&0xffff) + uint64(to>>16) + uint64(to&0xffff)
}

func change16(from, to uint16) uint64 { return uint64(^from) + uint64(to) }

// adjust returns the checksum check after the sum under it has grown.
func adjust(check uint16, growth uint64) uint16 { return ^fold(uint64(^check) + growth) }
