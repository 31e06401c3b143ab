package standard

import (
	"fmt"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Unqueue", Ports: "1/1", Processing: "l/h", Merging: click.Merged, New: func() click.Element { return &Unqueue{} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls packets and pushes them on",
			Args: []string{
				"BURST: Packets to move at a time, at most 256; a negative number moves as many as come; default 1.", "ACTIVE: Whether to work now; default true.",
				"LIMIT: How many packets to move in all; -1, the default, is no limit.",
			},
			Handlers: []string{"count (r): Packets moved.", "active (rw): The ACTIVE argument.", "limit (rw): The LIMIT argument.", "burst (rw): The BURST argument.", "reset (w): Sets the count to zero."},
			Example:  "Queue -> Unqueue(32) -> ...;", See: []string{"RatedUnqueue", "DelayUnqueue", "LinkUnqueue"},
		},
	})
}

// Unqueue pulls and pushes.
type Unqueue struct {
	click.Base
	burst  int
	limit  int
	active bool
	count  uint64
	task   *click.Task
	intake *click.Intake
}

// Configure implements click.Element.
func (e *Unqueue) Configure(a *click.Args) {
	e.burst, e.limit, e.active = 1, -1, true
	a.Parse(click.May("BURST", e.setBurst),
		click.Key("ACTIVE", click.Bool(&e.active)), click.Key("LIMIT", click.IntRange(&e.limit, -1, 1<<62)))
}

func (e *Unqueue) setBurst(s string, a *click.Args) error {
	n := 0
	if err := click.IntRange(&n, -1<<31, packet.MaxBatch)(s, a); err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("0 would move nothing; ACTIVE is for that")
	}
	e.burst = n
	return nil
}

// Inherit implements click.Inheritor: counting goes on.
func (e *Unqueue) Inherit(old click.Element) error {
	if o, ok := old.(*Unqueue); ok {
		e.count = o.count
	}
	return nil
}

// Initialize implements click.Initializer.
func (e *Unqueue) Initialize() error {
	e.task = e.NewTask(e.run)
	e.intake = e.NewIntake(0, e.task)
	e.task.Schedule()
	return nil
}

func (e *Unqueue) run() (int, bool) {
	n := e.burst
	if n < 0 {
		n = packet.MaxBatch
	} else {
		n = e.task.Merge(n)
	}
	if e.limit >= 0 {
		n = min(n, int(uint64(e.limit)-min(e.count, uint64(e.limit))))
	}
	if !e.active || n == 0 {
		return 0, false
	}
	b := e.Thread().Scratch()
	n, more := e.intake.Pull(b, n)
	e.count += uint64(n)
	e.Out(0).Push(b)
	e.Thread().Release(b)
	return n, more
}

// AddHandlers implements click.HandlerAdder.
func (e *Unqueue) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, after(click.Bool(&e.active), e.task.Schedule))
	h.Value("limit", func() string { return strconv.Itoa(e.limit) }, after(click.IntRange(&e.limit, -1, 1<<62), e.task.Schedule))
	h.Value("burst", func() string { return strconv.Itoa(e.burst) }, e.setBurst)
	h.Write("reset", func(string) error { e.count = 0; e.task.Schedule(); return nil })
}
