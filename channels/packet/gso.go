package packet

import (
	"encoding/binary"

	"github.com/janos-os/janos/demux"
)

// Kinds of super-frames, as struct virtio_net_hdr numbers them.
const (
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDPL4 = 5
	gsoECN   = 0x80
)

const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// segmenter cuts a super-frame into the frames that it stands for, as a network card would (the rules are those of the kernel's
// documentation of segmentation offloads). It holds no memory of its own.
type segmenter struct {
	frame   []byte // nil: idle
	l3, l4  int    // where network and transport header begin
	hdr     int    // length of all headers
	size    int    // payload of a segment
	at      int    // next payload byte
	segment int
	v4, tcp bool
}

// start takes a frame with the offload type, segment size and checksum start that the kernel gave. It returns false for what cannot be
// cut: an unknown type, or headers that do not fit the description. frame must stay valid until next returns 0.
func (s *segmenter) start(frame []byte, gsoType uint8, gsoSize, csumStart int) bool {
	*s = segmenter{}
	l3, typ := demux.EtherLen, uint16(0)
	if len(frame) < l3 {
		return false
	}
	typ = binary.BigEndian.Uint16(frame[12:])
	for range 2 {
		if (typ == demux.EtherTypeVLAN || typ == demux.EtherTypeSVLAN) && len(frame) >= l3+demux.VLANLen {
			typ, l3 = binary.BigEndian.Uint16(frame[l3+2:]), l3+demux.VLANLen
		}
	}
	s.v4 = typ == demux.EtherTypeIPv4
	l4, need := csumStart, 0
	switch gsoType &^ gsoECN {
	case gsoTCPv4, gsoTCPv6:
		s.tcp, need = true, 20
		if s.v4 != (gsoType&^gsoECN == gsoTCPv4) {
			return false
		}
	case gsoUDPL4:
		need = demux.UDPLen
	default:
		return false
	}
	if !s.v4 && typ != demux.EtherTypeIPv6 || gsoSize < 1 || l4 < l3+20 || !s.v4 && l4 < l3+40 || len(frame) < l4+need {
		return false
	}
	if s.v4 && l3+int(frame[l3]&15)*4 != l4 { // a tunnel, whose outer headers are not described
		return false
	}
	if s.tcp {
		if need = int(frame[l4+12]>>4) * 4; need < 20 || len(frame) < l4+need {
			return false
		}
	}
	s.frame, s.l3, s.l4, s.hdr, s.size = frame, l3, l4, l4+need, gsoSize
	s.at = s.hdr
	return true
}

// next writes the next frame to dst and returns its length; 0 when all have been written, -1 when dst is too short, which ends the
// segmentation too.
func (s *segmenter) next(dst []byte) int {
	if s.frame == nil || s.at >= len(s.frame) {
		s.frame = nil
		return 0
	}
	n := min(s.size, len(s.frame)-s.at)
	total := s.hdr + n
	if total > len(dst) {
		s.frame = nil
		return -1
	}
	b := dst[:total]
	copy(b, s.frame[:s.hdr])
	copy(b[s.hdr:], s.frame[s.at:s.at+n])
	last := s.at+n == len(s.frame)
	ip := b[s.l3:]
	if s.v4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(total-s.l3))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(s.segment))
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], demux.Checksum(ip[:s.l4-s.l3]))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(total-s.l3-demux.IPv6Len))
	}
	l4 := b[s.l4:]
	if s.tcp {
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])+uint32(s.at-s.hdr))
		if !last {
			l4[13] &^= tcpFIN | tcpPSH
		}
		if s.segment > 0 {
			l4[13] &^= tcpCWR
		}
		s.checksum(ip, l4, 16, demux.ProtoTCP)
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		s.checksum(ip, l4, 6, demux.ProtoUDP)
	}
	s.at += n
	s.segment++
	return total
}

// checksum writes the transport checksum at offset at of l4.
func (s *segmenter) checksum(ip, l4 []byte, at int, proto uint8) {
	l4[at], l4[at+1] = 0, 0
	sum := uint64(proto) + uint64(len(l4))
	if s.v4 {
		sum = demux.Sum(sum, ip[12:20])
	} else {
		sum = demux.Sum(sum, ip[8:40])
	}
	check := demux.Fold(demux.Sum(sum, l4))
	if check == 0 && proto == demux.ProtoUDP {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(l4[at:], check)
}

// complete finishes the checksum of a frame that carries only the pseudo-header's sum. It returns false when the
// place is outside the frame.
func complete(frame []byte, start, offset int) bool {
	at := start + offset
	if start < demux.EtherLen || at+2 > len(frame) || start > len(frame) {
		return false
	}
	check := demux.Checksum(frame[start:])
	if check == 0 { // in UDP zero means none, in TCP the two zeros are equal
		check = 0xffff
	}
	binary.BigEndian.PutUint16(frame[at:], check)
	return true
}
