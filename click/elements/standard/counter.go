package standard

import (
	"fmt"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Counter", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &Counter{} },
		Doc: click.Doc{
			Group: "standard", Title: "counts packets and bytes",
			Text: "Rates are those of the last whole second or of the time since then.",
			Args: []string{
				"COUNT_CALL: N HANDLER VALUE: write VALUE to HANDLER when the N-th packet has passed.",
				"BYTE_COUNT_CALL: The same when N bytes have passed.",
			},
			Handlers: []string{
				"count (r): Packets.", "byte_count (r): Bytes.", "rate (r): Packets per second.",
				"byte_rate (r): Bytes per second.", "bit_rate (r): Bits per second.", "reset (w): Sets all to zero.",
			},
			Example: "... -> c :: Counter(COUNT_CALL 100 stop) -> ...;",
		},
	})
}

// Counter counts what passes.
type Counter struct {
	click.Base
	count, bytes uint64
	calls        [2]call

	start           clock.Time // of the window of the rates
	startN, startB  uint64
	perSec, bytesPS float64
}

// call is a handler to be written at a count.
type call struct {
	at      uint64
	handler string
	value   string
}

func (k *call) parse(s string, _ *click.Args) error {
	n, rest := lang.NextWord(s)
	h, v := lang.NextWord(rest)
	at, err := strconv.ParseUint(n, 0, 64)
	if err != nil || h == "" || at == 0 {
		return fmt.Errorf("expected 'N HANDLER VALUE', not '%s'", s)
	}
	*k = call{at, lang.Unquote(h), lang.Unquote(v)}
	return nil
}

// Inherit implements click.Inheritor: counting goes on.
func (e *Counter) Inherit(old click.Element) error {
	if o, ok := old.(*Counter); ok {
		calls := e.calls
		base := e.Base
		*e = *o
		e.Base, e.calls = base, calls
	}
	return nil
}

// Configure implements click.Element.
func (e *Counter) Configure(a *click.Args) {
	a.Parse(click.Key("COUNT_CALL", e.calls[0].parse), click.Key("BYTE_COUNT_CALL", e.calls[1].parse))
}

// Act implements click.Actor.
func (e *Counter) Act(b *packet.Batch) {
	n := uint64(0)
	for _, p := range b.Packets() {
		n += uint64(p.Len())
	}
	e.count += uint64(b.Len())
	e.bytes += n
	if now := e.Now(); now.Sub(e.start) >= 1e9 {
		e.roll(now)
	}
	if e.calls[0].at != 0 && e.count >= e.calls[0].at {
		e.ring(&e.calls[0])
	}
	if e.calls[1].at != 0 && e.bytes >= e.calls[1].at {
		e.ring(&e.calls[1])
	}
}

func (e *Counter) ring(k *call) {
	k.at = 0
	if err := e.WriteHandler(k.handler, k.value); err != nil {
		fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
	}
}

func (e *Counter) roll(now clock.Time) {
	if d := now.Sub(e.start).Seconds(); d > 0 {
		e.perSec, e.bytesPS = float64(e.count-e.startN)/d, float64(e.bytes-e.startB)/d
	}
	e.start, e.startN, e.startB = now, e.count, e.bytes
}

func (e *Counter) rates() {
	if now := e.Now(); now.Sub(e.start) >= 1e9 || e.perSec == 0 {
		e.roll(now)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Counter) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Count("byte_count", &e.bytes)
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	h.Read("rate", func() string { e.rates(); return f(e.perSec) })
	h.Read("byte_rate", func() string { e.rates(); return f(e.bytesPS) })
	h.Read("bit_rate", func() string { e.rates(); return f(8 * e.bytesPS) })
	h.Write("reset", func(string) error {
		e.count, e.bytes, e.startN, e.startB, e.perSec, e.bytesPS = 0, 0, 0, 0, 0, 0
		e.start = e.Now()
		return nil
	})
}
