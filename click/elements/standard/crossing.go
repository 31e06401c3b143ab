package standard

import (
	"sync/atomic"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

// MayCross implements click.Crosser: not where whoever pushes moves what is already there.
func (e *Queue) MayCross() bool { return !e.kind.front && !e.kind.mixed }

// Cross implements click.Crosser.
func (e *Queue) Cross(from *click.Thread) { e.cross = &crossing{q: e, from: from} }

// crossing is what a queue has whose packets are pushed by another thread than that which pulls them: a ring with one writer at each end, neither of
// which waits for the other.
//
//	from  writes tail, drops and the high-water mark, and has the notifier of room
//	to    (the queue's thread) writes head, and has the notifier of packets
//
// Notifiers are of one thread. Who puts one to sleep says so (hungry, full) and looks once more; the other side, when it has changed something, wakes the
// thread that said so, and that one wakes its notifier (look).
type crossing struct {
	q        *Queue
	from     *click.Thread
	ring     []*packet.Packet // a power of two, at least capacity
	capacity uint64

	_         [64]byte // neither side's writes are to disturb what the other one reads
	head      atomic.Uint64
	vain      int
	hungry    atomic.Bool
	_         [64]byte
	tail      atomic.Uint64
	drops     atomic.Uint64
	highwater atomic.Uint64
	full      atomic.Bool
}

// init makes the ring. In Initialize.
func (c *crossing) init(q *Queue) {
	c.resize()
	c.hungry.Store(true)
	q.room.Set(q.capacity > 0)
	q.Thread().Look(func() {
		if q.empty.Awake() {
			return
		}
		c.hungry.Store(true) // who woke us may have done so for a packet that had been pulled already
		if c.len() > 0 {
			c.hungry.Store(false)
			c.vain = 0
			q.empty.Wake()
		}
	})
	c.from.Look(func() {
		if q.room.Awake() {
			return
		}
		c.full.Store(true)
		if c.room() > 0 {
			c.full.Store(false)
			q.room.Wake()
		}
	})
}

func (c *crossing) len() int { return int(c.tail.Load() - c.head.Load()) }

func (c *crossing) room() int { return max(int(c.capacity)-c.len(), 0) }

func (c *crossing) at(i uint64) **packet.Packet { return &c.ring[i&uint64(len(c.ring)-1)] }

// push is Push of the queue, on the thread from.
func (c *crossing) push(b *packet.Batch) {
	pk, tail := b.Packets(), c.tail.Load()
	n := min(len(pk), c.room())
	for i, p := range pk[:n] {
		*c.at(tail + uint64(i)) = p
	}
	c.tail.Store(tail + uint64(n))
	if l := uint64(c.len()); l > c.highwater.Load() {
		c.highwater.Store(l)
	}
	if n > 0 && c.hungry.Load() && c.hungry.CompareAndSwap(true, false) {
		c.q.Thread().Task().Wake()
	}
	if n < len(pk) {
		c.drops.Add(uint64(len(pk) - n))
		if c.q.Outputs() > 1 {
			s := c.from.Scratch()
			for _, p := range pk[n:] {
				s.Append(p)
			}
			c.q.Out(1).Push(s)
			c.from.Release(s)
		} else {
			c.from.Cache().FreeAll(pk[n:])
		}
	}
	b.Reset()
	if c.q.kind.full && c.room() == 0 {
		c.q.room.Sleep()
		c.full.Store(true)
		if c.room() > 0 && c.full.CompareAndSwap(true, false) {
			c.q.room.Wake()
		}
	}
}

// pull is Pull of the queue, on its own thread.
func (c *crossing) pull(b *packet.Batch, n int) {
	head := c.head.Load()
	n = min(n, int(c.tail.Load()-head))
	for i := range uint64(n) {
		p := c.at(head + i)
		b.Append(*p)
		*p = nil
	}
	c.head.Store(head + uint64(n))
	if n > 0 {
		c.vain = 0
		// Not for every packet: half of the queue is worth waking somebody.
		if c.full.Load() && uint64(c.len()) <= c.capacity/2 && c.full.CompareAndSwap(true, false) {
			c.from.Task().Wake()
		}
	}
	if n > 0 && !c.q.kind.quick || !c.q.kind.empty || c.len() > 0 {
		return
	}
	if c.vain++; c.vain >= patience || c.q.kind.quick {
		c.q.empty.Sleep()
		c.hungry.Store(true)
		if c.len() > 0 && c.hungry.CompareAndSwap(true, false) {
			c.q.empty.Wake()
		}
	}
}

// The rest is for when neither thread runs.

func (c *crossing) put(p *packet.Packet) {
	*c.at(c.tail.Load()) = p
	c.tail.Add(1)
}

func (c *crossing) take() *packet.Packet {
	s := c.at(c.head.Load())
	p := *s
	*s = nil
	c.head.Add(1)
	return p
}

// notify makes both threads look.
func (c *crossing) notify() {
	c.hungry.Store(true)
	c.q.Thread().Task().Wake()
	c.from.Task().Wake()
}

// resize makes room for as many packets as the queue's capacity says, and drops what does not fit from the end.
func (c *crossing) resize() {
	c.capacity = uint64(c.q.capacity)
	n := uint64(1)
	for n < c.capacity {
		n *= 2
	}
	ring, k := make([]*packet.Packet, n), uint64(0)
	for c.len() > 0 {
		if p := c.take(); k < c.capacity {
			ring[k] = p
			k++
		} else {
			c.drops.Add(1)
			c.q.Cache().Free(p)
		}
	}
	c.ring = ring
	c.head.Store(0)
	c.tail.Store(k)
}
