package ethernet

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "HostEtherFilter", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &HostEtherFilter{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "keeps packets that are for this host",
			Text:     "Packets to the address, to broadcast and to multicast addresses pass, and their kind annotation is set. Others, and those that came from the address itself with DROP_OWN, go to output 1 or are dropped.",
			Args:     []string{"ETHER: The host's address.", "DROP_OWN: Whether to refuse packets from the address; default false.", "DROP_OTHER: Whether to refuse packets to others; default true.", "OFFSET: Where the Ethernet header begins; default 0."},
			Handlers: []string{"drops (r): Packets refused that had nowhere to go."}, Example: "FromDevice(eth0) -> HostEtherFilter(2:0:0:0:0:1) -> ...;",
		},
	})
}

// HostEtherFilter keeps packets for the host.
type HostEtherFilter struct {
	click.Base
	addr           [6]byte
	dropOwn, other bool
	offset         int
}

// Configure implements click.Element.
func (e *HostEtherFilter) Configure(a *click.Args) {
	e.other = true
	a.Parse(click.Must("ETHER", click.Ether(&e.addr)), click.May("DROP_OWN", click.Bool(&e.dropOwn)), click.May("DROP_OTHER", click.Bool(&e.other)), click.Key("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))
}

// Act implements click.Actor.
func (e *HostEtherFilter) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if !e.pass(p) {
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
}

func (e *HostEtherFilter) pass(p *packet.Packet) bool {
	d := p.Data()
	if len(d) < e.offset+14 {
		return false
	}
	if d = d[e.offset:]; e.dropOwn && [6]byte(d[6:12]) == e.addr {
		return false
	}
	p.Anno.Kind = packet.KindOf([6]byte(d), e.addr)
	return p.Anno.Kind != packet.ToOther || !e.other
}
