package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Paint", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Paint{} },
		Doc: click.Doc{
			Group: "standard", Title: "sets the paint annotation",
			Args: []string{"COLOR: 0 to 255."}, Handlers: []string{"color (rw): The COLOR argument."},
			Example: "FromDevice(eth0) -> Paint(1) -> ...;", See: []string{"PaintSwitch", "CheckPaint"},
		},
	})
}

// Paint sets the paint annotation.
type Paint struct {
	click.Base
	color int
}

// Configure implements click.Element.
func (e *Paint) Configure(a *click.Args) {
	a.Parse(click.Must("COLOR", click.IntRange(&e.color, 0, 255)))
}

// Act implements click.Actor.
func (e *Paint) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		p.Anno.Paint = uint8(e.color)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Paint) AddHandlers(h *click.Handlers) {
	h.Value("color", func() string { return strconv.Itoa(e.color) }, click.IntRange(&e.color, 0, 255))
}
