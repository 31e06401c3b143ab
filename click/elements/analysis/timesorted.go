package analysis

import (
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "TimeSortedSched", Ports: "-/1", Processing: "l", New: func() click.Element { return &TimeSortedSched{} },
		Doc: click.Doc{
			Group: "analysis", Title: "merges streams of packets in the order of their timestamps",
			Text: "Each input's packets are expected in the order of their timestamps, or at most BUFFER - 1 packets out of it. Up to BUFFER packets of each input are held; the one with the least timestamp leaves first.",
			Args: []string{
				"STOP: Whether to ask the router to stop when no packets are there and no notifier says that there will be; default false.", "BUFFER: Packets to hold of each input; default 1.",
			},
			Handlers: []string{"well_ordered (r): Whether timestamps have only grown at the output."},
			Example:  "tss :: TimeSortedSched(STOP true); FromDump(a.pcap) -> [0] tss; FromDump(b.pcap) -> [1] tss; tss -> ToDump(both.pcap);", See: []string{"FromDump", "PrioSched"},
		},
	})
}

// TimeSortedSched merges streams.
type TimeSortedSched struct {
	click.Base
	stop    bool
	buffer  int
	signals []*click.Signal
	empty   click.Notifier
	held    [][]*packet.Packet // of each input, by time
	last    int64
	ordered bool
	asked   bool // to stop, since the last packet
}

// Configure implements click.Element.
func (e *TimeSortedSched) Configure(a *click.Args) {
	e.buffer, e.ordered = 1, true
	a.Parse(click.Key("STOP", click.Bool(&e.stop)), click.Key("BUFFER", click.IntRange(&e.buffer, 1, 1<<16)))
}

// Initialize implements click.Initializer.
func (e *TimeSortedSched) Initialize() error {
	e.held = make([][]*packet.Packet, e.Inputs())
	for i := range e.held {
		e.signals = append(e.signals, e.WatchEmpty(i, e.empty.Wake))
		e.held[i] = make([]*packet.Packet, 0, e.buffer)
	}
	e.empty.Wake()
	return nil
}

// EmptyNotifier implements click.EmptyNotifying.
func (e *TimeSortedSched) EmptyNotifier(int) *click.Notifier { return &e.empty }

// Pull implements click.Puller.
func (e *TimeSortedSched) Pull(_ int, b *packet.Batch, n int) {
	s := e.Thread().Scratch()
	defer e.Thread().Release(s)
	for range n {
		best := -1
		var least int64
		for i := range e.held {
			e.fill(i, s)
			if len(e.held[i]) > 0 {
				if t := e.time(e.held[i][0]); best < 0 || t < least {
					best, least = i, t
				}
			}
		}
		if best < 0 {
			break
		}
		e.asked = false
		if least < e.last {
			e.ordered = false
		}
		e.last = least
		h := e.held[best]
		b.Append(h[0])
		e.held[best] = append(h[:0], h[1:]...)
	}
	e.settle()
}

func (e *TimeSortedSched) time(p *packet.Packet) int64 { return e.Router().WallOf(p.Anno.Time) }

// fill pulls as many packets of an input as are to be held.
func (e *TimeSortedSched) fill(i int, s *packet.Batch) {
	for len(e.held[i]) < e.buffer && e.signals[i].Active() && e.In(i).Pull(s, e.buffer-len(e.held[i])) > 0 {
		for _, p := range s.Packets() {
			h := append(e.held[i], p)
			t := e.time(p)
			j := len(h) - 1
			for ; j > 0 && e.time(h[j-1]) > t; j-- {
				h[j] = h[j-1]
			}
			h[j] = p
			e.held[i] = h
		}
		s.Reset()
	}
}

// settle says whether it is worth pulling again, and asks the router to stop if not.
func (e *TimeSortedSched) settle() {
	for i := range e.held {
		if len(e.held[i]) > 0 || e.signals[i].Active() {
			return
		}
	}
	e.empty.Sleep()
	if e.stop && !e.asked {
		e.asked = true
		e.Router().RequestStop()
	}
}

// Inherit implements click.Inheritor: packets that are held stay.
func (e *TimeSortedSched) Inherit(old click.Element) error {
	o, ok := old.(*TimeSortedSched)
	if !ok {
		return nil
	}
	e.last, e.ordered = o.last, o.ordered
	for i := range min(len(e.held), len(o.held)) {
		e.held[i], o.held[i] = o.held[i], nil
	}
	return nil
}

// Cleanup implements click.Cleaner.
func (e *TimeSortedSched) Cleanup() {
	for _, h := range e.held {
		e.Cache().FreeAll(h)
	}
	e.held = nil
}

// AddHandlers implements click.HandlerAdder.
func (e *TimeSortedSched) AddHandlers(h *click.Handlers) {
	h.Read("well_ordered", func() string { return strconv.FormatBool(e.ordered) })
}
