package ip

import (
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "GetIPAddress", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &GetIPAddress{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the destination annotation from the packet's bytes",
			Text: "Packets that are too short are dropped.", Args: []string{"OFFSET: Where the address is; 16 is the IP destination."}, Example: "... -> GetIPAddress(16) -> ARPQuerier(...);",
		},
	})
}

// GetIPAddress sets the destination annotation.
type GetIPAddress struct {
	click.Base
	offset int
}

// Configure implements click.Element.
func (e *GetIPAddress) Configure(a *click.Args) {
	a.Parse(click.Must("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))
}

// Act implements click.Actor.
func (e *GetIPAddress) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		d := p.Data()
		if len(d) < e.offset+4 {
			e.DropOne(p)
			return false
		}
		p.Anno.Dst = netip.AddrFrom4([4]byte(d[e.offset : e.offset+4]))
		return true
	})
}
