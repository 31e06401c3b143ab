package standard

import (
	"time"

	"github.com/janos-os/janos/click"
)

func init() {
	click.Register(click.Class{
		Name: "TimedSource", Ports: "0/1", Processing: "h", New: func() click.Element { return &TimedSource{} },
		Doc: click.Doc{
			Group: "standard", Title: "makes a packet at every tick",
			Text: "The first packet is sent one interval after the start.",
			Args: []string{
				"INTERVAL: Time between packets; default 500ms.",
				"DATA: What a packet holds; 64 bytes of text if not given.",
				"LIMIT: How many packets to make; -1, the default, is no limit.",
				"ACTIVE: Whether to make packets now; default true.",
				"LENGTH: Repeats or cuts DATA to so many bytes.",
				"HEADROOM: Bytes of room in front of the data, at most 1024; by default the node's.",
				"STOP: Stop the router after the last packet.",
			},
			Handlers: append([]string{"interval (rw): The INTERVAL argument."}, sourceHandlers...),
			Example:  "TimedSource(1s, \"tick\", LIMIT 10) -> Print -> Discard;",
			See:      []string{"RatedSource"},
		},
	})
}

// TimedSource makes a packet at every tick.
type TimedSource struct {
	source
	interval time.Duration
	timer    *click.Timer
}

// Configure implements click.Element.
func (e *TimedSource) Configure(a *click.Args) {
	params := e.params()
	e.interval = 500 * time.Millisecond
	a.Parse(append(params,
		click.May("INTERVAL", click.Duration(&e.interval)),
		click.May("DATA", click.Bytes(&e.raw)),
		click.May("LIMIT", click.IntRange(&e.limit, -1, 1<<62)),
		click.May("ACTIVE", click.Bool(&e.active)), click.Key("HEADROOM", click.IntRange(&e.headroom, 0, 1024)))...)
	e.finish(a)
	if e.interval <= 0 {
		a.Errorf("INTERVAL: must be more than zero")
	}
}

// Inherit implements click.Inheritor: counting goes on.
func (e *TimedSource) Inherit(old click.Element) error {
	if o, ok := old.(*TimedSource); ok {
		e.inherit(&o.source)
	}
	return nil
}

// Initialize implements click.Initializer.
func (e *TimedSource) Initialize() error {
	e.timer = e.NewTimer(e.tick)
	return e.check()
}

// Start implements click.Starter.
func (e *TimedSource) Start() { e.wake() }

func (e *TimedSource) wake() {
	if e.active && !e.done() {
		if !e.timer.Pending() {
			e.timer.SetAfter(e.interval)
		}
	} else {
		e.timer.Stop()
	}
}

func (e *TimedSource) tick() {
	if !e.active || e.done() {
		return
	}
	b := e.Thread().Scratch()
	e.fill(b, 1)
	e.Out(0).Push(b)
	e.Thread().Release(b)
	e.ended()
	if !e.done() {
		e.timer.Set(e.timer.At().Add(e.interval))
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *TimedSource) AddHandlers(h *click.Handlers) {
	e.handlers(h, e.wake)
	var d time.Duration
	h.Value("interval", func() string { return timeText(e.interval) }, func(s string, a *click.Args) error {
		if err := click.Duration(&d)(s, a); err != nil {
			return err
		}
		e.interval = max(d, 1)
		e.timer.Stop()
		e.wake()
		return nil
	})
}
