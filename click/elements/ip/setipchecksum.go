package ip

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "SetIPChecksum", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetIPChecksum{} },
		Doc: click.Doc{Group: "ip", Title: "computes the IP header's checksum", Text: "Packets without a marked IP header are dropped.", Example: "... -> SetIPChecksum -> ...;"},
	})
}

// SetIPChecksum computes checksums.
type SetIPChecksum struct{ click.Base }

// Configure implements click.Element.
func (e *SetIPChecksum) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *SetIPChecksum) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if Header(p) == nil || !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		SetChecksum(p.Network())
		return true
	})
}
