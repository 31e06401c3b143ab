package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "PrioSched", Ports: "1-/1", Processing: "l", New: func() click.Element { return &PrioSched{} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls from the first input that has packets",
			Example: "urgent, normal => PrioSched -> ToDevice(eth0);", See: []string{"RoundRobinSched"},
		},
	})
}

// PrioSched pulls from the first input that has packets.
type PrioSched struct {
	click.Base
	signals []*click.Signal
}

// Configure implements click.Element.
func (e *PrioSched) Configure(a *click.Args) { a.Parse() }

// Initialize implements click.Initializer.
func (e *PrioSched) Initialize() error {
	e.signals = signals(&e.Base)
	return nil
}

// Pull implements click.Puller.
func (e *PrioSched) Pull(_ int, b *packet.Batch, n int) {
	for i := 0; i < e.Inputs() && n > 0; i++ {
		if e.signals[i].Active() {
			n -= e.In(i).Pull(b, n)
		}
	}
}
