package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Truncate", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Truncate{} },
		Doc: click.Doc{
			Group: "standard", Title: "cuts packets to a length", Args: []string{"LENGTH: Most bytes that are kept."}, Example: "... -> Truncate(64) -> ...;",
		},
	})
}

// Truncate cuts packets.
type Truncate struct {
	click.Base
	n int
}

// Configure implements click.Element.
func (e *Truncate) Configure(a *click.Args) {
	a.Parse(click.Must("LENGTH", click.IntRange(&e.n, 0, 1<<16)))
}

// Act implements click.Actor.
func (e *Truncate) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		if p.Len() > e.n {
			p.Take(p.Len() - e.n)
		}
	}
}
