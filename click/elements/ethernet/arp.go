package ethernet

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

const (
	arpRequest = 1
	arpReply   = 2
	typeIP     = 0x0800
	typeARP    = 0x0806
)

var broadcastEther = [6]byte{255, 255, 255, 255, 255, 255}

// arpMessage is an ARP packet for IPv4 over Ethernet (RFC 826).
type arpMessage struct {
	op       uint16
	sha, tha [6]byte
	spa, tpa [4]byte
}

// parseARP reads an Ethernet frame with an ARP packet.
func parseARP(d []byte) (m arpMessage, ok bool) {
	if len(d) < 42 || binary.BigEndian.Uint16(d[12:]) != typeARP || binary.BigEndian.Uint32(d[14:]) != 0x00010800 || d[18] != 6 || d[19] != 4 {
		return m, false
	}
	m.op = binary.BigEndian.Uint16(d[20:])
	copy(m.sha[:], d[22:])
	copy(m.spa[:], d[28:])
	copy(m.tha[:], d[32:])
	copy(m.tpa[:], d[38:])
	return m, true
}

// newARP makes a frame with an ARP packet, without a time, or nil.
func newARP(e *click.Base, dst [6]byte, m *arpMessage) *packet.Packet {
	p := e.Cache().Alloc(e.Owner())
	if p == nil {
		return nil
	}
	d := p.Put(42)
	if d == nil {
		e.Cache().Free(p)
		return nil
	}
	copy(d, dst[:])
	copy(d[6:], m.sha[:])
	binary.BigEndian.PutUint16(d[12:], typeARP)
	binary.BigEndian.PutUint32(d[14:], 0x00010800)
	d[18], d[19] = 6, 4
	binary.BigEndian.PutUint16(d[20:], m.op)
	copy(d[22:], m.sha[:])
	copy(d[28:], m.spa[:])
	copy(d[32:], m.tha[:])
	copy(d[38:], m.tpa[:])
	p.SetMAC(0)
	return p
}
