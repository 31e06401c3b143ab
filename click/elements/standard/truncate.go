package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Truncate", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Truncate{} },
		Doc: click.Doc{
			Group: "standard", Title: "cuts packets to a length", Args: []string{"LENGTH: Most bytes that are kept.", "EXTRA_LENGTH: Whether the extra length annotation counts what was cut, so that Pad can put as many bytes back; default true."}, See: []string{"Pad", "Strip"}, Example: "... -> Truncate(64) -> ...;",
		},
	})
}

// Truncate cuts packets.
type Truncate struct {
	click.Base
	n     int
	extra bool
}

// Configure implements click.Element.
func (e *Truncate) Configure(a *click.Args) {
	e.extra = true
	a.Parse(click.Must("LENGTH", click.IntRange(&e.n, 0, 1<<16)), click.Key("EXTRA_LENGTH", click.Bool(&e.extra)))
}

// Act implements click.Actor.
func (e *Truncate) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		if n := p.Len() - e.n; n > 0 {
			p.Take(n)
			if e.extra {
				click.SetExtraLength(p, click.ExtraLength(p)+uint32(n))
			}
		}
	}
}

// Reconfigure implements click.Reconfigurer.
func (e *Truncate) Reconfigure(from click.Element) error {
	o := from.(*Truncate)
	e.n, e.extra = o.n, o.extra
	return nil
}
