package standard

import (
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Unqueue", Ports: "1/1", Processing: "l/h", New: func() click.Element { return &Unqueue{} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls packets and pushes them on",
			Args: []string{
				"BURST: Packets to move at a time; default 1.", "ACTIVE: Whether to work now; default true.",
				"LIMIT: How many packets to move in all; -1, the default, is no limit.",
			},
			Handlers: []string{"count (r): Packets moved.", "active (rw): The ACTIVE argument.", "limit (rw): The LIMIT argument.", "reset (w): Sets the count to zero."},
			Example:  "Queue -> Unqueue(32) -> ...;", See: []string{"RatedUnqueue", "DelayUnqueue", "LinkUnqueue"},
		},
	})
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
	a.Parse(click.May("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch)),
		click.Key("ACTIVE", click.Bool(&e.active)), click.Key("LIMIT", click.IntRange(&e.limit, -1, 1<<62)))
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
	h.Write("reset", func(string) error { e.count = 0; e.task.Schedule(); return nil })
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

func init() {
	click.Register(click.Class{
		Name: "DelayUnqueue", Ports: "1/1", Processing: "l/h", New: func() click.Element { return &DelayUnqueue{} },
		Doc: click.Doc{
			Group: "standard", Title: "moves packets on after a delay",
			Text:     "It takes packets as they come and pushes each one exactly DELAY after its timestamp annotation, or after it was pulled if it has none. It holds at most 65536 packets.",
			Args:     []string{"DELAY: How long to hold packets."},
			Handlers: []string{"count (r): Packets moved.", "delay (rw): The DELAY argument.", "length (r): Packets held."},
			Example:  "... -> SetTimestamp -> Queue -> DelayUnqueue(10ms) -> ...;", See: []string{"LinkUnqueue", "Link"},
		},
	})
	click.Register(click.Class{
		Name: "LinkUnqueue", Ports: "1/1", Processing: "l/h", New: func() click.Element { return &DelayUnqueue{link: true} },
		Doc: click.Doc{
			Group: "standard", Title: "moves packets on as a link with a bandwidth and a latency would",
			Text:     "A packet occupies the link for its length divided by the bandwidth, and arrives LATENCY after its last bit was sent.",
			Args:     []string{"LATENCY: Propagation delay.", "BANDWIDTH: Bandwidth, such as 10Mbps."},
			Handlers: []string{"count (r): Packets moved.", "latency (rw): The LATENCY argument.", "bandwidth (rw): The BANDWIDTH argument.", "length (r): Packets held."},
			Example:  "Queue(20) -> LinkUnqueue(5ms, 1Mbps) -> ...;", See: []string{"DelayUnqueue", "Link"},
		},
	})
}

// DelayUnqueue holds packets for a time, and LinkUnqueue sends them one after the other before that.
type DelayUnqueue struct {
	click.Base
	link      bool
	delay     time.Duration
	bandwidth uint64
	count     uint64
	line      Line
	task      *click.Task
	intake    *click.Intake
	busy      *click.Timer
}

const maxHeld = 1 << 16

// Configure implements click.Element.
func (e *DelayUnqueue) Configure(a *click.Args) {
	if e.link {
		a.Parse(click.Must("LATENCY", click.Duration(&e.delay)), click.Must("BANDWIDTH", click.Bandwidth(&e.bandwidth)))
		if a.OK() && e.bandwidth == 0 {
			a.Errorf("BANDWIDTH: must be more than zero")
		}
		return
	}
	a.Parse(click.Must("DELAY", click.Duration(&e.delay)))
}

// Initialize implements click.Initializer.
func (e *DelayUnqueue) Initialize() error {
	e.task = e.NewTask(e.run)
	e.intake = e.NewIntake(0, e.task)
	e.busy = e.NewTimer(e.task.Schedule)
	e.line.Init(&e.Base, func(b *packet.Batch) {
		e.count += uint64(b.Len())
		e.Out(0).Push(b)
	}, e.task.Schedule)
	e.task.Schedule()
	return nil
}

// Cleanup implements click.Cleaner.
func (e *DelayUnqueue) Cleanup() { e.line.Clear() }

func (e *DelayUnqueue) run() (int, bool) {
	room := maxHeld - e.line.Len()
	if room <= 0 || e.busy.Pending() {
		return 0, false // the line, or the timer, schedules the task
	}
	b := e.Thread().Scratch()
	defer e.Thread().Release(b)
	now := e.Now()
	if !e.link {
		n, more := e.intake.Pull(b, min(32, room))
		for _, p := range b.Packets() {
			from := p.Anno.Time
			if from == 0 || from > now {
				from = now
			}
			e.line.Put(p, max(from.Add(e.delay), now))
		}
		b.Reset()
		return n, more
	}
	n, more := e.intake.Pull(b, 1)
	if n == 0 {
		return 0, more
	}
	p := b.At(0)
	b.Reset()
	sent := now.Add(time.Duration((uint64(p.Len())*1e9 + e.bandwidth - 1) / e.bandwidth))
	e.line.Put(p, sent.Add(e.delay))
	e.busy.Set(sent)
	return 1, false
}

// AddHandlers implements click.HandlerAdder.
func (e *DelayUnqueue) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Read("length", func() string { return strconv.Itoa(e.line.Len()) })
	name := "delay"
	if e.link {
		name = "latency"
		h.Value("bandwidth", func() string { return strconv.FormatUint(e.bandwidth, 10) }, func(s string, a *click.Args) error {
			var bw uint64
			if err := click.Bandwidth(&bw)(s, a); err != nil {
				return err
			}
			e.bandwidth = max(bw, 1)
			return nil
		})
	}
	h.Value(name, func() string { return e.delay.String() }, click.Duration(&e.delay))
}
