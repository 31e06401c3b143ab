package mem

import "sync/atomic"

// queue is a bounded ring of frame copies from any number of senders to one receiver, without locks: each slot's
// sequence number says whose turn it is (after D. Vyukov's bounded queue). A slot's memory is
// allocated when it is first used and kept.
type queue struct {
	mask  uint64
	size  uint64 // frames allowed, at most mask+1
	slots []slot
	_     [32]byte
	head  atomic.Uint64 // next to take; the receiver's
	_     [56]byte
	tail  atomic.Uint64 // next to put
}

type slot struct {
	seq atomic.Uint64
	buf []byte
}

func newQueue(n int) *queue {
	size := uint64(1)
	for size < uint64(n) {
		size *= 2
	}
	q := &queue{mask: size - 1, size: uint64(n), slots: make([]slot, size)}
	for i := range q.slots {
		q.slots[i].seq.Store(uint64(i) << 1)
	}
	return q
}

// The sequence of slot i: 2*turn when free for the put with number turn, 2*turn+1 when it holds that frame.

// put copies frame into the queue; false when it is full.
func (q *queue) put(frame []byte) bool {
	for {
		t := q.tail.Load()
		if t-q.head.Load() >= q.size {
			return false
		}
		s := &q.slots[t&q.mask]
		if s.seq.Load() != t<<1 {
			if q.tail.Load() == t {
				return false // the receiver has not given the slot back yet
			}
			continue
		}
		if q.tail.CompareAndSwap(t, t+1) {
			s.buf = append(s.buf[:0], frame...)
			s.seq.Store(t<<1 + 1)
			return true
		}
	}
}

// peek returns the oldest frame, valid until pop, or nil.
func (q *queue) peek() []byte {
	h := q.head.Load()
	s := &q.slots[h&q.mask]
	if s.seq.Load() != h<<1+1 {
		return nil
	}
	return s.buf
}

// pop removes the frame that peek returned.
func (q *queue) pop() {
	h := q.head.Load()
	q.slots[h&q.mask].seq.Store((h + q.mask + 1) << 1)
	q.head.Store(h + 1)
}
