package ip

import "github.com/janos-os/janos/packet"

// Bytes of packet.Anno.User that the elements for IP use.
const (
	userParam  = 15 // where a header's error is, for parameter problems
	userFixSrc = 14 // FixIPSrc has something to do
)

// SetParam notes the offset in the header at which an element found an error.
func SetParam(p *packet.Packet, off int) { p.Anno.User[userParam] = byte(off) }

// Param returns what SetParam noted.
func Param(p *packet.Packet) byte { return p.Anno.User[userParam] }

// SetFixSrc says whether FixIPSrc should write the address of the outgoing interface into the source address.
func SetFixSrc(p *packet.Packet, fix bool) {
	p.Anno.User[userFixSrc] = 0
	if fix {
		p.Anno.User[userFixSrc] = 1
	}
}

// FixSrc returns what SetFixSrc said.
func FixSrc(p *packet.Packet) bool { return p.Anno.User[userFixSrc] != 0 }
