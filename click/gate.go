package click

import "sync"

// A router of several threads has one gate. An element belongs to one thread, and nobody else may touch it while that thread may run. Who has to all the
// same - a handler that is called from another thread's element, the control side, a replacement - holds the gate: it asks the
// others' workers to come, waits until they all wait at the gate, and lets them go afterwards.
//
// Threads come between two runs, because they were asked. A thread that wants to hold the gate itself in the middle of a run, while
// somebody else holds it, waits there too and is one of those that have come: so two can never wait for each other.
//
// This is the one place where a worker waits for another one. It is for handlers and control, never for packets.
type gate struct {
	mu     sync.Mutex
	cond   sync.Cond
	holder *Thread // its goroutine may touch everything, once acting
	acting bool
	come   int // threads that wait
	inside int // of these, those that are in the middle of a run
}

// alone runs fn on the calling goroutine, which is the worker of t, while no other thread of the router runs. Within fn it may be called again, by code of any
// of the threads. With idle it waits until no other thread is in the middle of a run; the caller is not in one either.
func (t *Thread) alone(idle bool, fn func()) {
	r := t.router
	if len(r.threads) == 1 || t.worker.Poll() == nil || r.over.Load() { // nobody else runs, or all run on this goroutine
		fn()
		return
	}
	g := &r.gate
	g.mu.Lock()
	if g.acting { // all others wait: it is fn that calls
		g.mu.Unlock()
		fn()
		return
	}
	for g.holder != nil || idle && g.inside > 0 {
		g.wait(t.running)
	}
	g.holder = t
	for _, o := range r.threads {
		if o != t {
			o.worker.Post(o.come)
		}
	}
	for g.come < len(r.threads)-1 {
		g.cond.Wait()
	}
	g.acting = true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.holder, g.acting = nil, false
		g.cond.Broadcast()
		g.mu.Unlock()
	}()
	fn()
}

// wait is one of those that have come until the gate is free or something has changed.
func (g *gate) wait(inside bool) {
	g.come++
	if inside {
		g.inside++
	}
	g.cond.Broadcast()
	for first := true; first || g.holder != nil; first = false {
		g.cond.Wait()
	}
	g.come--
	if inside {
		g.inside--
		g.cond.Broadcast()
	}
}

// come is what a thread does that was asked to.
func (t *Thread) come() {
	g := &t.router.gate
	g.mu.Lock()
	if g.holder != nil && g.holder != t {
		g.wait(false)
	}
	g.mu.Unlock()
}

// Alone runs fn while no other thread of the router runs, so that it may touch any element. It is for handlers and the like, on the element's
// thread; it waits for the others, for which everything stands still meanwhile.
func (e *Base) Alone(fn func()) { e.thread.alone(false, fn) }
