package standard

import (
	"fmt"
	"math"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "StrideSched", Ports: "1-/1", Processing: "l", New: func() click.Element { return &StrideSched{} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls from its inputs in proportion to tickets",
			Text:     "An input that has nothing is passed over and gets nothing back for that later.",
			Args:     []string{"<TICKETS>...: For each input, from 0; more than 65536 count as so many. An input with 0 is never pulled from."},
			Handlers: []string{"tickets0 (rw): Tickets of an input; there is one handler for each."},
			Example:  "gold, silver => StrideSched(3, 1) -> ToDevice(eth0);", See: []string{"PrioSched", "RoundRobinSched", "DRRSched", "StrideSwitch"},
		},
	})
	click.Register(click.Class{
		Name: "StrideSwitch", Ports: "1/1-", Processing: "h", New: func() click.Element { return &StrideSwitch{} },
		Doc: click.Doc{
			Group: "standard", Title: "sends packets to its outputs in proportion to tickets",
			Args:     []string{"<TICKETS>...: For each output, from 0; more than 65536 count as so many. An output with 0 gets no packets."},
			Handlers: []string{"tickets0 (rw): Tickets of an output; there is one handler for each."},
			Example:  "... -> s :: StrideSwitch(3, 1); s[0] -> ...; s[1] -> ...;", See: []string{"RoundRobinSwitch", "Switch", "HashSwitch", "RandomSwitch", "StrideSched"},
		},
	})
	click.Register(click.Class{
		Name: "DRRSched", Ports: "1-/1", Processing: "l", New: func() click.Element { return &DRRSched{} },
		Doc: click.Doc{
			Group: "standard", Title: "pulls from its inputs so that each gets as many bytes",
			Text: "Deficit round robin: in each round an input may send QUANTUM bytes and what it has left from the round before; an input that has nothing loses what is left. " +
				"It holds the packet that each input sends next.",
			Args:    []string{"QUANTUM: Bytes that an input gets in a round; default 500."},
			Example: "a, b => DRRSched(1500) -> ToDevice(eth0);", See: []string{"PrioSched", "RoundRobinSched", "StrideSched"},
		},
	})
}

const (
	stride1    = 1 << 32
	maxTickets = 1 << 16
)

// strides is the stride scheduler of both elements: the port with the least pass is next.
type strides struct {
	tickets []int
	pass    []uint64
	now     uint64 // pass of the port that was next last
}

func (k *strides) configure(a *click.Args, ports int, what string) {
	k.pass = make([]uint64, ports)
	for i, s := range a.List() {
		n := 0
		if err := click.IntRange(&n, 0, math.MaxInt)(s, a); err != nil {
			a.Errorf("TICKETS %d: %v", i, err)
		}
		if n > maxTickets {
			a.Messagef("warning: %s %d: %d tickets are more than count, reduced to %d", what, i, n, maxTickets)
			n = maxTickets
		}
		k.tickets = append(k.tickets, n)
	}
	if len(k.tickets) != ports {
		a.Errorf("%d numbers of tickets are given, it has %d %ss", len(k.tickets), ports, what)
		k.tickets = make([]int, ports)
	}
	for i := range k.pass {
		k.pass[i] = k.stride(i)
	}
}

func (k *strides) stride(i int) uint64 { return stride1 / uint64(max(k.tickets[i], 1)) }

// next returns the port with the least pass among those that may be used, or -1; the first of equal ones.
func (k *strides) next(may func(i int) bool) int {
	best := -1
	for i, n := range k.tickets {
		if n > 0 && (best < 0 || k.pass[i] < k.pass[best]) && may(i) {
			best = i
		}
	}
	return best
}

// used moves a port on. Those that could not be used lose their turns, so that they do not make up for them later.
func (k *strides) used(i int) {
	k.now = k.pass[i]
	k.pass[i] += k.stride(i)
}

// handlers adds tickets0 and so on.
func (k *strides) handlers(h *click.Handlers) {
	for i := range k.tickets {
		h.Value(fmt.Sprintf("tickets%d", i), func() string { return strconv.Itoa(k.tickets[i]) }, after(click.IntRange(&k.tickets[i], 0, maxTickets), func() {
			k.pass[i] = k.now + k.stride(i)
		}))
	}
}

// StrideSched pulls by tickets.
type StrideSched struct {
	click.Base
	strides
	signals []*click.Signal
	tried   []bool
}

// Configure implements click.Element.
func (e *StrideSched) Configure(a *click.Args) { e.configure(a, e.Inputs(), "input") }

// Initialize implements click.Initializer.
func (e *StrideSched) Initialize() error {
	e.signals = signals(&e.Base)
	e.tried = make([]bool, e.Inputs())
	return nil
}

// Reconfigure implements click.Reconfigurer.
func (e *StrideSched) Reconfigure(from click.Element) error {
	e.strides = from.(*StrideSched).strides
	return nil
}

// Pull implements click.Puller.
func (e *StrideSched) Pull(_ int, b *packet.Batch, n int) {
	for n > 0 {
		clear(e.tried)
		i := e.next(e.may)
		for i >= 0 && e.In(i).Pull(b, 1) == 0 {
			e.tried[i] = true
			i = e.next(e.may)
		}
		if i < 0 {
			return
		}
		for j := range e.pass { // those that had nothing do not make up for it later
			if e.tried[j] {
				e.pass[j] = max(e.pass[j], e.pass[i])
			}
		}
		e.used(i)
		n--
	}
}

// may reports whether it is worth pulling from an input.
func (e *StrideSched) may(i int) bool {
	if !e.tried[i] && !e.signals[i].Active() {
		e.tried[i] = true
	}
	return !e.tried[i]
}

// AddHandlers implements click.HandlerAdder.
func (e *StrideSched) AddHandlers(h *click.Handlers) { e.handlers(h) }

// StrideSwitch pushes by tickets.
type StrideSwitch struct {
	click.Base
	strides
}

// Configure implements click.Element.
func (e *StrideSwitch) Configure(a *click.Args) { e.configure(a, e.Outputs(), "output") }

// Reconfigure implements click.Reconfigurer.
func (e *StrideSwitch) Reconfigure(from click.Element) error {
	e.strides = from.(*StrideSwitch).strides
	return nil
}

// Push implements click.Pusher.
func (e *StrideSwitch) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for j := range b.Len() {
		i := e.next(always)
		if i < 0 {
			e.Drop(b)
			return
		}
		ports[j] = uint16(i)
		e.used(i)
	}
	e.Split(b, &ports)
}

func always(int) bool { return true }

// AddHandlers implements click.HandlerAdder.
func (e *StrideSwitch) AddHandlers(h *click.Handlers) { e.handlers(h) }

// DRRSched pulls by bytes.
type DRRSched struct {
	click.Base
	quantum int
	heads   []*packet.Packet // next of each input, pulled already
	deficit []int
	at      int  // the input whose turn it is
	begun   bool // it has got its quantum
	signals []*click.Signal
	note    click.Notifier
}

// Configure implements click.Element.
func (e *DRRSched) Configure(a *click.Args) {
	e.quantum = 500
	a.Parse(click.May("QUANTUM", click.IntRange(&e.quantum, 1, 1<<24)))
}

// Initialize implements click.Initializer.
func (e *DRRSched) Initialize() error {
	for i := range e.Inputs() {
		e.signals = append(e.signals, e.WatchEmpty(i, e.note.Wake))
	}
	e.note.Wake()
	e.heads, e.deficit = make([]*packet.Packet, e.Inputs()), make([]int, e.Inputs())
	return nil
}

// Reconfigure implements click.Reconfigurer.
func (e *DRRSched) Reconfigure(from click.Element) error {
	e.quantum = from.(*DRRSched).quantum
	return nil
}

// Inherit implements click.Inheritor: packets that were pulled are kept.
func (e *DRRSched) Inherit(old click.Element) error {
	o, ok := old.(*DRRSched)
	for i := 0; ok && i < min(len(e.heads), len(o.heads)); i++ {
		e.heads[i], o.heads[i], e.deficit[i] = o.heads[i], nil, o.deficit[i]
	}
	return nil
}

// Cleanup implements click.Cleaner.
func (e *DRRSched) Cleanup() {
	for i, p := range e.heads {
		if p != nil {
			e.Cache().Free(p)
			e.heads[i] = nil
		}
	}
}

// head makes heads[i] the next packet of an input and reports whether there is one.
func (e *DRRSched) head(i int) bool {
	if e.heads[i] == nil && e.signals[i].Active() {
		b := e.Thread().Scratch()
		if e.In(i).Pull(b, 1) > 0 {
			e.heads[i] = b.At(0)
			b.Reset()
		}
		e.Thread().Release(b)
	}
	return e.heads[i] != nil
}

// Pull implements click.Puller.
func (e *DRRSched) Pull(_ int, b *packet.Batch, n int) {
	for idle := 0; n > 0 && idle < e.Inputs(); {
		i := e.at
		if !e.head(i) {
			e.deficit[i] = 0
			e.turn()
			idle++
			continue
		}
		if !e.begun {
			e.begun = true
			e.deficit[i] += e.quantum
		}
		idle = 0
		if size := e.heads[i].Len(); size <= e.deficit[i] {
			e.deficit[i] -= size
			b.Append(e.heads[i])
			e.heads[i] = nil
			n--
			continue
		}
		e.turn()
	}
	if n > 0 { // all inputs had nothing
		awake := false
		for _, s := range e.signals {
			awake = awake || s.Active()
		}
		e.note.Set(awake)
	}
}

func (e *DRRSched) turn() {
	e.begun = false
	if e.at++; e.at == e.Inputs() {
		e.at = 0
	}
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *DRRSched) EmptyNotifier(int) *click.Notifier { return &e.note }
