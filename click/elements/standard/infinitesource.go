package standard

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RandomSource", Ports: "0/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &InfiniteSource{random: true} },
		Doc: click.Doc{
			Group: "standard", Title: "makes packets of random bytes as fast as they are taken",
			Text: "It works as InfiniteSource does.",
			Args: append([]string{
				"LENGTH: Bytes in a packet.",
				"LIMIT: How many packets to make; -1, the default, is no limit.",
				"BURST: How many to push at a time, 1 to 256; default 1.",
				"ACTIVE: Whether to make packets now; default true.",
				"STOP: Stop the router after the last packet.",
			}, endArgs...),
			Handlers: append([]string{"burst (rw): The BURST argument."}, sourceHandlers...),
			Example:  "RandomSource(64, LIMIT 1000) -> Discard;",
			See:      []string{"InfiniteSource"},
		},
	})
	click.Register(click.Class{
		Name: "InfiniteSource", Ports: "0/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &InfiniteSource{} },
		Doc: click.Doc{
			Group: "standard", Title: "makes packets as fast as they are taken",
			Text: "Each packet has memory of its own and may be written to. When it pushes, it sends BURST packets whenever its task runs, and sleeps while the queues downstream are full.",
			Args: append([]string{
				"DATA: What a packet holds; 64 bytes of text if not given.",
				"LIMIT: How many packets to make; -1, the default, is no limit.",
				"BURST: How many to push at a time, 1 to 256; default 1.",
				"ACTIVE: Whether to make packets now; default true.",
				"LENGTH: Repeats or cuts DATA to so many bytes.",
				"STOP: Stop the router after the last packet.",
			}, endArgs...),
			Handlers: append([]string{"burst (rw): The BURST argument."}, sourceHandlers...),
			Example:  "InfiniteSource(LENGTH 64, LIMIT 1000, BURST 32) -> Counter -> Discard;",
			See:      []string{"RatedSource", "TimedSource"},
		},
	})
}

// InfiniteSource makes packets.
type InfiniteSource struct {
	source
	random bool
	burst  int
	task   *click.Task
	timer  *click.Timer
	full   *click.Signal
	empty  click.Notifier
}

// Configure implements click.Element.
func (e *InfiniteSource) Configure(a *click.Args) {
	params := append(e.params(), e.endParams()...)
	e.burst = 1
	if e.random {
		params[0] = click.Must("LENGTH", click.IntRange(&e.length, 0, 65535)) // of params: LENGTH is by position here
		a.Parse(append(params, click.May("LIMIT", click.IntRange(&e.limit, -1, 1<<62)), click.May("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch)), click.May("ACTIVE", click.Bool(&e.active)))...)
		e.finish(a)
		return
	}
	a.Parse(append(params,
		click.May("DATA", click.Bytes(&e.raw)),
		click.May("LIMIT", click.IntRange(&e.limit, -1, 1<<62)),
		click.May("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch)),
		click.May("ACTIVE", click.Bool(&e.active)))...)
	e.finish(a)
}

// Inherit implements click.Inheritor: counting goes on.
func (e *InfiniteSource) Inherit(old click.Element) error {
	if o, ok := old.(*InfiniteSource); ok {
		e.inherit(&o.source)
	}
	return nil
}

// Initialize implements click.Initializer.
func (e *InfiniteSource) Initialize() error {
	if e.OutputKind(0) == click.PushKind {
		e.task = e.NewTask(e.run)
		e.full = e.DownstreamFull(0, e.task)
		e.timer = e.NewTimer(e.task.Schedule)
	}
	e.wake()
	return e.check()
}

func (e *InfiniteSource) wake() {
	on := e.active && !e.done()
	e.empty.Set(on)
	if on && e.task != nil {
		e.task.Schedule()
	}
}

func (e *InfiniteSource) run() (int, bool) {
	if !e.active || e.done() {
		e.ended()
		return 0, false
	}
	if !e.full.Active() {
		return 0, false
	}
	b := e.Thread().Scratch()
	n := e.make(b, e.task.Merge(e.burst))
	e.Out(0).Push(b)
	e.Thread().Release(b)
	if n == 0 { // no memory: others may give some back
		e.timer.SetAfter(time.Millisecond)
		return 0, false
	}
	e.ended()
	return n, !e.done()
}

// make is fill, and gives the packets of a RandomSource what they hold.
func (e *InfiniteSource) make(b *packet.Batch, n int) int {
	had := b.Len()
	n = e.fill(b, n)
	if e.random {
		r := e.Rand()
		for _, p := range b.Packets()[had:] {
			d := p.Data()
			for ; len(d) >= 8; d = d[8:] {
				binary.NativeEndian.PutUint64(d, r.Uint64())
			}
			for i := range d {
				d[i] = byte(r.Uint32())
			}
		}
	}
	return n
}

// Pull implements click.Puller.
func (e *InfiniteSource) Pull(_ int, b *packet.Batch, n int) {
	if e.active && !e.done() {
		e.make(b, n)
		e.ended()
	}
	e.empty.Set(e.active && !e.done())
}

// Plain returns false where the source calls a handler at its end.
func (e *InfiniteSource) Plain() bool { return e.call.handler == "" }

// EmptyNotifier implements click.EmptyNotifying.
func (e *InfiniteSource) EmptyNotifier(int) *click.Notifier { return &e.empty }

// AddHandlers implements click.HandlerAdder.
func (e *InfiniteSource) AddHandlers(h *click.Handlers) {
	e.handlers(h, e.wake)
	h.Value("burst", func() string { return strconv.Itoa(e.burst) }, click.IntRange(&e.burst, 1, packet.MaxBatch))
}
