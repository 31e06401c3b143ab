package standard

import (
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AverageCounter", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &AverageCounter{} },
		Doc: click.Doc{
			Group: "standard", Title: "measures the average rate between the first and the last packet",
			Args: []string{"IGNORE: Seconds after the first packet in which nothing is counted; default 0."},
			Handlers: []string{
				"count (r): Packets.", "byte_count (r): Their bytes.", "rate (r): Packets per second.", "byte_rate (r): Bytes per second.", "bit_rate (r): Bits per second.", "reset, reset_counts (w): Begins anew.",
			},
			Example: "... -> a :: AverageCounter -> ...;", See: []string{"Counter"},
		},
	})
}

// AverageCounter measures an average.
type AverageCounter struct {
	click.Base
	ignore       time.Duration
	count, bytes uint64
	began        bool
	first, last  clock.Time
}

// Configure implements click.Element.
func (e *AverageCounter) Configure(a *click.Args) {
	a.Parse(click.May("IGNORE", click.Duration(&e.ignore)))
}

// Act implements click.Actor.
func (e *AverageCounter) Act(b *packet.Batch) {
	now := e.Now()
	if !e.began {
		e.began, e.first = true, now
	}
	if now.Sub(e.first) < e.ignore {
		return
	}
	for _, p := range b.Packets() {
		e.bytes += uint64(p.Len())
	}
	e.count += uint64(b.Len())
	e.last = now
}

// rate returns a number per second of the time in which packets were counted; that is at least a millisecond.
func (e *AverageCounter) rate(n uint64) string {
	if e.count == 0 {
		return "0"
	}
	d := max(e.last.Sub(e.first)-e.ignore, time.Millisecond)
	return strconv.FormatFloat(float64(n)/d.Seconds(), 'f', -1, 64)
}

// Inherit implements click.Inheritor.
func (e *AverageCounter) Inherit(old click.Element) error {
	if o, ok := old.(*AverageCounter); ok {
		e.count, e.bytes, e.began, e.first, e.last = o.count, o.bytes, o.began, o.first, o.last
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *AverageCounter) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Count("byte_count", &e.bytes)
	h.Read("rate", func() string { return e.rate(e.count) })
	h.Read("byte_rate", func() string { return e.rate(e.bytes) })
	h.Read("bit_rate", func() string { return e.rate(8 * e.bytes) })
	for _, name := range []string{"reset", "reset_counts"} {
		h.Write(name, func(string) error {
			e.count, e.bytes, e.began = 0, 0, false
			return nil
		})
	}
}
