package nodeos

import (
	"slices"
	"sync"
)

// Cond is a condition that tasks wait for, of any domains. Handlers run to completion, so that waiting is to return Idle from a run and be woken:
//
//	c.Wait(t)            // first, so that no signal is missed
//	if !ready() {
//		return Used{}    // Idle
//	}
//
// A task that goes on although it has said that it waits may be woken once for nothing. Methods may be called from any goroutine; they
// take a lock for as long as the list of waiting tasks takes to look through. Nothing is to be released.
type Cond struct {
	domain *Domain

	mu      sync.Mutex
	waiting []*Task // who has waited longest first
}

// NewCond makes a condition of d, whose end wakes nobody. The policy is not asked: it is memory of the caller's, and cannot fail.
func (d *Domain) NewCond() *Cond { return &Cond{domain: d} }

// Domain returns the domain that the condition was made for.
func (c *Cond) Domain() *Domain { return c.domain }

// Wait notes that t waits. It is woken by Signal in its turn, or by Broadcast, and by whatever else wakes it; then it has to wait anew.
func (c *Cond) Wait(t *Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.waiting, t) {
		c.waiting = append(c.waiting, t)
	}
}

// Forget takes t back.
func (c *Cond) Forget(t *Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.waiting, t); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
}

// Signal wakes the task that has waited longest, and tells whether there was one. Tasks that were closed or whose
// domain has ended do not count.
func (c *Cond) Signal() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.waiting) > 0 {
		t := c.waiting[0]
		c.waiting = slices.Delete(c.waiting, 0, 1)
		if !t.closed.Load() && t.domain.State() == Active {
			t.Wake()
			return true
		}
	}
	return false
}

// Broadcast wakes all tasks that wait and returns how many.
func (c *Cond) Broadcast() int {
	n := 0
	for c.Signal() {
		n++
	}
	return n
}
