package standard

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "RED", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &RED{} },
		Doc: click.Doc{
			Group: "shaping", Title: "drops packets at random as queues grow",
			Text: "Random early detection (Floyd and Jacobson 1993): it averages the sum of the lengths of its queues, the nearest ones downstream where it pushes and upstream where it pulls. " +
				"Up to MIN_THRESH nothing is dropped, from there to MAX_THRESH packets are dropped with a probability that grows to MAX_P, " +
				"from there to twice MAX_THRESH, if it is gentle, with one that grows to 1, and beyond all are. Dropped packets go to output 1 if that is connected.",
			Args: []string{
				"MIN_THRESH: Packets.", "MAX_THRESH: Packets, at least MIN_THRESH.", "MAX_P: Probability at MAX_THRESH.",
				"QUEUES: Names of the queues, apart by spaces, instead of the nearest ones.",
				"STABILITY: The average follows each packet by 1/2^STABILITY of the difference; 0 takes the length as it is; default 4.",
				"GENTLE: Default true.",
			},
			Handlers: []string{
				"min_thresh (rw): The MIN_THRESH argument.", "max_thresh (rw): The MAX_THRESH argument.", "max_p (rw): The MAX_P argument.",
				"drops (r): Packets dropped or sent to output 1.", "queues (r): The queues, one a line.", "avg_queue_size (r): The average.", "stats (r): All of these to read.",
			},
			Example: "... -> RED(5, 50, 0.02) -> Queue(200) -> ...;", See: []string{"Queue"},
		},
	})
}

// RED drops early.
type RED struct {
	click.Base
	least, most int
	p           float64
	stability   int
	gentle      bool
	named       []storage
	queues      []storage
	average     float64
	since       int // packets since the last drop
	drops       uint64
}

// storage is what holds packets for others: a Queue.
type storage interface {
	click.Element
	Name() string
	Len() int
}

// Configure implements click.Element.
func (e *RED) Configure(a *click.Args) {
	e.stability, e.gentle = 4, true
	var names string
	if !a.Parse(click.Must("MIN_THRESH", click.IntRange(&e.least, 0, maxQueue)), click.Must("MAX_THRESH", click.IntRange(&e.most, 0, maxQueue)),
		click.Must("MAX_P", click.Fraction(&e.p)), click.Key("QUEUES", click.Text(&names)),
		click.Key("STABILITY", click.IntRange(&e.stability, 0, 31)), click.Key("GENTLE", click.Bool(&e.gentle))) {
		return
	}
	if e.most < e.least {
		a.Errorf("MAX_THRESH: must be at least MIN_THRESH")
	}
	for _, w := range lang.SplitWords(names) {
		var q storage
		if err := click.Ref(&q, "queue")(w, a); err != nil {
			a.Errorf("QUEUES: %v", err)
			continue
		}
		e.named = append(e.named, q)
	}
}

// Initialize implements click.Initializer.
func (e *RED) Initialize() error {
	e.queues = e.named
	if len(e.queues) == 0 {
		visit := func(el click.Element, _ int) bool {
			q, ok := el.(storage)
			if ok {
				e.queues = append(e.queues, q)
			}
			return !ok
		}
		if e.OutputKind(0) == click.PushKind {
			e.Downstream(0, visit)
		} else {
			e.Upstream(0, visit)
		}
	}
	if len(e.queues) == 0 {
		return fmt.Errorf("no queue is near it; connect it to one or name one in QUEUES")
	}
	return nil
}

// Inherit implements click.Inheritor: the average goes on.
func (e *RED) Inherit(old click.Element) error {
	if o, ok := old.(*RED); ok {
		e.average, e.since, e.drops = o.average, o.since, o.drops
	}
	return nil
}

// Reconfigure implements click.Reconfigurer.
func (e *RED) Reconfigure(from click.Element) error {
	o := from.(*RED)
	e.least, e.most, e.p, e.stability, e.gentle = o.least, o.most, o.p, o.stability, o.gentle
	if len(o.named) > 0 {
		e.queues = o.named
	}
	return nil
}

// drop decides about one packet.
func (e *RED) drop(length int) bool {
	e.average += (float64(length) - e.average) / float64(uint64(1)<<e.stability)
	least, most := float64(e.least), float64(e.most)
	var p float64
	switch {
	case e.average <= least:
		e.since = 0
		return false
	case e.average <= most:
		p = e.p * (e.average - least) / max(most-least, 1)
	case e.gentle && e.average < 2*most:
		p = e.p + (1-e.p)*(e.average-most)/most
	default:
		e.since = 0
		return true
	}
	// Equal distances between drops rather than independent ones: the probability grows with the packets that have passed.
	e.since++
	if q := 1 - float64(e.since)*p; q > 0 {
		p = min(p/q, 1)
	} else {
		p = 1
	}
	if p == 0 || e.Rand().Float64() >= p {
		return false
	}
	e.since = 0
	return true
}

// Act implements click.Actor.
func (e *RED) Act(b *packet.Batch) {
	length := 0
	for _, q := range e.queues {
		length += q.Len()
	}
	push := e.OutputKind(0) == click.PushKind
	b.Keep(func(p *packet.Packet) bool {
		if e.drop(length) {
			e.drops++
			if e.Outputs() > 1 {
				e.ForwardOne(1, p)
			} else {
				e.Cache().Free(p)
			}
			return false
		}
		if push {
			length++ // it will be in the queue before the next one
		}
		return true
	})
}

func (e *RED) queueNames() string {
	var s strings.Builder
	for _, q := range e.queues {
		s.WriteString(q.Name() + "\n")
	}
	return s.String()
}

func decimals(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

// AddHandlers implements click.HandlerAdder.
func (e *RED) AddHandlers(h *click.Handlers) {
	h.Keyword("min_thresh", "MIN_THRESH", func() string { return strconv.Itoa(e.least) })
	h.Keyword("max_thresh", "MAX_THRESH", func() string { return strconv.Itoa(e.most) })
	h.Keyword("max_p", "MAX_P", func() string { return strconv.FormatFloat(e.p, 'g', -1, 64) })
	h.Count("drops", &e.drops)
	h.Read("queues", e.queueNames)
	h.Read("avg_queue_size", func() string { return decimals(e.average) })
	h.Read("stats", func() string {
		n := 0
		for _, q := range e.queues {
			n += q.Len()
		}
		return fmt.Sprintf("%d current queue\n%s avg queue\n%d drops\n", n, decimals(e.average), e.drops)
	})
}
