package standard

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

// Line holds packets that are to leave at given times, in the order of these times and, among equals, of
// their arrival. It is the delay part of elements such as Link. All methods belong to the worker.
type Line struct {
	el    *click.Base
	heap  []held
	seq   uint64
	out   func(b *packet.Batch)
	room  func()
	timer *click.Timer
	in    bool
}

type held struct {
	at  clock.Time
	seq uint64
	p   *packet.Packet
}

// Init prepares the line in the element's Initialize. out takes the packets that are due; room, which may be
// nil, is called after some have left.
func (l *Line) Init(el *click.Base, out func(b *packet.Batch), room func()) {
	l.el, l.out, l.room = el, out, room
	l.timer = el.NewTimer(l.due)
	l.heap = make([]held, 0, 64)
}

// Len returns how many packets the line holds.
func (l *Line) Len() int { return len(l.heap) }

// Put takes p, which leaves at the given time.
func (l *Line) Put(p *packet.Packet, at clock.Time) {
	l.seq++
	l.heap = append(l.heap, held{at, l.seq, p})
	for i := len(l.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !l.less(i, up) {
			break
		}
		l.heap[i], l.heap[up] = l.heap[up], l.heap[i]
		i = up
	}
	if !l.in && (!l.timer.Pending() || l.timer.At() > l.heap[0].at) {
		l.timer.Set(l.heap[0].at)
	}
}

func (l *Line) less(i, j int) bool {
	a, b := &l.heap[i], &l.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (l *Line) pop() *packet.Packet {
	p := l.heap[0].p
	last := len(l.heap) - 1
	l.heap[0] = l.heap[last]
	l.heap[last] = held{}
	l.heap = l.heap[:last]
	for i := 0; ; {
		m := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(l.heap); c++ {
			if l.less(c, m) {
				m = c
			}
		}
		if m == i {
			return p
		}
		l.heap[i], l.heap[m] = l.heap[m], l.heap[i]
		i = m
	}
}

func (l *Line) due() {
	now := l.el.Now()
	l.in = true
	for len(l.heap) > 0 && l.heap[0].at <= now {
		b := l.el.Thread().Scratch()
		for len(l.heap) > 0 && l.heap[0].at <= now && b.Room() > 0 {
			b.Append(l.pop())
		}
		l.out(b)
		l.el.Thread().Release(b)
	}
	l.in = false
	if len(l.heap) > 0 {
		l.timer.Set(l.heap[0].at)
	}
	if l.room != nil {
		l.room()
	}
}

// Clear frees all packets of the line and returns how many.
func (l *Line) Clear() int {
	n := len(l.heap)
	for i := range l.heap {
		l.el.Cache().Free(l.heap[i].p)
		l.heap[i] = held{}
	}
	l.heap = l.heap[:0]
	if l.timer != nil {
		l.timer.Stop()
	}
	return n
}
