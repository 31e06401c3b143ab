package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RoundRobinSched", Ports: "1-/1", Processing: "l", New: func() click.Element { return &RoundRobinSched{} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls from its inputs in turn",
			Text: "An input that has nothing is skipped.", Example: "q1, q2 => r :: RoundRobinSched -> ToDevice(eth0);", See: []string{"PrioSched"},
		},
	})
}

// RoundRobinSched pulls from its inputs in turn.
type RoundRobinSched struct {
	click.Base
	next    int
	signals []*click.Signal
}

// Configure implements click.Element.
func (e *RoundRobinSched) Configure(a *click.Args) { a.Parse() }

// Initialize implements click.Initializer.
func (e *RoundRobinSched) Initialize() error {
	e.signals = signals(&e.Base)
	return nil
}

func signals(e *click.Base) []*click.Signal {
	s := make([]*click.Signal, e.Inputs())
	for i := range s {
		s[i] = e.UpstreamEmpty(i, nil)
	}
	return s
}

// Pull implements click.Puller.
func (e *RoundRobinSched) Pull(_ int, b *packet.Batch, n int) {
	idle := 0
	for n > 0 && idle < e.Inputs() {
		i := e.next
		if e.next++; e.next == e.Inputs() {
			e.next = 0
		}
		if e.signals[i].Active() && e.In(i).Pull(b, 1) > 0 {
			n--
			idle = 0
		} else {
			idle++
		}
	}
}
