package standard

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "SetCRC32", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &CRC32{} },
		Doc: click.Doc{
			Group: "standard", Title: "appends a checksum of the packet", Text: "It is the frame check sequence of Ethernet, in its byte order. Packets without room are dropped.",
			Handlers: []string{"drops (r): Packets without room."}, Example: "... -> SetCRC32 -> ...;", See: []string{"CheckCRC32"},
		},
	})
	click.Register(click.Class{
		Name: "CheckCRC32", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CRC32{check: true} },
		Doc: click.Doc{
			Group: "standard", Title: "checks and removes the checksum that SetCRC32 has appended", Text: "Packets whose checksum is wrong go to output 1, or are dropped without one.",
			Handlers: []string{"drops (r): Packets with a wrong checksum or none that had nowhere to go."}, Example: "... -> CheckCRC32 -> ...;", See: []string{"SetCRC32"},
		},
	})
}

// CRC32 appends or checks checksums.
type CRC32 struct {
	click.Base
	check bool
}

// Configure implements click.Element.
func (e *CRC32) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *CRC32) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		n := p.Len() - 4
		if e.check {
			d := p.Data()
			if n < 0 || crc32.ChecksumIEEE(d[:n]) != binary.LittleEndian.Uint32(d[n:]) {
				e.ForwardOne(1, p)
				return false
			}
			p.Take(4)
			return true
		}
		if p.Tailroom() < 4 || !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		sum := crc32.ChecksumIEEE(p.Data())
		d := p.Put(4)
		binary.LittleEndian.PutUint32(d[len(d)-4:], sum)
		return true
	})
}
