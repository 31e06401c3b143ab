package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Paint", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Paint{} },
		Doc: click.Doc{
			Group: "standard", Title: "sets the paint annotation",
			Args: []string{"COLOR: 0 to 255.", "ANNO: Another one-byte annotation than PAINT, see SetAnnoByte."}, Handlers: []string{"color (rw): The COLOR argument."},
			Example: "FromDevice(eth0) -> Paint(1) -> ...;", See: []string{"PaintSwitch", "CheckPaint"},
		},
	})
	click.Register(click.Class{
		Name: "SetAnnoByte", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &Paint{named: true} },
		Doc: click.Doc{
			Group: "standard", Title: "sets a one-byte annotation",
			Text:     "Annotations are told by their offset in Click's annotation area: 16, the paint, or 20 to 33, of which 20 to 31 are shared with the aggregate, extra packets and extra length annotations.",
			Args:     []string{"ANNO: PAINT, an offset, or a name that AnnotationInfo defined.", "VALUE: 0 to 255."},
			Handlers: []string{"anno (r): The offset.", "value (rw): The VALUE argument."}, Example: "... -> SetAnnoByte(32, 7) -> ...;", See: []string{"Paint", "AnnotationInfo"},
		},
	})
}

// Paint sets the paint annotation.
type Paint struct {
	click.Base
	color int
	anno  click.AnnoByte
	named bool // SetAnnoByte
}

// Configure implements click.Element.
func (e *Paint) Configure(a *click.Args) {
	e.anno = click.AnnoPaint
	if e.named {
		a.Parse(click.Must("ANNO", click.AnnoByteOf(&e.anno)), click.Must("VALUE", click.IntRange(&e.color, 0, 255)))
		return
	}
	a.Parse(click.Must("COLOR", click.IntRange(&e.color, 0, 255)), click.May("ANNO", click.AnnoByteOf(&e.anno)))
}

// Act implements click.Actor.
func (e *Paint) Act(b *packet.Batch) {
	if e.anno != click.AnnoPaint {
		for _, p := range b.Packets() {
			e.anno.Set(p, uint8(e.color))
		}
		return
	}
	for _, p := range b.Packets() {
		p.Anno.Paint = uint8(e.color)
	}
}

// Reconfigure implements click.Reconfigurer.
func (e *Paint) Reconfigure(from click.Element) error {
	o := from.(*Paint)
	e.color, e.anno = o.color, o.anno
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *Paint) AddHandlers(h *click.Handlers) {
	if e.named {
		h.Read("anno", func() string { return strconv.Itoa(int(e.anno)) })
		h.Value("value", func() string { return strconv.Itoa(e.color) }, click.IntRange(&e.color, 0, 255))
		return
	}
	h.Value("color", func() string { return strconv.Itoa(e.color) }, click.IntRange(&e.color, 0, 255))
}
