package tcpudp

import (
	"encoding/binary"

	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// segment returns a packet's IPv4 header, and what is behind it up to the length that the header says; ok is false if bytes of that are missing
// or the network header is not marked.
func segment(p *packet.Packet) (h, s []byte, ok bool) {
	if h = ip.Header(p); h == nil {
		return nil, nil, false
	}
	n, total := ip.HeaderLen(h), int(binary.BigEndian.Uint16(h[2:]))
	if total < n || total > len(h) {
		return h, nil, false
	}
	return h, h[n:total], true
}

// checksum returns the checksum of s with the pseudo header that h gives, as it should be if s has zero in its place; for one that
// has its checksum it is zero.
func checksum(h, s []byte) uint16 { return sumAs(h[9], h, s) }

// sumAs is checksum for packets whose protocol is known without the header's word.
func sumAs(proto uint8, h, s []byte) uint16 {
	return demux.Fold(demux.Sum(demux.PseudoSum(ip.Src(h), ip.Dst(h), proto, len(s)), s))
}
