package standard

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	for name, bw := range map[string]bool{"Shaper": false, "BandwidthShaper": true} {
		unit, what := "RATE: Packets per second.", "packets"
		if bw {
			unit, what = "RATE: Bandwidth, such as 10Mbps; without a unit bytes per second.", "bytes"
		}
		click.Register(click.Class{
			Name: name, Ports: "1/1", Processing: "l", New: func() click.Element { return &Shaper{bytes: bw} },
			Doc: click.Doc{
				Group: "standard", Title: "lets packets be pulled at a limited rate of " + what,
				Text: "After a pause up to 20ms worth may pass at once. While nothing may pass, its empty notifier sleeps.",
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
	rate   uint64
	count  uint64
	bucket bucket
	debt   int
	timer  *click.Timer
	note   click.Notifier
	up     *click.Signal
	wakeup *click.Task
}

// Configure implements click.Element.
func (e *Shaper) Configure(a *click.Args) {
	a.Parse(click.Must("RATE", rateValue(&e.rate, e.bytes)))
	e.setRate()
}

func (e *Shaper) setRate() {
	e.bucket, e.debt = bucket{rate: e.rate, size: max(e.rate/50, 1)}, 0
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
func (e *Shaper) Pull(_ int, b *packet.Batch, n int) {
	if e.rate == 0 {
		e.note.Sleep()
		return
	}
	e.bucket.fillTo(int64(e.Now()))
	for n > 0 {
		paid := min(e.debt, e.bucket.tokens())
		e.bucket.take(paid)
		e.debt -= paid
		if e.debt > 0 || e.bucket.tokens() < 1 {
			break
		}
		want := 1
		if !e.bytes {
			want = min(n, e.bucket.tokens())
		}
		had := b.Len()
		got := e.In(0).Pull(b, want)
		if got == 0 {
			if !e.up.Active() {
				e.note.Sleep()
			}
			return
		}
		cost := got
		if e.bytes {
			cost = b.At(had).Len()
		}
		paid = min(cost, e.bucket.tokens())
		e.bucket.take(paid)
		e.debt = cost - paid
		e.count += uint64(got)
		n -= got
	}
	if e.debt > 0 || e.bucket.tokens() < 1 {
		e.note.Sleep()
		e.timer.SetAfter(e.bucket.wait(max(min(e.debt, int(e.bucket.size)), 1)))
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *Shaper) EmptyNotifier(int) *click.Notifier { return &e.note }

// AddHandlers implements click.HandlerAdder.
func (e *Shaper) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	h.Value("rate", func() string { return strconv.FormatUint(e.rate, 10) }, after(rateValue(&e.rate, e.bytes), func() {
		e.setRate()
		e.note.Wake()
	}))
}
