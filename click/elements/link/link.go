package link

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/standard"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "Link", Ports: "1/1", Processing: "h", New: func() click.Element { return &Link{} },
		Doc: click.Doc{
			Group: "link", Title: "delays, loses and limits packets as one direction of a link does",
			Text: "A packet that arrives is lost with probability LOSS. Then it waits for the packets before it, at most QUEUE of them; then it is sent, which takes its length " +
				"divided by RATE; DELAY after its last bit was sent it leaves. While the link is down, all that arrives, waits or is under way is lost. " +
				"The random numbers come from the router's seed, so that a run can be repeated. Order is kept unless DELAY is made shorter while packets are under way.",
			Args: []string{
				"DELAY: Propagation delay; default 0.", "LOSS: Probability of loss, such as 0.01 or 1%; default 0.", "RATE: Bandwidth, such as 10Mbps; 0, the default, is without limit.",
				"QUEUE: Packets that may wait or be being sent; default 1000. Without a RATE nothing waits.", "UP: Whether the link is up; default true.",
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
	delay time.Duration
	loss  float64
	rate  uint64
	queue int
	up    bool

	line    standard.Line
	waiting sentTimes
	busy    clock.Time // when the last bit of the last packet will have been sent

	count, bytes            uint64
	byLoss, byQueue, byDown uint64
}

const maxQueue = 1 << 16

// Configure implements click.Element.
func (e *Link) Configure(a *click.Args) {
	e.queue, e.up = 1000, true
	a.Parse(click.May("DELAY", click.Duration(&e.delay)), click.May("LOSS", click.Fraction(&e.loss)), click.May("RATE", click.Bandwidth(&e.rate)),
		click.May("QUEUE", click.IntRange(&e.queue, 1, maxQueue)), click.Key("UP", click.Bool(&e.up)))
}

// Initialize implements click.Initializer.
func (e *Link) Initialize() error {
	e.line.Init(&e.Base, func(b *packet.Batch) {
		e.count += uint64(b.Len())
		for _, p := range b.Packets() {
			e.bytes += uint64(p.Len())
		}
		e.Out(0).Push(b)
	}, nil)
	return nil
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
	now := e.Now()
	if e.loss == 0 && e.rate == 0 && e.delay == 0 && e.line.Len() == 0 {
		e.count += uint64(b.Len())
		for _, p := range b.Packets() {
			e.bytes += uint64(p.Len())
		}
		e.Out(0).Push(b)
		return
	}
	r := e.Router().Rand()
	e.waiting.forget(now)
	for _, p := range b.Packets() {
		if e.loss > 0 && r.Float64() < e.loss {
			e.byLoss++
			e.DropOne(p)
			continue
		}
		sent := now
		if e.rate > 0 {
			if e.waiting.n >= e.queue {
				e.byQueue++
				e.DropOne(p)
				continue
			}
			sent = max(e.busy, now).Add(time.Duration((uint64(p.Len())*1e9 + e.rate - 1) / e.rate))
			e.busy = sent
			e.waiting.add(sent)
		}
		e.line.Put(p, sent.Add(e.delay))
	}
	b.Reset()
}

// takeDown loses everything that is under way.
func (e *Link) takeDown() {
	n := e.line.Clear()
	e.byDown += uint64(n)
	e.CountDrops(n)
	e.waiting, e.busy = sentTimes{ring: e.waiting.ring}, 0
}

// AddHandlers implements click.HandlerAdder.
func (e *Link) AddHandlers(h *click.Handlers) {
	h.Value("delay", func() string { return e.delay.String() }, click.Duration(&e.delay))
	h.Value("loss", func() string { return strconv.FormatFloat(e.loss, 'g', -1, 64) }, click.Fraction(&e.loss))
	h.Value("rate", func() string { return strconv.FormatUint(e.rate, 10) }, click.Bandwidth(&e.rate))
	h.Value("queue", func() string { return strconv.Itoa(e.queue) }, click.IntRange(&e.queue, 1, maxQueue))
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
	h.Read("length", func() string {
		e.waiting.forget(e.Now())
		return strconv.Itoa(e.waiting.n)
	})
	h.Read("flight", func() string { return strconv.Itoa(e.line.Len()) })
	h.Read("drop_details", func() string {
		return fmt.Sprintf("%d loss\n%d queue\n%d down\n", e.byLoss, e.byQueue, e.byDown)
	})
}

// sentTimes is a queue of the times at which packets will have been sent, in order.
type sentTimes struct {
	ring    []clock.Time
	head, n int
}

func (q *sentTimes) add(t clock.Time) {
	if q.n == len(q.ring) {
		bigger := make([]clock.Time, max(64, 2*len(q.ring)))
		for i := range q.n {
			bigger[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = bigger, 0
	}
	q.ring[(q.head+q.n)%len(q.ring)] = t
	q.n++
}

func (q *sentTimes) forget(now clock.Time) {
	for q.n > 0 && q.ring[q.head] <= now {
		q.head = (q.head + 1) % len(q.ring)
		q.n--
	}
}
