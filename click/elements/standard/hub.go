package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Hub", Ports: "1-/=", Processing: "h", Merging: click.Merged, New: func() click.Element { return &Hub{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends a copy of each packet to every output but that of its own input",
			Example: "a -> [0] h :: Hub; b -> [1] h; h [0] -> Discard; h [1] -> Discard;", See: []string{"Tee"},
		},
	})
}

// Hub copies packets to all other ports.
type Hub struct{ click.Base }

// Configure implements click.Element.
func (e *Hub) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *Hub) Push(port int, b *packet.Batch) {
	last := e.Outputs() - 1
	if last == port {
		last--
	}
	if last < 0 {
		e.Drop(b)
		return
	}
	for i := range last {
		if i == port {
			continue
		}
		s := e.Thread().Scratch()
		for _, p := range b.Packets() {
			if q := e.Cache().Clone(p); q != nil {
				s.Append(q)
			} else {
				e.CountDrops(1)
			}
		}
		e.Out(i).Push(s)
		e.Thread().Release(s)
	}
	e.Out(last).Push(b)
}
