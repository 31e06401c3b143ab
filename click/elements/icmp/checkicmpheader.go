package icmp

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "CheckICMPHeader", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CheckICMPHeader{} },
		Doc: click.Doc{
			Group: "icmp", Title: "checks ICMP messages",
			Text: "A good packet has a marked IPv4 header, protocol 1, as many bytes as its type needs and a right checksum, which covers the whole message; so fragments are bad. " +
				"Bad packets go to output 1 if that is connected.",
			Args: ip.FaultArgs, Handlers: ip.FaultHandlers,
			Example: "... -> CheckIPHeader -> IPClassifier(icmp) -> CheckICMPHeader -> ...;", See: []string{"CheckIPHeader", "CheckTCPHeader", "CheckUDPHeader"},
		},
	})
}

// CheckICMPHeader checks ICMP messages.
type CheckICMPHeader struct {
	click.Base
	faults ip.Faults
	who    string
}

const (
	notICMP = iota
	badLength
	badSum
)

// Configure implements click.Element.
func (e *CheckICMPHeader) Configure(a *click.Args) {
	e.faults.Init("ICMP", "not ICMP", "bad packet length", "bad ICMP checksum")
	e.who = e.Name() + " :: " + e.Class().Name
	a.Parse(e.faults.Params()...)
}

// check returns the reason against p, or -1.
func check(p *packet.Packet) int {
	h := ip.Header(p)
	if h == nil || h[9] != 1 {
		return notICMP
	}
	n := int(binary.BigEndian.Uint16(h[2:]))
	if n > len(h) || n < ip.HeaderLen(h)+8 {
		return badLength
	}
	m := h[ip.HeaderLen(h):n]
	switch m[0] {
	case 3, 4, 5, 11, 12: // quote an IP header and eight bytes (RFC 792)
		if len(m) < 8+20+8 {
			return badLength
		}
	case 13, 14:
		if len(m) != 20 {
			return badLength
		}
	case 15, 16:
		if len(m) != 8 {
			return badLength
		}
	}
	if demux.Checksum(m) != 0 {
		return badSum
	}
	return -1
}

// Act implements click.Actor.
func (e *CheckICMPHeader) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if why := check(p); why >= 0 {
			e.faults.Note(&e.Base, e.who, why)
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

// Inherit implements click.Inheritor.
func (e *CheckICMPHeader) Inherit(old click.Element) error {
	if o, ok := old.(*CheckICMPHeader); ok {
		e.faults.Inherit(&o.faults)
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckICMPHeader) AddHandlers(h *click.Handlers) { e.faults.AddHandlers(h) }
