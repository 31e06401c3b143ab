package link

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/standard"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/linkmodel"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Link", Ports: "1/1", Processing: "h", New: func() click.Element { return &Link{} },
		Doc: click.Doc{
			Group: "link", Title: "delays, loses and limits packets as one direction of a link does",
			Text: "A packet that arrives waits until those before it have been sent, together with at most QUEUE others; it is lost if there is no room. Then it is sent, which takes " +
				"its length divided by RATE. On the way it is lost with probability LOSS; DELAY after its last bit was sent it leaves. Packets leave in the order in which they came, " +
				"also after DELAY was made shorter. While the link is down, all that arrives, waits or is under way is lost. " +
				"The random numbers come from the router's seed, so that a run can be repeated. The links of a laboratory do the same.",
			Args: []string{
				"DELAY: Propagation delay; default 0.", "LOSS: Probability of loss, such as 0.01 or 1%; default 0.", "RATE: Bandwidth, such as 10Mbps; 0, the default, is without limit.",
				"QUEUE: Packets that may wait while another one is being sent; default 1000. Without a RATE nothing waits.", "UP: Whether the link is up; default true.",
			},
			Handlers: []string{
				"delay (rw): The DELAY argument.", "loss (rw): The LOSS argument.", "rate (rw): The RATE argument, in bytes per second.", "queue (rw): The QUEUE argument.", "up (rw): Whether the link is up; writing nothing means true.", "down (w): Takes the link down.",
				"count (r): Packets that left.", "byte_count (r): Their bytes.", "length (r): Packets that wait or are being sent.", "flight (r): Packets within the link.",
				"drops (r): Packets lost.", "drops_loss (r): Those lost at random.", "drops_queue (r): Those that found the queue full.", "drops_down (r): Those lost because the link was down.", "drop_details (r): All causes.",
			},
			Example: "... -> l :: Link(10ms, 1%, 10Mbps, 50) -> ...;", See: []string{"LinkUnqueue", "RandomSample"},
		},
	})
}

// Link is one direction of a link.
type Link struct {
	click.Base
	im   linkmodel.Impairment // without the rate, which the user gives in bytes
	rate uint64               // bytes per second
	up   bool

	lane *linkmodel.Lane // decides
	line standard.Line   // holds what is under way

	count, bytes            uint64
	byLoss, byQueue, byDown uint64
}

// Configure implements click.Element.
func (e *Link) Configure(a *click.Args) {
	e.im.Queue, e.up = linkmodel.DefaultQueue, true
	a.Parse(click.May("DELAY", click.Duration(&e.im.Delay)), click.May("LOSS", click.Fraction(&e.im.Loss)), click.May("RATE", click.Bandwidth(&e.rate)),
		click.May("QUEUE", click.IntRange(&e.im.Queue, 1, linkmodel.MaxQueue)), click.Key("UP", click.Bool(&e.up)))
}

// Initialize implements click.Initializer. The link takes two numbers from the router's source and makes one of its own, so that
// what it loses does not depend on what other elements draw while it runs.
func (e *Link) Initialize() error {
	r := e.Rand()
	e.lane = linkmodel.NewLane(e.impairment(), clock.NewRand(r.Uint64(), r.Uint64()))
	e.line.Init(&e.Base, e.leave, nil)
	return nil
}

func (e *Link) impairment() linkmodel.Impairment {
	im := e.im
	im.Rate = linkmodel.BitRate(8 * e.rate)
	return im
}

// leave sends a batch on.
func (e *Link) leave(b *packet.Batch) {
	e.count += uint64(b.Len())
	for _, p := range b.Packets() {
		e.bytes += uint64(p.Len())
	}
	e.Out(0).Push(b)
}

// Cleanup implements click.Cleaner.
func (e *Link) Cleanup() { e.line.Clear() }

// Push implements click.Pusher.
func (e *Link) Push(_ int, b *packet.Batch) {
	if !e.up {
		e.byDown += uint64(b.Len())
		e.Drop(b)
		return
	}
	if e.lane.Impairment() == (linkmodel.Impairment{Queue: e.im.Queue}) && e.line.Len() == 0 {
		e.leave(b) // the lane would carry each of them at once and has nothing to remember
		return
	}
	now := e.Now()
	for _, p := range b.Packets() {
		switch arrival, v := e.lane.Offer(now, p.Len()); v {
		case linkmodel.Lost:
			e.byLoss++
			e.DropOne(p)
		case linkmodel.QueueFull:
			e.byQueue++
			e.DropOne(p)
		case linkmodel.Carried:
			e.line.Put(p, arrival)
		}
	}
	b.Reset()
}

// takeDown loses everything that is under way.
func (e *Link) takeDown() {
	n := e.line.Clear()
	e.byDown += uint64(n)
	e.CountDrops(n)
	e.lane.Reset()
}

// settable returns a value that the lane is told of when it was written.
func (e *Link) settable(set click.Value) click.Value {
	return func(s string, a *click.Args) error {
		if err := set(s, a); err != nil {
			return err
		}
		e.lane.Set(e.impairment())
		return nil
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *Link) AddHandlers(h *click.Handlers) {
	h.Value("delay", func() string { return e.im.Delay.String() }, e.settable(click.Duration(&e.im.Delay)))
	h.Value("loss", func() string { return strconv.FormatFloat(e.im.Loss, 'g', -1, 64) }, e.settable(click.Fraction(&e.im.Loss)))
	h.Value("rate", func() string { return strconv.FormatUint(e.rate, 10) }, e.settable(click.Bandwidth(&e.rate)))
	h.Value("queue", func() string { return strconv.Itoa(e.im.Queue) }, e.settable(click.IntRange(&e.im.Queue, 1, linkmodel.MaxQueue)))
	h.Value("up", func() string { return strconv.FormatBool(e.up) }, func(s string, a *click.Args) error {
		on := true
		if s != "" {
			if err := click.Bool(&on)(s, a); err != nil {
				return err
			}
		}
		if e.up = on; !on {
			e.takeDown()
		}
		return nil
	})
	h.Write("down", func(s string) error {
		if s = strings.TrimSpace(s); s != "" {
			return fmt.Errorf("takes no value, not '%s'", s)
		}
		e.up = false
		e.takeDown()
		return nil
	})
	h.Count("count", &e.count)
	h.Count("byte_count", &e.bytes)
	h.Count("drops_loss", &e.byLoss)
	h.Count("drops_queue", &e.byQueue)
	h.Count("drops_down", &e.byDown)
	h.Read("length", func() string { return strconv.Itoa(e.lane.Sending(e.Now())) })
	h.Read("flight", func() string { return strconv.Itoa(e.line.Len()) })
	h.Read("drop_details", func() string {
		return fmt.Sprintf("%d loss\n%d queue\n%d down\n", e.byLoss, e.byQueue, e.byDown)
	})
}
