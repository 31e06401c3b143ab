package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
)

func init() {
	for name, bytes := range map[string]bool{"RatedUnqueue": false, "BandwidthRatedUnqueue": true} {
		what := "packets"
		if bytes {
			what = "bytes"
		}
		click.Register(click.Class{
			Name: name, Ports: "1/1", Processing: "l/h", New: func() click.Element { return &RatedUnqueue{limit: limit{bytes: bytes}} },
			Doc: click.Doc{
				Group: "shaping", Title: "moves packets on at a limited rate of " + what,
				Text: "A token bucket, full at the start, lets packets pass; it is refilled every millisecond.",
				Args: limitArgs(bytes), Handlers: []string{"count (r): Packets moved.", "rate (rw): The RATE argument.", "active (rw): Whether it works."},
				Example: "Queue -> " + name + "(100) -> ...;", See: []string{"Unqueue", "Shaper", "RatedSplitter"},
			},
		})
	}
}

// RatedUnqueue moves packets at a limited rate.
type RatedUnqueue struct {
	click.Base
	limit
	active bool
	count  uint64
	task   *click.Task
	timer  *click.Timer
	intake *click.Intake
}

// Configure implements click.Element.
func (e *RatedUnqueue) Configure(a *click.Args) {
	e.active = true
	e.configure(a)
}

// Reconfigure implements click.Reconfigurer.
func (e *RatedUnqueue) Reconfigure(from click.Element) error {
	e.take(&from.(*RatedUnqueue).limit)
	e.task.Schedule()
	return nil
}

// Inherit implements click.Inheritor: counting goes on, and so does the bucket if the rate is the same.
func (e *RatedUnqueue) Inherit(old click.Element) error {
	if o, ok := old.(*RatedUnqueue); ok {
		e.count = o.count
		if e.limit.rate == o.limit.rate && e.limit.tokens.full == o.limit.tokens.full && e.limit.tokens.scale == o.limit.tokens.scale {
			e.limit.tokens = o.limit.tokens
		}
	}
	return nil
}

// Initialize implements click.Initializer.
func (e *RatedUnqueue) Initialize() error {
	e.task = e.NewTask(e.run)
	e.timer = e.NewTimer(e.task.Schedule)
	e.intake = e.NewIntake(0, e.task)
	e.task.Schedule()
	return nil
}

func (e *RatedUnqueue) run() (int, bool) {
	if !e.active || e.rate == 0 {
		return 0, false
	}
	e.tokens.refill(e.Now())
	if !e.tokens.has(e.least()) {
		e.timer.SetAfter(e.tokens.wait(e.least()))
		return 0, false
	}
	want := 1
	if !e.bytes {
		want = int(min(32, e.tokens.count()))
	}
	b := e.Thread().Scratch()
	defer e.Thread().Release(b)
	n, more := e.intake.Pull(b, want)
	if n == 0 {
		return 0, more
	}
	for _, p := range b.Packets() {
		e.pass(p.Len())
	}
	e.count += uint64(n)
	e.Out(0).Push(b)
	return n, true
}

// AddHandlers implements click.HandlerAdder.
func (e *RatedUnqueue) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, after(click.Bool(&e.active), e.task.Schedule))
	h.Keyword("rate", "RATE", e.rateText)
}
