package nodeosabi

// A queue of a channel's packets between the host and guests. Any number may put, one takes at a time. Neither side takes a lock of the other (Vyukov's bounded
// queue: each slot has a sequence number that says whose turn it is).
//
//	in-channel   put by the host's task (and by hand_off), taken by guests, one at a time by takers
//	out-channel  put by guests, taken by the host's task

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Queue holds packets of a channel between the host and guests.
type Queue struct {
	slots []slot
	mask  uint64
	limit uint64 // packets at most
	snap  int    // bytes kept of each

	takers sync.Mutex // among guests
	head   atomic.Uint64
	tail   atomic.Uint64
	closed atomic.Bool
	short  atomic.Bool // somebody found no room
	bell   bell
}

type slot struct {
	seq  atomic.Uint64
	meta Meta
	data []byte // its capacity is reserved
}

// slotOverhead is charged for each slot besides its bytes.
const slotOverhead = 128

// queueBytes is what a queue takes.
func queueBytes(quota, snap int) int64 {
	return int64(slotsFor(quota)) * int64(snap+slotOverhead)
}

func slotsFor(quota int) int {
	n := 2
	for n < quota {
		n *= 2
	}
	return n
}

func newQueue(quota, snap int) *Queue {
	n := slotsFor(quota)
	q := &Queue{slots: make([]slot, n), mask: uint64(n - 1), limit: uint64(quota), snap: snap}
	all := make([]byte, n*snap)
	for i := range q.slots {
		q.slots[i].seq.Store(uint64(i))
		q.slots[i].data = all[i*snap : i*snap : (i+1)*snap]
	}
	return q
}

// Len returns how many packets there are.
func (q *Queue) Len() int { return int(max(0, int64(q.tail.Load()-q.head.Load()))) }

// Snap returns how many bytes of a packet are kept.
func (q *Queue) Snap() int { return q.snap }

func (q *Queue) room() bool { return uint64(q.Len()) < q.limit }

// put queues a copy of data, cut to what is kept, and reports whether there was room. It rings nobody.
func (q *Queue) put(data []byte, m *Meta) bool {
	for {
		t := q.tail.Load()
		if int64(t-q.head.Load()) >= int64(q.limit) {
			return false
		}
		s := &q.slots[t&q.mask]
		switch d := int64(s.seq.Load() - t); {
		case d == 0:
			if q.tail.CompareAndSwap(t, t+1) {
				s.meta = *m
				s.meta.Length = len(data)
				s.data = append(s.data[:0], data[:min(len(data), q.snap)]...)
				s.seq.Store(t + 1)
				return true
			}
		case d < 0:
			return false
		}
	}
}

// First returns the oldest packet, or nil: its bytes, of which there may have been more (Meta.Length), until Pop. It belongs to who takes.
func (q *Queue) First() ([]byte, *Meta) {
	h := q.head.Load()
	s := &q.slots[h&q.mask]
	if s.seq.Load() != h+1 {
		return nil, nil
	}
	return s.data, &s.meta
}

// Pop removes what First has returned.
func (q *Queue) Pop() {
	h := q.head.Load()
	s := &q.slots[h&q.mask]
	q.head.Store(h + 1)
	s.seq.Store(h + uint64(len(q.slots)))
}

// Taken tells those who wait for room, after some Pops.
func (q *Queue) Taken() { q.bell.ring() }

// bell wakes those who wait for something. Who rings takes no lock: the list is replaced whole by those who come and go.
type bell struct {
	mu  sync.Mutex // among those
	who atomic.Pointer[[]*waiting]
}

// waiting is a call that waits.
type waiting struct {
	ready atomic.Bool
	poke  func()
}

func (b *bell) add(w *waiting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []*waiting{w}
	if old := b.who.Load(); old != nil {
		list = append(list, *old...)
	}
	b.who.Store(&list)
}

func (b *bell) remove(w *waiting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.who.Load()
	if old == nil { // a call that waits for one thing twice has been here
		return
	}
	list := slices.DeleteFunc(slices.Clone(*old), func(o *waiting) bool { return o == w })
	if len(list) == 0 {
		b.who.Store(nil)
		return
	}
	b.who.Store(&list)
}

// ring wakes all of them. One who has just left is woken for nothing.
func (b *bell) ring() {
	list := b.who.Load()
	if list == nil {
		return
	}
	for _, w := range *list {
		w.ready.Store(true)
		w.poke()
	}
}
