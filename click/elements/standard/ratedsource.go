package standard

import (
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RatedSource", Ports: "0/1", Processing: "a/a", New: func() click.Element { return &RatedSource{} },
		Doc: click.Doc{
			Group: "standard", Title: "makes packets at a steady rate",
			Text: "The rate is exact over time: packets that could not be sent at their time, because the worker was busy, follow at once, up to a second's worth.",
			Args: []string{
				"DATA: What a packet holds; 64 bytes of text if not given.",
				"RATE: Packets per second; default 10.",
				"LIMIT: How many packets to make; -1, the default, is no limit.",
				"ACTIVE: Whether to make packets now; default true.",
				"LENGTH: Repeats or cuts DATA to so many bytes.",
				"BANDWIDTH: A rate in bytes per second instead of RATE.",
				"STOP: Stop the router after the last packet.",
			},
			Handlers: append([]string{"rate (rw): The RATE argument."}, sourceHandlers...),
			Example:  "RatedSource(LENGTH 100, RATE 1000) -> Queue(10) -> Unqueue -> Discard;",
			See:      []string{"InfiniteSource", "TimedSource"},
		},
	})
}

// RatedSource makes packets at a rate.
type RatedSource struct {
	source
	rate   int
	bucket bucket
	task   *click.Task
	timer  *click.Timer
	empty  click.Notifier
}

// Configure implements click.Element.
func (e *RatedSource) Configure(a *click.Args) {
	params := e.params()
	e.rate = 10
	var bw uint64
	byBytes := false
	a.Parse(append(params,
		click.May("DATA", click.Bytes(&e.raw)),
		click.May("RATE", click.IntRange(&e.rate, 0, 1e9)),
		click.May("LIMIT", click.IntRange(&e.limit, -1, 1<<62)),
		click.May("ACTIVE", click.Bool(&e.active)),
		click.Key("BANDWIDTH", click.Bandwidth(&bw)).Given(&byBytes))...)
	e.finish(a)
	if byBytes {
		e.rate = int(bw) / max(len(e.data), 1)
	}
	e.bucket = bucket{rate: uint64(e.rate), size: uint64(max(e.rate, 1))}
}

// Inherit implements click.Inheritor: counting goes on.
func (e *RatedSource) Inherit(old click.Element) error {
	if o, ok := old.(*RatedSource); ok {
		e.inherit(&o.source)
	}
	return nil
}

// Initialize implements click.Initializer.
func (e *RatedSource) Initialize() error {
	if e.OutputKind(0) == click.PushKind {
		e.task = e.NewTask(e.run)
		e.timer = e.NewTimer(e.task.Schedule)
	} else {
		e.timer = e.NewTimer(e.empty.Wake)
	}
	e.wake()
	return e.check()
}

func (e *RatedSource) wake() {
	if !e.active || e.done() || e.rate == 0 {
		return
	}
	e.empty.Wake()
	if e.task != nil {
		e.task.Schedule()
	}
}

// burst makes what is due now, at most n packets.
func (e *RatedSource) burst(b *packet.Batch, n int) (got int, wait time.Duration) {
	if !e.active || e.done() || e.rate == 0 {
		e.bucket.primed = false
		return 0, -1
	}
	e.bucket.fillTo(int64(e.Now()))
	if n = min(n, e.bucket.tokens()); n > 0 {
		got = e.fill(b, n)
		e.bucket.take(n)
	}
	if e.done() {
		return got, -1
	}
	return got, e.bucket.wait(1)
}

func (e *RatedSource) run() (int, bool) {
	b := e.Thread().Scratch()
	n, wait := e.burst(b, 32)
	e.Out(0).Push(b)
	e.Thread().Release(b)
	e.ended()
	if wait > 0 {
		e.timer.SetAfter(wait)
	}
	return n, wait == 0
}

// Pull implements click.Puller.
func (e *RatedSource) Pull(_ int, b *packet.Batch, n int) {
	_, wait := e.burst(b, n)
	e.ended()
	if wait != 0 {
		e.empty.Sleep()
		if wait > 0 {
			e.timer.SetAfter(wait)
		}
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *RatedSource) EmptyNotifier(int) *click.Notifier { return &e.empty }

// AddHandlers implements click.HandlerAdder.
func (e *RatedSource) AddHandlers(h *click.Handlers) {
	e.handlers(h, e.wake)
	h.Value("rate", func() string { return strconv.Itoa(e.rate) }, after(click.IntRange(&e.rate, 0, 1e9), func() {
		e.bucket = bucket{rate: uint64(e.rate), size: uint64(max(e.rate, 1))}
		e.wake()
	}))
}
