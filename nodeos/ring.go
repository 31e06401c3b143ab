package nodeos

import (
	"sync/atomic"

	"github.com/janos-os/janos/packet"
)

// ring is a bounded queue of packets between workers: any number may put and any number
// may take, without locks (Vyukov's bounded queue: each slot has a sequence number that says
// whose turn it is).
type ring struct {
	mask  uint64
	limit int64 // packets at most
	slots []slot
	_     [32]byte
	head  atomic.Uint64 // next to take
	_     [56]byte
	tail  atomic.Uint64 // next to put
}

type slot struct {
	seq atomic.Uint64
	p   *packet.Packet
}

// newRing makes a ring that holds n packets.
func newRing(n int) *ring {
	size := uint64(2)
	for size < uint64(n) {
		size *= 2
	}
	r := &ring{mask: size - 1, limit: int64(n), slots: make([]slot, size)}
	for i := range r.slots {
		r.slots[i].seq.Store(uint64(i))
	}
	return r
}

func (r *ring) put(p *packet.Packet) bool {
	for {
		t := r.tail.Load()
		// Only takers move the head, and another putter would have moved the tail, so there are not more than this.
		if int64(t-r.head.Load()) >= r.limit {
			return false
		}
		s := &r.slots[t&r.mask]
		switch d := int64(s.seq.Load() - t); {
		case d == 0:
			if r.tail.CompareAndSwap(t, t+1) {
				s.p = p
				s.seq.Store(t + 1)
				return true
			}
		case d < 0:
			return false
		}
	}
}

// putAll puts as many of ps as there is room for, the first ones, one after the other, and returns how many. What it does is before what the
// caller does next, for all processors.
func (r *ring) putAll(ps []*packet.Packet) int {
	for len(ps) > 0 {
		t := r.tail.Load()
		want := min(r.limit-int64(t-r.head.Load()), int64(len(ps)))
		n := uint64(0)
		for int64(n) < want && r.slots[(t+n)&r.mask].seq.Load() == t+n {
			n++
		}
		if n == 0 {
			if want > 0 && r.tail.Load() != t {
				continue // another putter was faster
			}
			break // full, or a taker has not left the slot yet
		}
		if !r.tail.CompareAndSwap(t, t+n) {
			continue
		}
		last := t + n - 1
		for i := t; i < last; i++ { // they are ours, and empty
			s := &r.slots[i&r.mask]
			s.p = ps[i-t]
			s.turn(i + 1)
		}
		s := &r.slots[last&r.mask]
		s.p = ps[n-1]
		s.seq.Store(last + 1)
		return int(n)
	}
	return 0
}

func (r *ring) take() *packet.Packet {
	for {
		h := r.head.Load()
		s := &r.slots[h&r.mask]
		switch d := int64(s.seq.Load() - h - 1); {
		case d == 0:
			if r.head.CompareAndSwap(h, h+1) {
				p := s.p
				s.seq.Store(h + r.mask + 1)
				return p
			}
		case d < 0:
			return nil
		}
	}
}

// takeAll moves packets to b until it is full, and returns how many.
func (r *ring) takeAll(b *packet.Batch) (taken int) {
	for room := uint64(b.Room()); room > 0; {
		h, n := r.head.Load(), uint64(0)
		for n < room && r.slots[(h+n)&r.mask].seq.Load() == h+n+1 {
			n++
		}
		if n == 0 {
			if r.head.Load() == h {
				break
			}
			continue // another taker was faster
		}
		if !r.head.CompareAndSwap(h, h+n) {
			continue
		}
		for i := h; i < h+n; i++ { // they are ours, and full
			s := &r.slots[i&r.mask]
			b.Append(s.p) // which stays in the slot: packets are the pool's and need not be forgotten
			s.turn(i + r.mask + 1)
		}
		taken += int(n)
		room -= n
	}
	return taken
}

// len returns how many packets are in the ring.
func (r *ring) len() int {
	for {
		h := r.head.Load()
		if n := r.tail.Load() - h; r.head.Load() == h {
			return int(n)
		}
	}
}
