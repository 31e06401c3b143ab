package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Discard", Ports: "1/0", Processing: "a", Merging: click.Merged, New: func() click.Element { return &Discard{} },
		Doc: click.Doc{
			Group: "standard", Title: "drops all packets",
			Text:     "Where its input pulls, it takes BURST packets whenever there are some.",
			Args:     []string{"BURST: Packets to pull at a time; default 1.", "ACTIVE: Whether to pull; default true."},
			Handlers: []string{"count (r): Packets dropped.", "active (rw): The ACTIVE argument.", "burst (rw): The BURST argument.", "reset_counts (w): Sets the count to zero."},
			Example:  "... -> Discard;", See: []string{"Idle"},
		},
	})
}

// Discard drops all packets.
type Discard struct {
	click.Base
	burst  int
	active bool
	count  uint64
	task   *click.Task
	intake *click.Intake
}

// Configure implements click.Element.
func (e *Discard) Configure(a *click.Args) {
	e.burst, e.active = 1, true
	a.Parse(click.May("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch)), click.May("ACTIVE", click.Bool(&e.active)))
}

// Initialize implements click.Initializer.
func (e *Discard) Initialize() error {
	if e.InputKind(0) == click.PullKind {
		e.task = e.NewTask(e.run)
		e.intake = e.NewIntake(0, e.task)
		e.task.Schedule()
	}
	return nil
}

// Inherit implements click.Inheritor: counting goes on.
func (e *Discard) Inherit(old click.Element) error {
	if o, ok := old.(*Discard); ok {
		e.count = o.count
	}
	return nil
}

// Push implements click.Pusher.
func (e *Discard) Push(_ int, b *packet.Batch) {
	e.count += uint64(b.Len())
	e.Cache().FreeBatch(b)
}

func (e *Discard) run() (int, bool) {
	if !e.active {
		return 0, false
	}
	b := e.Thread().Scratch()
	n, more := e.intake.Pull(b, e.task.Merge(e.burst))
	e.Push(0, b)
	e.Thread().Release(b)
	return n, more
}

// AddHandlers implements click.HandlerAdder.
func (e *Discard) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("burst", func() string { return strconv.Itoa(e.burst) }, click.IntRange(&e.burst, 1, packet.MaxBatch))
	h.Write("reset_counts", func(string) error { e.count = 0; return nil })
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, after(click.Bool(&e.active), func() {
		if e.task != nil {
			e.task.Schedule()
		}
	}))
}
