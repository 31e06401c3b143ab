package ip

import (
	"encoding/binary"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DecIPTTL", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &DecIPTTL{} },
		Doc: click.Doc{
			Group: "ip", Title: "decrements the time to live",
			Text: "The checksum is updated. Packets whose time is over, with a TTL of 0 or 1, go to output 1 unchanged, or are dropped. Packets without a marked IP header are dropped.",
			Args: []string{"ACTIVE: Whether to do anything; default true.", "MULTICAST: Whether to do it to multicast packets; default true."},
			Handlers: []string{
				"active (rw): The ACTIVE argument.", "drops (r): Expired packets, wherever they went, and packets dropped.", "expired (r): Expired packets.",
			},
			Example: "... -> t :: DecIPTTL -> ...; t[1] -> ICMPError(10.0.0.1, timeexceeded) -> ...;",
		},
	})
}

// DecIPTTL decrements the time to live.
type DecIPTTL struct {
	click.Base
	active, multicast bool
	expired           uint64
	headless          uint64
}

// Configure implements click.Element.
func (e *DecIPTTL) Configure(a *click.Args) {
	e.active, e.multicast = true, true
	a.Parse(click.Key("ACTIVE", click.Bool(&e.active)), click.Key("MULTICAST", click.Bool(&e.multicast)))
}

// Act implements click.Actor.
func (e *DecIPTTL) Act(b *packet.Batch) {
	if !e.active {
		return
	}
	c := e.Cache()
	done := 0
	for _, p := range b.Packets() {
		h := p.Network()
		if len(h) < 20 || h[8] <= 1 || !e.multicast || c.Shared(p) {
			break
		}
		decrement(h)
		done++
	}
	if done == b.Len() {
		return
	}
	b.KeepFrom(done, func(p *packet.Packet) bool {
		h := p.Network()
		if len(h) < 20 {
			e.headless++
			e.DropOne(p)
			return false
		}
		if !e.multicast && h[16]>>4 == 14 {
			return true
		}
		if h[8] <= 1 {
			e.expired++
			e.ForwardOne(1, p)
			return false
		}
		if !c.Unshare(p) {
			e.headless++
			e.DropOne(p)
			return false
		}
		decrement(p.Network())
		return true
	})
}

// decrement takes one from the time to live of a header.
func decrement(h []byte) {
	h[8]--
	// RFC 1624 with a change of -0x0100 in the word of TTL and protocol.
	sum := uint32(binary.BigEndian.Uint16(h[10:])) + 0x100
	binary.BigEndian.PutUint16(h[10:], uint16(sum+sum>>16))
}

// Inherit implements click.Inheritor.
func (e *DecIPTTL) Inherit(old click.Element) error {
	if o, ok := old.(*DecIPTTL); ok {
		e.expired, e.headless = o.expired, o.headless
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *DecIPTTL) AddHandlers(h *click.Handlers) {
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
	h.Count("expired", &e.expired)
	h.Read("drops", func() string { return strconv.FormatUint(e.expired+e.headless, 10) })
}
