package ip

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DecIPTTL", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &DecIPTTL{} },
		Doc: click.Doc{
			Group: "ip", Title: "decrements the time to live",
			Text:     "The checksum is updated. Packets whose time is over, with a TTL of 0 or 1, go to output 1 unchanged, or are dropped.",
			Handlers: []string{"drops (r): Expired packets that had nowhere to go.", "expired (r): Expired packets."},
			Example:  "... -> t :: DecIPTTL -> ...; t[1] -> ICMPError(10.0.0.1, timeexceeded) -> ...;",
		},
	})
}

// DecIPTTL decrements the time to live.
type DecIPTTL struct {
	click.Base
	expired uint64
}

// Configure implements click.Element.
func (e *DecIPTTL) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *DecIPTTL) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		h := p.Network()
		if len(h) < 20 {
			e.DropOne(p)
			return false
		}
		if h[8] <= 1 {
			e.expired++
			e.ForwardOne(1, p)
			return false
		}
		if !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		h = p.Network()
		h[8]--
		// RFC 1624 with a change of -0x0100 in the word of TTL and protocol.
		sum := uint32(binary.BigEndian.Uint16(h[10:])) + 0x100
		binary.BigEndian.PutUint16(h[10:], uint16(sum+sum>>16))
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *DecIPTTL) AddHandlers(h *click.Handlers) { h.Count("expired", &e.expired) }
