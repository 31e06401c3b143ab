package ip

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DropBroadcasts", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &DropBroadcasts{} },
		Doc: click.Doc{
			Group: "ip", Title: "drops packets that came as link-level broadcast or multicast",
			Handlers: []string{"drops (r): Packets dropped."}, Example: "... -> DropBroadcasts -> ...;",
		},
	})
}

// DropBroadcasts drops link-level broadcasts.
type DropBroadcasts struct{ click.Base }

// Configure implements click.Element.
func (e *DropBroadcasts) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *DropBroadcasts) Act(b *packet.Batch) {
	good := 0
	for _, p := range b.Packets() {
		if k := p.Anno.Kind; k == packet.ToBroadcast || k == packet.ToMulticast {
			break
		}
		good++
	}
	if good == b.Len() {
		return
	}
	b.KeepFrom(good, func(p *packet.Packet) bool {
		if p.Anno.Kind == packet.ToBroadcast || p.Anno.Kind == packet.ToMulticast {
			e.DropOne(p)
			return false
		}
		return true
	})
}
