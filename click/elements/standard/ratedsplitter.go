package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, bytes := range map[string]bool{"RatedSplitter": false, "BandwidthRatedSplitter": true} {
		what := "packets"
		if bytes {
			what = "bytes"
		}
		click.Register(click.Class{
			Name: name, Ports: "1/1-2", Processing: "h", New: func() click.Element { return &RatedSplitter{limit: limit{bytes: bytes}} },
			Doc: click.Doc{
				Group: "shaping", Title: "sends packets up to a rate of " + what + " to output 0 and the rest to output 1",
				Text: "A token bucket, full at the start, lets packets pass; it is refilled every millisecond. Without an output 1 the rest is dropped.",
				Args: limitArgs(bytes), Handlers: []string{"rate (rw): The RATE argument."},
				Example: "... -> s :: " + name + "(2000); s[0] -> ...; s[1] -> ...;", See: []string{"RatedUnqueue", "Shaper"},
			},
		})
	}
}

// RatedSplitter splits a stream at a rate.
type RatedSplitter struct {
	click.Base
	limit
}

// Configure implements click.Element.
func (e *RatedSplitter) Configure(a *click.Args) { e.configure(a) }

// Reconfigure implements click.Reconfigurer.
func (e *RatedSplitter) Reconfigure(from click.Element) error {
	e.take(&from.(*RatedSplitter).limit)
	return nil
}

// Push implements click.Pusher.
func (e *RatedSplitter) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	e.tokens.refill(e.Now())
	for i, p := range b.Packets() {
		if !e.pass(p.Len()) {
			ports[i] = 1
		}
	}
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *RatedSplitter) AddHandlers(h *click.Handlers) { h.Keyword("rate", "RATE", e.rateText) }
