package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Null", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Null{} },
		Doc: click.Doc{Group: "standard", Title: "passes packets on unchanged", Example: "a -> Null -> b;"},
	})
}

// Null passes packets on.
type Null struct{ click.Base }

// Configure implements click.Element.
func (e *Null) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *Null) Act(*packet.Batch) {}
