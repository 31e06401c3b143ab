package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for _, c := range [][3]string{
		{"Null", "a/a", "passes packets on unchanged"}, {"PushNull", "h/h", "passes packets on that are pushed"}, {"PullNull", "l/l", "passes packets on that are pulled"},
	} {
		click.Register(click.Class{
			Name: c[0], Ports: "1/1", Processing: c[1], Merging: click.Merged, New: func() click.Element { return &Null{} },
			Doc: click.Doc{Group: "standard", Title: c[2], Example: "a -> " + c[0] + " -> b;"},
		})
	}
}

// Null passes packets on.
type Null struct{ click.Base }

// Configure implements click.Element.
func (e *Null) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *Null) Act(*packet.Batch) {}
