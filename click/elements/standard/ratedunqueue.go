package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
)

func init() {
	for name, bw := range map[string]bool{"RatedUnqueue": false, "BandwidthRatedUnqueue": true} {
		unit, what := "RATE: Packets per second; default 10.", "packets"
		if bw {
			unit, what = "RATE: Bandwidth, such as 10Mbps; without a unit bytes per second.", "bytes"
		}
		click.Register(click.Class{
			Name: name, Ports: "1/1", Processing: "l/h", New: func() click.Element { return &RatedUnqueue{bytes: bw} },
			Doc: click.Doc{
				Group: "standard", Title: "moves packets on at a limited rate of " + what,
				Args:     []string{unit, "BURST: How many " + what + " may pass at once after a pause; default 20ms worth."},
				Handlers: []string{"count (r): Packets moved.", "rate (rw): The RATE argument.", "active (rw): Whether it works."},
				Example:  "Queue -> " + name + "(100) -> ...;", See: []string{"Unqueue", "Shaper"},
			},
		})
	}
}

// RatedUnqueue moves packets at a limited rate.
type RatedUnqueue struct {
	click.Base
	bytes  bool
	rate   uint64
	burst  int
	active bool
	count  uint64
	bucket bucket
	debt   int // bytes sent beyond the credit
	task   *click.Task
	timer  *click.Timer
	intake *click.Intake
}

// Configure implements click.Element.
func (e *RatedUnqueue) Configure(a *click.Args) {
	e.active, e.rate = true, 10
	rate := rateValue(&e.rate, e.bytes)
	a.Parse(click.May("RATE", rate), click.May("BURST", click.IntRange(&e.burst, 1, 1<<30)))
	e.setRate()
}

// rateValue parses packets per second or a bandwidth.
func rateValue(p *uint64, bytes bool) click.Value {
	if bytes {
		return click.Bandwidth(p)
	}
	return func(s string, a *click.Args) error {
		n := 0
		if err := click.IntRange(&n, 0, 1_000_000_000)(s, a); err != nil {
			return err
		}
		*p = uint64(n)
		return nil
	}
}

func (e *RatedUnqueue) setRate() {
	size := uint64(e.burst)
	if size == 0 {
		size = max(e.rate/50, 1)
	}
	e.bucket = bucket{rate: e.rate, size: min(size, 1<<33)}
	e.debt = 0
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
	e.bucket.fillTo(int64(e.Now()))
	if e.debt > 0 {
		n := min(e.debt, e.bucket.tokens())
		e.bucket.take(n)
		e.debt -= n
	}
	if e.debt > 0 || e.bucket.tokens() < 1 {
		e.timer.SetAfter(e.bucket.wait(max(min(e.debt, int(e.bucket.size)), 1)))
		return 0, false
	}
	b := e.Thread().Scratch()
	defer e.Thread().Release(b)
	want := 1
	if !e.bytes {
		want = min(32, e.bucket.tokens())
	}
	n, more := e.intake.Pull(b, want)
	if n == 0 {
		return 0, more
	}
	e.count += uint64(n)
	cost := n
	if e.bytes {
		cost = b.At(0).Len()
	}
	paid := min(cost, e.bucket.tokens())
	e.bucket.take(paid)
	e.debt = cost - paid
	e.Out(0).Push(b)
	return n, true
}

// AddHandlers implements click.HandlerAdder.
func (e *RatedUnqueue) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, after(click.Bool(&e.active), e.task.Schedule))
	h.Value("rate", func() string { return strconv.FormatUint(e.rate, 10) }, after(rateValue(&e.rate, e.bytes), func() {
		e.setRate()
		e.task.Schedule()
	}))
}
