package standard

import (
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DelayUnqueue", Ports: "1/1", Processing: "l/h", New: func() click.Element { return &DelayUnqueue{} },
		Doc: click.Doc{
			Group: "standard", Title: "moves packets on after a delay",
			Text:     "It takes packets as they come and pushes each one exactly DELAY after its timestamp annotation, or after it was pulled if it has none. Its timestamp annotation is then that time. It holds at most 65536 packets.",
			Args:     []string{"DELAY: How long to hold packets."},
			Handlers: []string{"count (r): Packets moved.", "delay (rw): The DELAY argument.", "length (r): Packets held."},
			Example:  "... -> SetTimestamp -> Queue -> DelayUnqueue(10ms) -> ...;", See: []string{"LinkUnqueue", "Link"},
		},
	})
}

func init() {
	click.Register(click.Class{
		Name: "LinkUnqueue", Ports: "1/1", Processing: "l/h", New: func() click.Element { return &DelayUnqueue{link: true} },
		Doc: click.Doc{
			Group: "standard", Title: "moves packets on as a link with a bandwidth and a latency would",
			Text:     "A packet occupies the link for its length divided by the bandwidth, and arrives LATENCY after its last bit was sent.",
			Args:     []string{"LATENCY: Propagation delay.", "BANDWIDTH: Bandwidth, such as 10Mbps."},
			Handlers: []string{"count (r): Packets moved.", "latency (rw): The LATENCY argument.", "bandwidth (rw): The BANDWIDTH argument.", "length, size (r): Packets held.", "reset (w): Drops all packets that it holds."},
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
		for _, p := range b.Packets() {
			p.Anno.Time = e.Now()
		}
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
		h.Read("size", func() string { return strconv.Itoa(e.line.Len()) })
		h.Write("reset", func(string) error {
			e.CountDrops(e.line.Clear())
			e.busy.Stop()
			e.task.Schedule()
			return nil
		})
		h.Value("bandwidth", func() string { return strconv.FormatUint(e.bandwidth, 10) }, func(s string, a *click.Args) error {
			var bw uint64
			if err := click.Bandwidth(&bw)(s, a); err != nil {
				return err
			}
			e.bandwidth = max(bw, 1)
			return nil
		})
	}
	h.Value(name, func() string { return timeText(e.delay) }, click.Duration(&e.delay))
}
