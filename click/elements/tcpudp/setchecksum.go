package tcpudp

import (
	"encoding/binary"
	"fmt"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "SetTCPChecksum", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &SetTCPChecksum{} },
		Doc: click.Doc{
			Group: "tcpudp", Title: "computes TCP checksums",
			Text:     "Packets must have a marked IPv4 header; the protocol is not looked at. Those that are too short for a TCP header, or shorter than they say, go to output 1, or are dropped with a message about the first.",
			Args:     []string{"FIXOFF: Whether to correct data offsets that do not fit, to the nearest that does; default false."},
			Handlers: []string{"drops (r): Packets dropped."},
			Example:  "... -> StoreIPAddress(src) -> SetIPChecksum -> SetTCPChecksum -> ...;", See: []string{"CheckTCPHeader", "SetUDPChecksum", "SetIPChecksum"},
		},
	})
	click.Register(click.Class{
		Name: "SetUDPChecksum", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &SetUDPChecksum{} },
		Doc: click.Doc{
			Group: "tcpudp", Title: "computes UDP checksums",
			Text:     "Packets must have a marked IPv4 header; the protocol is not looked at. Fragments, and packets whose UDP length is below 8 or more than they have, go to output 1, or are dropped with a message about the first.",
			Handlers: []string{"drops (r): Packets dropped."},
			Example:  "... -> SetIPChecksum -> SetUDPChecksum -> ...;", See: []string{"CheckUDPHeader", "SetTCPChecksum", "SetIPChecksum"},
		},
	})
}

// SetTCPChecksum computes TCP checksums.
type SetTCPChecksum struct {
	click.Base
	fix bool
	warned
}

// Configure implements click.Element.
func (e *SetTCPChecksum) Configure(a *click.Args) { a.Parse(click.May("FIXOFF", click.Bool(&e.fix))) }

// Act implements click.Actor.
func (e *SetTCPChecksum) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		_, s, ok := segment(p)
		if !ok || len(s) < 20 || !c.Unshare(p) {
			e.refuse(&e.Base, p, "bad lengths")
			return false
		}
		h, s, _ := segment(p)
		if n := min(max(int(s[12]>>4), 5), len(s)/4); e.fix && n != int(s[12]>>4) {
			s[12] = byte(n)<<4 | s[12]&15
		}
		s[16], s[17] = 0, 0
		sum := sumAs(6, h, s)
		binary.BigEndian.PutUint16(s[16:], sum)
		return true
	})
}

// SetUDPChecksum computes UDP checksums.
type SetUDPChecksum struct {
	click.Base
	warned
}

// warned is whether an element has said that it drops packets.
type warned bool

// refuse sends p to output 1 or drops it, and says so if it is the first that is dropped.
func (w *warned) refuse(e *click.Base, p *packet.Packet, why string) {
	if e.Outputs() == 1 && !*w {
		*w = true
		fmt.Fprintf(e.Output(), "%s :: %s: %s\n", e.Name(), e.Class().Name, why)
	}
	e.ForwardOne(1, p)
}

// Configure implements click.Element.
func (e *SetUDPChecksum) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *SetUDPChecksum) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		h, s, ok := segment(p)
		n := 0
		if ok && len(s) >= 8 && binary.BigEndian.Uint16(h[6:])&0x3fff == 0 {
			n = int(binary.BigEndian.Uint16(s[4:]))
		}
		if n < 8 || n > len(s) || !c.Unshare(p) {
			e.refuse(&e.Base, p, "fragment or short packet")
			return false
		}
		h, s, _ = segment(p)
		s[6], s[7] = 0, 0
		sum := sumAs(17, h, s[:n])
		if sum == 0 {
			sum = 0xffff // RFC 768: zero means no checksum
		}
		binary.BigEndian.PutUint16(s[6:], sum)
		return true
	})
}
