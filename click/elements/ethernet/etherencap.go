package ethernet

import (
	"encoding/binary"
	"fmt"

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
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if !c.Unshare(p) || !push(p, &e.dst, &e.src, uint16(e.typ)) {
			e.DropOne(p)
			return false
		}
		return true
	})
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

// FormatEther prints an Ethernet address.
func FormatEther(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}
