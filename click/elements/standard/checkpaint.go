package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, tee := range map[string]bool{"CheckPaint": false, "PaintTee": true} {
		title := "sends packets of one colour to output 1"
		text := "Output 1 may be left away; the packets are then dropped. All others go to output 0."
		if tee {
			title, text = "sends a copy of packets of one colour to output 1", "All packets go to output 0."
		}
		click.Register(click.Class{
			Name: name, Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &CheckPaint{tee: tee} },
			Doc: click.Doc{
				Group: "standard", Title: title, Text: text, Args: []string{"COLOR: 0 to 255."}, Handlers: []string{"color (rw): The COLOR argument."},
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
}

// Configure implements click.Element.
func (e *CheckPaint) Configure(a *click.Args) {
	a.Parse(click.Must("COLOR", click.IntRange(&e.color, 0, 255)))
}

// Act implements click.Actor.
func (e *CheckPaint) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if int(p.Anno.Paint) == e.color {
			if !e.tee {
				e.ForwardOne(1, p)
				return false
			}
			if q := e.Cache().Clone(p); q != nil {
				e.ForwardOne(1, q)
			}
		}
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckPaint) AddHandlers(h *click.Handlers) {
	h.Value("color", func() string { return strconv.Itoa(e.color) }, click.IntRange(&e.color, 0, 255))
}
