package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Strip", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Strip{} },
		Doc: click.Doc{
			Group: "standard", Title: "removes bytes from the front of packets",
			Text: "Shorter packets are dropped.", Args: []string{"LENGTH: Number of bytes."}, Handlers: []string{"drops (r): Packets that were too short."},
			Example: "FromDevice(eth0) -> Strip(14) -> ...;", See: []string{"Unstrip"},
		},
	})
}

// Strip removes bytes.
type Strip struct {
	click.Base
	n int
}

// Configure implements click.Element.
func (e *Strip) Configure(a *click.Args) {
	a.Parse(click.Must("LENGTH", click.IntRange(&e.n, 0, 1<<16)))
}

// Act implements click.Actor.
func (e *Strip) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if !p.Pull(e.n) {
			e.DropOne(p)
			return false
		}
		return true
	})
}
