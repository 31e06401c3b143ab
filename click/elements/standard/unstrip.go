package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Unstrip", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Unstrip{} },
		Doc: click.Doc{
			Group: "standard", Title: "makes packets longer at their front",
			Text: "The bytes are those that were there before a Strip, or undefined. Packets without room are dropped.", Args: []string{"LENGTH: Number of bytes."},
			Handlers: []string{"drops (r): Packets without room."}, Example: "... -> Strip(14) -> ... -> Unstrip(14) -> ...;", See: []string{"Strip"},
		},
	})
}

// Unstrip adds bytes.
type Unstrip struct {
	click.Base
	n int
}

// Configure implements click.Element.
func (e *Unstrip) Configure(a *click.Args) {
	a.Parse(click.Must("LENGTH", click.IntRange(&e.n, 0, 1<<16)))
}

// Act implements click.Actor.
func (e *Unstrip) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if p.Push(e.n) == nil {
			e.DropOne(p)
			return false
		}
		return true
	})
}
