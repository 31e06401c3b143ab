package analysis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AggregateLength", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &AggregateLength{} },
		Doc: click.Doc{
			Group: "analysis", Title: "sets the aggregate annotation to the packet's length",
			Text: "The extra length annotation counts.",
			Args: []string{"IP: Whether the length begins at the network header; packets without one go to output 1 or are dropped. Default false."}, Handlers: []string{},
			Example: "... -> AggregateLength -> AggregateCounter -> ...;", See: []string{"AggregateIP", "AggregateCounter"},
		},
	})
	click.Register(click.Class{
		Name: "AggregatePaint", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &AggregatePaint{} },
		Doc: click.Doc{
			Group: "analysis", Title: "sets the aggregate annotation to the paint annotation",
			Args:    []string{"BITS: Low bits of the paint to take, 1 to 8; default 8.", "INCREMENTAL: Whether they are put behind what the aggregate annotation has, which moves up; default false."},
			Example: "... -> AggregatePaint(2) -> AggregateCounter -> ...;", See: []string{"Paint", "AggregateCounter"},
		},
	})
	click.Register(click.Class{
		Name: "AggregateFilter", Ports: "1/-", Processing: "h", New: func() click.Element { return &AggregateFilter{} },
		Doc: click.Doc{
			Group: "analysis", Title: "sends packets to outputs by their aggregate annotation",
			Text:    "The first rule that has a packet's aggregate decides. Packets of no rule are dropped.",
			Args:    []string{"<rule>...: ACTION AGGREGATES: the action is the number of an output, allow for output 0, or deny or drop; the aggregates are numbers and ranges such as 5-9, or all."},
			Example: "FromDump(trace.pcap, FORCE_IP true) -> AggregateIPFlows -> AggregateFilter(allow 1093 3500 865-972) -> ...;", See: []string{"AggregateIPFlows", "IPFilter"},
		},
	})
	click.Register(click.Class{
		Name: "AggregateFirst", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &AggregateFirst{} },
		Doc: click.Doc{
			Group: "analysis", Title: "lets the first packet of each aggregate through",
			Text:     "The others go to output 1 or are dropped. Without a notifier up to 4,194,304 aggregates are known; packets of further ones count as first.",
			Args:     []string{"NOTIFIER: An element such as AggregateIPFlows that says when an aggregate has ended, so that it can be forgotten."},
			Handlers: []string{"clear (w): Forgets all aggregates."}, Example: "... -> f :: AggregateIPFlows -> AggregateFirst(NOTIFIER f) -> ...;", See: []string{"AggregateLast", "AggregateIPFlows"},
		},
	})
	click.Register(click.Class{
		Name: "AggregateLast", Ports: "1/1-2", Processing: "h", New: func() click.Element { return &AggregateLast{} },
		Doc: click.Doc{
			Group: "analysis", Title: "lets the last packet of each aggregate through",
			Text: "It is held until the notifier says that the aggregate has ended, or clear is written. Its annotations extra packets, extra length and first timestamp then say how many packets and bytes there were before it, and since when. The packets " +
				"before it go to output 1 or are dropped. At most CAPACITY packets are held; when there are more, that of the aggregate seen first leaves.",
			Args: []string{
				"NOTIFIER: An element such as AggregateIPFlows that says when an aggregate has ended.", "STOP_AFTER_CLEAR: Whether to ask the router to stop after clear; default false.", "CAPACITY: Packets to hold; default 16384.",
			},
			Handlers: []string{"clear (w): Emits all packets that are held.", "length (r): Packets held."}, Example: "... -> f :: AggregateIPFlows -> AggregateLast(NOTIFIER f) -> ToIPSummaryDump(-, FIELDS aggregate count);", See: []string{"AggregateFirst", "AggregateIPFlows"},
		},
	})
}

// maxAggregates bounds the aggregates that an element knows.
const maxAggregates = 1 << 22

// notifier tells others of aggregates that begin and end.
type notifier struct {
	listeners []func(aggregate uint32, ended bool)
}

func (n *notifier) listen(fn func(aggregate uint32, ended bool)) {
	n.listeners = append(n.listeners, fn)
}

func (n *notifier) notify(aggregate uint32, ended bool) {
	for _, fn := range n.listeners {
		fn(aggregate, ended)
	}
}

// aggregateNotifier is an element that others may listen to.
type aggregateNotifier interface {
	listen(fn func(aggregate uint32, ended bool))
}

// listener is a NOTIFIER argument: the element is looked for when all are configured.
type listener struct {
	to aggregateNotifier
}

func (l *listener) param() click.Param {
	return click.Key("NOTIFIER", click.Ref(&l.to, "aggregate notifier"))
}

// AggregateLength aggregates by length.
type AggregateLength struct {
	click.Base
	ip bool
}

// Configure implements click.Element.
func (e *AggregateLength) Configure(a *click.Args) { a.Parse(click.Key("IP", click.Bool(&e.ip))) }

// mark sets the annotation and reports whether there is a length.
func (e *AggregateLength) mark(p *packet.Packet) bool {
	n := uint32(p.Len()) + click.ExtraLength(p)
	if e.ip {
		off, ok := p.NetworkOffset()
		if !ok {
			return false
		}
		n -= uint32(off)
	}
	click.SetAggregate(p, n)
	return true
}

// Push implements click.Pusher.
func (e *AggregateLength) Push(_ int, b *packet.Batch) { pushMarked(&e.Base, b, e.mark) }

// Pull implements click.Puller.
func (e *AggregateLength) Pull(_ int, b *packet.Batch, n int) { pullMarked(&e.Base, b, n, e.mark) }

// pushMarked sends packets that mark accepts to output 0 and others to output 1.
func pushMarked(e *click.Base, b *packet.Batch, mark func(p *packet.Packet) bool) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		if !mark(p) {
			ports[i] = 1
		}
	}
	e.Split(b, &ports)
}

// pullMarked pulls packets that mark accepts, and sends others to output 1.
func pullMarked(e *click.Base, b *packet.Batch, n int, mark func(p *packet.Packet) bool) {
	had := b.Len()
	e.In(0).Pull(b, n)
	s := e.Thread().Scratch()
	keep := had
	for i := had; i < b.Len(); i++ {
		if p := b.At(i); mark(p) {
			b.Set(keep, p)
			keep++
		} else {
			s.Append(p)
		}
	}
	b.Truncate(keep)
	e.Forward(1, s)
	e.Thread().Release(s)
}

// AggregatePaint aggregates by paint.
type AggregatePaint struct {
	click.Base
	bits        int
	incremental bool
}

// Configure implements click.Element.
func (e *AggregatePaint) Configure(a *click.Args) {
	e.bits = 8
	a.Parse(click.May("BITS", click.IntRange(&e.bits, 1, 8)), click.Key("INCREMENTAL", click.Bool(&e.incremental)))
}

// Act implements click.Actor.
func (e *AggregatePaint) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		v := uint32(p.Anno.Paint) & (1<<e.bits - 1)
		if e.incremental {
			v |= click.Aggregate(p) << e.bits
		}
		click.SetAggregate(p, v)
	}
}

// span is a range of aggregates and where they go; -1 drops.
type span struct {
	lo, hi uint32
	port   int
}

// AggregateFilter sends packets to outputs.
type AggregateFilter struct {
	click.Base
	spans []span // by lo, apart from each other
}

// Configure implements click.Element.
func (e *AggregateFilter) Configure(a *click.Args) {
	if len(a.List()) == 0 {
		a.Errorf("expected rules: ACTION AGGREGATES")
	}
	for i, arg := range a.List() {
		w := strings.Fields(arg)
		if len(w) < 2 {
			a.Errorf("rule %d: expected ACTION AGGREGATES", i)
			continue
		}
		port := -1
		switch w[0] {
		case "allow":
			port = 0
		case "deny", "drop":
		default:
			n, err := strconv.Atoi(w[0])
			if err != nil || n < 0 || n >= a.Outputs() {
				a.Errorf("rule %d: '%s' is neither allow, deny, drop nor the number of an output", i, w[0])
			}
			port = n
		}
		for _, s := range w[1:] {
			lo, hi, err := aggregates(s)
			switch {
			case err != nil:
				a.Errorf("rule %d: %v", i, err)
			case !e.add(lo, hi, port):
				a.Messagef("warning: rule %d: '%s' is without effect, rules before it have all that", i, s)
			}
		}
		if len(e.spans) > maxAggregates {
			a.Errorf("more than %d ranges", maxAggregates)
			return
		}
	}
}

func aggregates(s string) (lo, hi uint32, err error) {
	if s == "all" || s == "-" {
		return 0, 1<<32 - 1, nil
	}
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 0, 32)
	b, err2 := strconv.ParseUint(to, 0, 32)
	if err1 != nil || err2 != nil || a > b {
		return 0, 0, fmt.Errorf("'%s' is no aggregate, nor a range of them", s)
	}
	return uint32(a), uint32(b), nil
}

// add gives what of a range is not given yet to a port, and reports whether there was something.
func (e *AggregateFilter) add(lo, hi uint32, port int) bool {
	at, some := uint64(lo), false
	i, _ := slices.BinarySearchFunc(e.spans, lo, func(s span, v uint32) int {
		if s.hi < v {
			return -1
		}
		return 1
	})
	for at <= uint64(hi) {
		end := uint64(hi)
		if i < len(e.spans) {
			if uint64(e.spans[i].lo) <= at {
				at = uint64(e.spans[i].hi) + 1
				i++
				continue
			}
			end = min(end, uint64(e.spans[i].lo)-1)
		}
		e.spans = slices.Insert(e.spans, i, span{uint32(at), uint32(end), port})
		at, some = end+1, true
		i++
	}
	return some
}

// Push implements click.Pusher.
func (e *AggregateFilter) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		ports[i] = packet.MaxBatch // no output: dropped
		v := click.Aggregate(p)
		lo, hi := 0, len(e.spans)
		for lo < hi {
			if m := (lo + hi) / 2; e.spans[m].hi < v {
				lo = m + 1
			} else {
				hi = m
			}
		}
		if lo < len(e.spans) && e.spans[lo].lo <= v && e.spans[lo].port >= 0 {
			ports[i] = uint16(e.spans[lo].port)
		}
	}
	e.Split(b, &ports)
}

// AggregateFirst lets the first packets through.
type AggregateFirst struct {
	click.Base
	listener
	known map[uint32]struct{}
}

// Configure implements click.Element.
func (e *AggregateFirst) Configure(a *click.Args) {
	e.known = make(map[uint32]struct{})
	a.Parse(e.param())
}

// Initialize implements click.Initializer.
func (e *AggregateFirst) Initialize() error {
	if e.to != nil {
		e.to.listen(func(n uint32, ended bool) {
			if ended {
				delete(e.known, n)
			}
		})
	}
	return nil
}

func (e *AggregateFirst) mark(p *packet.Packet) bool {
	n := click.Aggregate(p)
	if _, ok := e.known[n]; ok {
		return false
	}
	if len(e.known) < maxAggregates {
		e.known[n] = struct{}{}
	}
	return true
}

// Push implements click.Pusher.
func (e *AggregateFirst) Push(_ int, b *packet.Batch) { pushMarked(&e.Base, b, e.mark) }

// Pull implements click.Puller.
func (e *AggregateFirst) Pull(_ int, b *packet.Batch, n int) { pullMarked(&e.Base, b, n, e.mark) }

// Inherit implements click.Inheritor.
func (e *AggregateFirst) Inherit(old click.Element) error {
	if o, ok := old.(*AggregateFirst); ok {
		e.known, o.known = o.known, e.known
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *AggregateFirst) AddHandlers(h *click.Handlers) {
	h.Write("clear", func(string) error {
		clear(e.known)
		return nil
	})
}

// AggregateLast holds the last packets.
type AggregateLast struct {
	click.Base
	listener
	stop     bool
	capacity int
	held     map[uint32]*packet.Packet
	order    []uint32 // of aggregates as they came; those that are not held any more are passed over
	task     *click.Task
	ended    []*packet.Packet // to leave from the task: a notifier speaks while packets are on their way
}

// Configure implements click.Element.
func (e *AggregateLast) Configure(a *click.Args) {
	e.held, e.capacity = make(map[uint32]*packet.Packet), 16384
	a.Parse(e.param(), click.Key("STOP_AFTER_CLEAR", click.Bool(&e.stop)), click.Key("CAPACITY", click.IntRange(&e.capacity, 1, 1<<20)))
}

// Initialize implements click.Initializer.
func (e *AggregateLast) Initialize() error {
	e.task = e.NewTask(func() (int, bool) {
		n := len(e.ended)
		e.emit()
		return n, false
	})
	if e.to != nil {
		e.to.listen(func(n uint32, ended bool) {
			if ended {
				e.end(n)
				e.task.Schedule()
			}
		})
	}
	return nil
}

func (e *AggregateLast) end(n uint32) {
	if p := e.held[n]; p != nil {
		delete(e.held, n)
		e.ended = append(e.ended, p)
	}
}

// emit sends what has ended.
func (e *AggregateLast) emit() {
	list := e.ended
	e.ended = nil
	s := e.Thread().Scratch()
	for len(list) > 0 {
		for len(list) > 0 && s.Append(list[0]) {
			list = list[1:]
		}
		e.Out(0).Push(s)
	}
	e.Thread().Release(s)
}

// Push implements click.Pusher.
func (e *AggregateLast) Push(_ int, b *packet.Batch) {
	before := e.Thread().Scratch()
	for _, p := range b.Packets() {
		n := click.Aggregate(p)
		old := e.held[n]
		if old == nil {
			e.room()
			if click.FirstTime(p) == 0 {
				click.SetFirstTime(p, p.Anno.Time)
			}
			e.order = append(e.order, n)
		} else {
			click.SetExtraPackets(p, click.ExtraPackets(p)+click.ExtraPackets(old)+1)
			click.SetExtraLength(p, click.ExtraLength(p)+click.ExtraLength(old)+uint32(old.Len()))
			click.SetFirstTime(p, click.FirstTime(old))
			before.Append(old)
		}
		e.held[n] = p
	}
	b.Reset()
	e.Forward(1, before)
	e.Thread().Release(before)
	e.emit()
}

// room makes room for another packet.
func (e *AggregateLast) room() {
	for len(e.held) >= e.capacity && len(e.order) > 0 {
		e.end(e.order[0])
		e.order = e.order[1:]
	}
	if len(e.order) > 2*e.capacity+64 {
		e.order = slices.DeleteFunc(e.order, func(n uint32) bool { return e.held[n] == nil })
	}
}

// Cleanup implements click.Cleaner.
func (e *AggregateLast) Cleanup() {
	for _, p := range e.held {
		e.Cache().Free(p)
	}
	e.Cache().FreeAll(e.ended)
	e.held, e.ended = nil, nil
}

// Inherit implements click.Inheritor.
func (e *AggregateLast) Inherit(old click.Element) error {
	if o, ok := old.(*AggregateLast); ok {
		e.held, o.held = o.held, e.held
		e.order, o.order = o.order, nil
		e.ended, o.ended = o.ended, nil
		e.task.Schedule()
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *AggregateLast) AddHandlers(h *click.Handlers) {
	h.Write("clear", func(string) error {
		for _, n := range e.order {
			e.end(n)
		}
		e.order = nil
		e.emit()
		if e.stop {
			e.Router().RequestStop()
		}
		return nil
	})
	h.Read("length", func() string { return strconv.Itoa(len(e.held) + len(e.ended)) })
}
