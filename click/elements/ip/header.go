package ip

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// Header returns the packet's IPv4 header with everything behind it, or nil if the network header is not
// marked or not an IPv4 header whose length fits.
func Header(p *packet.Packet) []byte {
	h := p.Network()
	if len(h) < 20 || h[0]>>4 != 4 {
		return nil
	}
	if n := HeaderLen(h); n < 20 || n > len(h) {
		return nil
	}
	return h
}

// HeaderLen returns the header length in bytes that a header claims.
func HeaderLen(h []byte) int { return int(h[0]&15) * 4 }

// Src returns a header's source address.
func Src(h []byte) netip.Addr { return netip.AddrFrom4([4]byte(h[12:16])) }

// Dst returns a header's destination address.
func Dst(h []byte) netip.Addr { return netip.AddrFrom4([4]byte(h[16:20])) }

// SetChecksum computes and stores a header's checksum.
func SetChecksum(h []byte) {
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], demux.Checksum(h[:HeaderLen(h)]))
}

// setAddr replaces the four bytes at off of a header and keeps the checksum right.
func setAddr(h []byte, off int, a [4]byte) {
	old := binary.BigEndian.Uint32(h[off:])
	copy(h[off:], a[:])
	sum := demux.Update32(binary.BigEndian.Uint16(h[10:]), old, binary.BigEndian.Uint32(h[off:]))
	binary.BigEndian.PutUint16(h[10:], sum)
}

// sum20 is the ones' complement sum of a header without options.
func sum20(h []byte) uint16 {
	_ = h[19]
	s := uint64(binary.BigEndian.Uint32(h)) + uint64(binary.BigEndian.Uint32(h[4:])) + uint64(binary.BigEndian.Uint32(h[8:])) +
		uint64(binary.BigEndian.Uint32(h[12:])) + uint64(binary.BigEndian.Uint32(h[16:]))
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}
