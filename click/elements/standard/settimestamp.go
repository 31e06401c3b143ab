package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "SetTimestamp", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &SetTimestamp{} },
		Doc: click.Doc{Group: "standard", Title: "sets the timestamp annotation to the present time", Example: "... -> SetTimestamp -> Queue -> ...;", See: []string{"DelayUnqueue"}},
	})
}

// SetTimestamp stamps packets.
type SetTimestamp struct{ click.Base }

// Configure implements click.Element.
func (e *SetTimestamp) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *SetTimestamp) Act(b *packet.Batch) {
	now := e.Now()
	for _, p := range b.Packets() {
		p.Anno.Time = now
	}
}
