package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, bytes := range map[string]bool{"Shaper": false, "BandwidthShaper": true} {
		unit, what := "RATE: Packets per second.", "packets"
		ports, text := "1/1-2", " From output 1, if it is there, packets can be pulled at any time at which none may pass to output 0."
		if bytes {
			unit, what = "RATE: Bandwidth, such as 10Mbps; without a unit bytes per second.", "bytes"
			ports, text = "1/1", ""
		}
		click.Register(click.Class{
			Name: name, Ports: ports, Processing: "l", New: func() click.Element { return &Shaper{bytes: bytes} },
			Doc: click.Doc{
				Group: "shaping", Title: "lets packets be pulled at a limited rate of " + what,
				Text: "What may pass is spread evenly over each second. While nothing may pass, its empty notifier sleeps." + text,
				Args: []string{unit}, Handlers: []string{"rate (rw): The RATE argument.", "count (r): Packets that have passed."},
				Example: "Queue -> " + name + "(1000) -> ToDevice(eth0);", See: []string{"RatedUnqueue"},
			},
		})
	}
}

// Shaper limits the rate at which packets are pulled.
type Shaper struct {
	click.Base
	bytes  bool
	pace   pace
	count  uint64
	timer  *click.Timer
	note   click.Notifier
	up     *click.Signal
	wakeup *click.Task
}

// Configure implements click.Element.
func (e *Shaper) Configure(a *click.Args) {
	a.Parse(click.Must("RATE", rateValue(&e.pace.rate, e.bytes)))
}

// Reconfigure implements click.Reconfigurer.
func (e *Shaper) Reconfigure(from click.Element) error {
	e.pace = from.(*Shaper).pace
	e.note.Wake()
	return nil
}

// Initialize implements click.Initializer.
func (e *Shaper) Initialize() error {
	e.timer = e.NewTimer(e.note.Wake)
	// The task turns a notification from upstream into one for downstream.
	e.wakeup = e.NewTask(func() (int, bool) {
		if !e.timer.Pending() {
			e.note.Wake()
		}
		return 0, false
	})
	e.up = e.UpstreamEmpty(0, e.wakeup)
	e.note.Wake()
	return nil
}

// Pull implements click.Puller.
func (e *Shaper) Pull(port int, b *packet.Batch, n int) {
	now := e.Now()
	if port == 1 {
		if !e.pace.due(now) {
			e.In(0).Pull(b, n)
		}
		return
	}
	for n > 0 && e.pace.due(now) {
		had := b.Len()
		if e.In(0).Pull(b, 1) == 0 {
			if !e.up.Active() {
				e.note.Sleep()
			}
			return
		}
		cost := 1
		if e.bytes {
			cost = b.At(had).Len()
		}
		e.pace.count += uint64(cost)
		e.count++
		n--
	}
	if !e.pace.due(now) {
		e.note.Sleep()
		if e.pace.rate > 0 {
			e.timer.SetAfter(e.pace.wait(now))
		}
	}
}

// EmptyNotifier implements click.EmptyNotifying. Of output 1 nobody can say when there is something.
func (e *Shaper) EmptyNotifier(port int) *click.Notifier {
	if port == 1 {
		return nil
	}
	return &e.note
}

// AddHandlers implements click.HandlerAdder.
func (e *Shaper) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Keyword("rate", "RATE", func() string { return strconv.FormatUint(e.pace.rate, 10) })
}
