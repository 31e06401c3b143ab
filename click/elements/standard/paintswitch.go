package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "PaintSwitch", Ports: "1/1-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &PaintSwitch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to the output that their paint names",
			Text: "Packets of a colour without an output are dropped.", Example: "... -> p :: PaintSwitch; p[0] -> ...; p[1] -> ...;", See: []string{"Paint"},
		},
	})
}

// PaintSwitch sends packets by their paint.
type PaintSwitch struct{ click.Base }

// Configure implements click.Element.
func (e *PaintSwitch) Configure(a *click.Args) { a.Parse() }

// Push implements click.Pusher.
func (e *PaintSwitch) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		ports[i] = uint16(p.Anno.Paint)
	}
	e.Split(b, &ports)
}
