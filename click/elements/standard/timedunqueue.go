package standard

import (
	"fmt"
	"strconv"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, burst := range map[string]int{"TimedUnqueue": 1, "Burster": 8} {
		click.Register(click.Class{
			Name: name, Ports: "1/1", Processing: "l/h", New: func() click.Element { return &TimedUnqueue{burst: burst} },
			Doc: click.Doc{
				Group: "shaping", Title: "moves some packets on at every tick",
				Args:     []string{"INTERVAL: Time between ticks.", fmt.Sprintf("BURST: Most packets at a tick, 1 to %d; default %d.", packet.MaxBatch, burst)},
				Handlers: []string{"interval (rw): The INTERVAL argument.", "burst (rw): The BURST argument.", "count (r): Packets moved."},
				Example:  "Queue -> " + name + "(10ms) -> ...;", See: []string{"RatedUnqueue", "Unqueue", "TimedSink"},
			},
		})
	}
	click.Register(click.Class{
		Name: "TimedSink", Ports: "1/0", Processing: "l", New: func() click.Element { return &TimedUnqueue{sink: true, burst: 1} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls and drops a packet at every tick",
			Args:     []string{"INTERVAL: Time between ticks; default 500ms."},
			Handlers: []string{"interval (rw): The INTERVAL argument.", "count (r): Packets dropped."},
			Example:  "Queue -> TimedSink(1s);", See: []string{"TimedSource", "TimedUnqueue"},
		},
	})
}

// TimedUnqueue moves packets at ticks; as TimedSink it drops them.
type TimedUnqueue struct {
	click.Base
	sink     bool
	interval time.Duration
	burst    int
	count    uint64
	timer    *click.Timer
}

// Configure implements click.Element.
func (e *TimedUnqueue) Configure(a *click.Args) {
	e.interval = 500 * time.Millisecond
	if e.sink {
		a.Parse(click.May("INTERVAL", interval(&e.interval)))
		return
	}
	a.Parse(click.Must("INTERVAL", interval(&e.interval)), click.May("BURST", click.IntRange(&e.burst, 1, packet.MaxBatch)))
}

// interval parses a time that is more than nothing.
func interval(p *time.Duration) click.Value {
	return func(s string, a *click.Args) error {
		var d time.Duration
		if err := click.Duration(&d)(s, a); err != nil {
			return err
		}
		if d <= 0 {
			return fmt.Errorf("must be more than zero")
		}
		*p = d
		return nil
	}
}

// timeText shows a time as arguments have it: in whole milli-, micro- or nanoseconds below a second, and else in seconds.
func timeText(d time.Duration) string {
	switch {
	case d >= time.Second || d == 0:
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
	case d%time.Millisecond == 0:
		return strconv.Itoa(int(d/time.Millisecond)) + "ms"
	case d%time.Microsecond == 0:
		return strconv.Itoa(int(d/time.Microsecond)) + "us"
	}
	return strconv.Itoa(int(d)) + "ns"
}

// Initialize implements click.Initializer.
func (e *TimedUnqueue) Initialize() error {
	e.timer = e.NewTimer(e.tick)
	return nil
}

// Start implements click.Starter.
func (e *TimedUnqueue) Start() { e.timer.SetAfter(e.interval) }

// Inherit implements click.Inheritor: counting goes on.
func (e *TimedUnqueue) Inherit(old click.Element) error {
	if o, ok := old.(*TimedUnqueue); ok {
		e.count = o.count
	}
	return nil
}

// Reconfigure implements click.Reconfigurer.
func (e *TimedUnqueue) Reconfigure(from click.Element) error {
	o := from.(*TimedUnqueue)
	e.interval, e.burst = o.interval, o.burst
	e.timer.SetAfter(e.interval)
	return nil
}

func (e *TimedUnqueue) tick() {
	b := e.Thread().Scratch()
	e.count += uint64(e.In(0).Pull(b, e.burst))
	if e.sink {
		e.Cache().FreeBatch(b)
	} else {
		e.Out(0).Push(b)
	}
	e.Thread().Release(b)
	e.timer.Set(e.timer.At().Add(e.interval))
}

// AddHandlers implements click.HandlerAdder.
func (e *TimedUnqueue) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Keyword("interval", "INTERVAL", func() string { return timeText(e.interval) })
	if !e.sink {
		h.Keyword("burst", "BURST", func() string { return strconv.Itoa(e.burst) })
	}
}
