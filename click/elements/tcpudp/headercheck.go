package tcpudp

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/packet"
)

// What may be wrong with a transport header.
const (
	otherProtocol = iota
	badLength
	badSum
)

// headerCheck is what elements that check transport headers have in common.
type headerCheck struct {
	click.Base
	faults ip.Faults
	who    string
	judge  func(p *packet.Packet) int // the reason against a packet, or -1
}

// init is Configure for the headers of a protocol.
func (e *headerCheck) init(a *click.Args, protocol string, judge func(p *packet.Packet) int) {
	e.faults.Init(protocol, "not "+protocol, "bad packet length", "bad "+protocol+" checksum")
	e.who = e.Name() + " :: " + e.Class().Name
	e.judge = judge
	a.Parse(e.faults.Params()...)
}

// Act implements click.Actor.
func (e *headerCheck) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if why := e.judge(p); why >= 0 {
			e.faults.Note(&e.Base, e.who, why)
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

// Inherit implements click.Inheritor.
func (e *headerCheck) Inherit(old click.Element) error {
	if o, ok := old.(interface{ common() *headerCheck }); ok && o.common().Class() == e.Class() {
		e.faults.Inherit(&o.common().faults)
	}
	return nil
}

func (e *headerCheck) common() *headerCheck { return e }

// AddHandlers implements click.HandlerAdder.
func (e *headerCheck) AddHandlers(h *click.Handlers) { e.faults.AddHandlers(h) }
