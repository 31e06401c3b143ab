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
	slots []slot
	_     [40]byte
	head  atomic.Uint64 // next to take
	_     [56]byte
	tail  atomic.Uint64 // next to put
}

type slot struct {
	seq atomic.Uint64
	p   *packet.Packet
}

// newRing makes a ring of at least n slots.
func newRing(n int) *ring {
	size := uint64(2)
	for size < uint64(n) {
		size *= 2
	}
	r := &ring{mask: size - 1, slots: make([]slot, size)}
	for i := range r.slots {
		r.slots[i].seq.Store(uint64(i))
	}
	return r
}

func (r *ring) put(p *packet.Packet) bool {
	for {
		t := r.tail.Load()
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

func (r *ring) take() *packet.Packet {
	for {
		h := r.head.Load()
		s := &r.slots[h&r.mask]
		switch d := int64(s.seq.Load() - h - 1); {
		case d == 0:
			if r.head.CompareAndSwap(h, h+1) {
				p := s.p
				s.p = nil
				s.seq.Store(h + r.mask + 1)
				return p
			}
		case d < 0:
			return nil
		}
	}
}

func (r *ring) len() int { return int(r.tail.Load() - r.head.Load()) }
