package ethernet

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "EtherEncap", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &EtherEncap{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "puts an Ethernet header before packets",
			Text: "Packets without room are dropped.", Args: []string{"ETHERTYPE: Such as 0x0800.", "SRC: Source address.", "DST: Destination address."},
			Handlers: []string{"drops (r): Packets without room."}, Example: "... -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> ...;", See: []string{"ARPQuerier"},
		},
	})
	click.Register(click.Class{
		Name: "HostEtherFilter", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &HostEtherFilter{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "keeps packets that are for this host",
			Text:     "Packets to the address, to broadcast and to multicast addresses pass, and their kind annotation is set. Others, and those that came from the address itself with DROP_OWN, go to output 1 or are dropped.",
			Args:     []string{"ETHER: The host's address.", "DROP_OWN: Whether to refuse packets from the address; default false.", "DROP_OTHER: Whether to refuse packets to others; default true."},
			Handlers: []string{"drops (r): Packets refused that had nowhere to go."}, Example: "FromDevice(eth0) -> HostEtherFilter(2:0:0:0:0:1) -> ...;",
		},
	})
}

// EtherEncap adds Ethernet headers.
type EtherEncap struct {
	click.Base
	typ      int
	src, dst [6]byte
}

// Configure implements click.Element.
func (e *EtherEncap) Configure(a *click.Args) {
	a.Parse(click.Must("ETHERTYPE", click.IntRange(&e.typ, 0, 0xffff)), click.Must("SRC", click.Ether(&e.src)), click.Must("DST", click.Ether(&e.dst)))
}

// Act implements click.Actor.
func (e *EtherEncap) Act(b *packet.Batch) {
	keep := 0
	c := e.Cache()
	for i, p := range b.Packets() {
		if !c.Unshare(p) || !push(p, &e.dst, &e.src, uint16(e.typ)) {
			e.DropOne(p)
			continue
		}
		if i != keep {
			b.Set(keep, p)
		}
		keep++
	}
	b.Truncate(keep)
}

// push writes an Ethernet header before an unshared packet.
func push(p *packet.Packet, dst, src *[6]byte, typ uint16) bool {
	d := p.Push(14)
	if d == nil {
		return false
	}
	copy(d, dst[:])
	copy(d[6:], src[:])
	binary.BigEndian.PutUint16(d[12:], typ)
	p.SetMAC(0)
	return true
}

// HostEtherFilter keeps packets for the host.
type HostEtherFilter struct {
	click.Base
	addr           [6]byte
	dropOwn, other bool
}

// Configure implements click.Element.
func (e *HostEtherFilter) Configure(a *click.Args) {
	e.other = true
	a.Parse(click.Must("ETHER", click.Ether(&e.addr)), click.May("DROP_OWN", click.Bool(&e.dropOwn)), click.May("DROP_OTHER", click.Bool(&e.other)))
}

// Act implements click.Actor.
func (e *HostEtherFilter) Act(b *packet.Batch) {
	keep := 0
	for i, p := range b.Packets() {
		if !e.pass(p) {
			e.ForwardOne(1, p)
			continue
		}
		if i != keep {
			b.Set(keep, p)
		}
		keep++
	}
	b.Truncate(keep)
}

func (e *HostEtherFilter) pass(p *packet.Packet) bool {
	d := p.Data()
	if len(d) < 14 || e.dropOwn && [6]byte(d[6:12]) == e.addr {
		return false
	}
	switch dst := [6]byte(d[:6]); {
	case dst == e.addr:
		p.Anno.Kind = packet.ToHost
	case dst == [6]byte{255, 255, 255, 255, 255, 255}:
		p.Anno.Kind = packet.ToBroadcast
	case dst[0]&1 != 0:
		p.Anno.Kind = packet.ToMulticast
	default:
		p.Anno.Kind = packet.ToOther
		return !e.other
	}
	return true
}
