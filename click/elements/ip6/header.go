package ip6

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

const (
	headerLen = 40

	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
	protoNone  = 59

	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
	authHeader  = 51

	maxExtensions = 16
)

// header returns the packet's IPv6 header with everything behind it, or nil if the network header is not marked or no such header.
func header(p *packet.Packet) []byte {
	h := p.Network()
	if len(h) < headerLen || h[0]>>4 != 6 {
		return nil
	}
	return h
}

func src(h []byte) netip.Addr { return netip.AddrFrom16([16]byte(h[8:24])) }
func dst(h []byte) netip.Addr { return netip.AddrFrom16([16]byte(h[24:40])) }

// upper follows the extension headers (RFC 8200 section 4) of a packet to what is above IPv6: its protocol, where it begins, and whether that
// place is there, which it is not in fragments other than the first. ok is false where the headers do not fit.
func upper(h []byte) (proto uint8, at int, there, ok bool) {
	proto, at = h[6], headerLen
	for range maxExtensions {
		var n int
		switch proto {
		case hopByHop, routing, destination:
			if len(h) < at+8 {
				return proto, at, false, false
			}
			n = int(h[at+1])*8 + 8
		case authHeader: // RFC 4302
			if len(h) < at+8 {
				return proto, at, false, false
			}
			n = int(h[at+1])*4 + 8
		case fragment:
			if len(h) < at+8 {
				return proto, at, false, false
			}
			if n = 8; binary.BigEndian.Uint16(h[at+2:])>>3 != 0 {
				return h[at], at + n, false, true
			}
		default:
			return proto, at, true, true
		}
		if len(h) < at+n {
			return proto, at, false, false
		}
		proto, at = h[at], at+n
	}
	return proto, at, false, false
}

// mark sets the network header off bytes from the start, and the transport header behind its extension headers.
func mark(p *packet.Packet, off int) {
	p.SetNetwork(off)
	p.SetTransport(off + headerLen)
	if h := header(p); h != nil {
		if _, at, _, ok := upper(h); ok {
			p.SetTransport(off + at)
		}
	}
}

// sum returns the checksum of the upper layer m of a packet from a to b; over data with a right one it is 0.
func sum(a, b netip.Addr, proto uint8, m []byte) uint16 {
	return demux.Fold(demux.Sum(demux.PseudoSum(a, b, proto, len(m)), m))
}
