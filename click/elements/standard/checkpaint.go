package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, tee := range map[string]bool{"CheckPaint": false, "PaintTee": true} {
		title := "lets packets of one colour pass"
		text := "All others go to output 1, or are dropped without one."
		if tee {
			title, text = "sends a copy of packets of one colour to output 1", "All packets go to output 0."
		}
		click.Register(click.Class{
			Name: name, Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CheckPaint{tee: tee} },
			Doc: click.Doc{
				Group: "standard", Title: title, Text: text, Args: []string{"COLOR: 0 to 255.", "ANNO: Another one-byte annotation than PAINT, see SetAnnoByte."}, Handlers: []string{"color (rw): The COLOR argument."},
				Example: "... -> c :: " + name + "(1) -> ...; c[1] -> ICMPError(10.0.0.1, redirect, host) -> ...;", See: []string{"Paint"},
			},
		})
	}
}

// CheckPaint diverts packets of one colour; as PaintTee it copies them.
type CheckPaint struct {
	click.Base
	tee   bool
	color int
	anno  click.AnnoByte
}

// Configure implements click.Element.
func (e *CheckPaint) Configure(a *click.Args) {
	e.anno = click.AnnoPaint
	a.Parse(click.Must("COLOR", click.IntRange(&e.color, 0, 255)), click.May("ANNO", click.AnnoByteOf(&e.anno)))
}

// Act implements click.Actor.
func (e *CheckPaint) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		is := int(e.anno.Get(p)) == e.color
		if !e.tee && !is {
			e.ForwardOne(1, p)
			return false
		}
		if e.tee && is {
			if q := e.Cache().Clone(p); q != nil {
				e.ForwardOne(1, q)
			}
		}
		return true
	})
}

// Reconfigure implements click.Reconfigurer.
func (e *CheckPaint) Reconfigure(from click.Element) error {
	o := from.(*CheckPaint)
	e.color, e.anno = o.color, o.anno
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckPaint) AddHandlers(h *click.Handlers) {
	h.Value("color", func() string { return strconv.Itoa(e.color) }, click.IntRange(&e.color, 0, 255))
}
