package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RoundRobinSwitch", Ports: "1/1-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &RoundRobinSwitch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to its outputs in turn",
			Example: "... -> r :: RoundRobinSwitch; r[0] -> ...; r[1] -> ...;", See: []string{"Switch", "RoundRobinSched"},
		},
	})
}

// RoundRobinSwitch sends packets to its outputs in turn.
type RoundRobinSwitch struct {
	click.Base
	next int
}

// Configure implements click.Element.
func (e *RoundRobinSwitch) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *RoundRobinSwitch) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i := range b.Len() {
		ports[i] = uint16(e.next)
		if e.next++; e.next == e.Outputs() {
			e.next = 0
		}
	}
	e.Split(b, &ports)
}
