package nodeos

import "github.com/janos-os/janos/clock"

// Timer wakes something at a time. Timers are events of a domain: the function runs on the domain's
// worker, in the domain's turn and at its cost, and never after the domain has ended. All
// methods belong to the timer's worker.
type Timer struct {
	worker *Worker
	task   *Task
	fn     func(now clock.Time)
	at     clock.Time
	seq    uint64 // timers of one instant fire in the order they were set
	index  int    // in the heap plus one; 0: not set
	due    bool   // fired, its function not yet run
	listed bool   // in the domain's list of due timers, perhaps stopped or set anew since
	next   *Timer // in that list
}

// Set makes the timer fire at the given time, instead of any time set before. When the domain ends or has ended, it
// does nothing.
func (t *Timer) Set(at clock.Time) {
	t.due = false
	if t.task.domain.State() != Active {
		t.worker.timers.stop(t)
		return
	}
	t.worker.timers.set(t, at)
}

// Stop makes the timer not fire. Stopping a timer that is not set does nothing.
func (t *Timer) Stop() {
	t.due = false
	t.worker.timers.stop(t)
}

// Pending reports whether the timer is set, or fired with its function still to run.
func (t *Timer) Pending() bool { return t.index != 0 || t.due }

// At returns the time that was set last.
func (t *Timer) At() clock.Time { return t.at }

// timerHeap is a worker's heap of timers, the earliest first, four children to a node.
type timerHeap struct {
	heap []*Timer
	seq  uint64
}

func (h *timerHeap) next() clock.Time {
	if len(h.heap) == 0 {
		return clock.Never
	}
	return h.heap[0].at
}

func (h *timerHeap) set(t *Timer, at clock.Time) {
	h.seq++
	t.at, t.seq = at, h.seq
	if t.index == 0 {
		h.heap = append(h.heap, t)
		t.index = len(h.heap)
	}
	h.down(h.up(t.index - 1))
}

func (h *timerHeap) stop(t *Timer) {
	if t.index == 0 {
		return
	}
	i, last := t.index-1, len(h.heap)-1
	h.heap[i] = h.heap[last]
	h.heap[i].index = i + 1
	h.heap[last] = nil
	h.heap = h.heap[:last]
	t.index = 0
	if i < last {
		h.down(h.up(i))
	}
}

// pop removes and returns the earliest timer if it is due at now, or nil.
func (h *timerHeap) pop(now clock.Time) *Timer {
	if len(h.heap) == 0 || h.heap[0].at > now {
		return nil
	}
	t := h.heap[0]
	h.stop(t)
	return t
}

func (h *timerHeap) less(i, j int) bool {
	a, b := h.heap[i], h.heap[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (h *timerHeap) swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].index, h.heap[j].index = i+1, j+1
}

func (h *timerHeap) up(i int) int {
	for i > 0 {
		p := (i - 1) / 4
		if !h.less(i, p) {
			break
		}
		h.swap(i, p)
		i = p
	}
	return i
}

func (h *timerHeap) down(i int) {
	for {
		m := i
		for c := 4*i + 1; c <= 4*i+4 && c < len(h.heap); c++ {
			if h.less(c, m) {
				m = c
			}
		}
		if m == i {
			return
		}
		h.swap(i, m)
		i = m
	}
}
