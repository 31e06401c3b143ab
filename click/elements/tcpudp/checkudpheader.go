package tcpudp

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "CheckUDPHeader", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &CheckUDPHeader{} },
		Doc: click.Doc{
			Group: "tcpudp", Title: "checks UDP headers",
			Text: "A good packet has a marked IPv4 header, protocol 17, a length in the UDP header of at least 8 and at most what there is, and a right checksum or none (zero); the checksum covers the whole datagram, so fragments are bad. Bad packets go to output 1 if that is connected.",
			Args: ip.FaultArgs, Handlers: ip.FaultHandlers,
			Example: "... -> CheckIPHeader -> IPClassifier(udp) -> CheckUDPHeader -> ...;", See: []string{"CheckIPHeader", "CheckTCPHeader", "CheckICMPHeader", "SetUDPChecksum"},
		},
	})
}

// CheckUDPHeader checks UDP headers.
type CheckUDPHeader struct {
	click.Base
	faults ip.Faults
	who    string
}

// Configure implements click.Element.
func (e *CheckUDPHeader) Configure(a *click.Args) {
	e.faults.Init("UDP", "not UDP", "bad packet length", "bad UDP checksum")
	e.who = e.Name() + " :: " + e.Class().Name
	a.Parse(e.faults.Params()...)
}

// checkUDP returns the reason against p, or -1.
func checkUDP(p *packet.Packet) int {
	h, s, ok := segment(p)
	switch {
	case h == nil || h[9] != 17:
		return otherProtocol
	case !ok || len(s) < 8:
		return badLength
	}
	n := int(binary.BigEndian.Uint16(s[4:]))
	if n < 8 || n > len(s) {
		return badLength
	}
	if s[6]|s[7] != 0 && checksum(h, s[:n]) != 0 {
		return badSum
	}
	return -1
}

// Act implements click.Actor.
func (e *CheckUDPHeader) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if why := checkUDP(p); why >= 0 {
			e.faults.Note(&e.Base, e.who, why)
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

// Inherit implements click.Inheritor.
func (e *CheckUDPHeader) Inherit(old click.Element) error {
	if o, ok := old.(*CheckUDPHeader); ok {
		e.faults.Inherit(&o.faults)
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckUDPHeader) AddHandlers(h *click.Handlers) { e.faults.AddHandlers(h) }
