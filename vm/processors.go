package vm

import (
	"runtime"
	"sync"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// processors decide which processes run. There are a few of them; a process has one while its guest runs and in kernel calls that do not
// wait. Who gets one that is free is for the account tree to say: shares, reserves and limits of processor time
// are those of package resctl. All of it is guarded by mu.
type processors struct {
	clk    clock.Clock
	none   *resctl.Account // of processes that nobody pays for
	mu     sync.Mutex
	free   int
	trees  []*runTree
	turnOf int         // of trees, whose turn it is
	timer  *time.Timer // set while a limit keeps everybody waiting
}

// runTree is the processes of one tree of accounts. Usually there is one.
type runTree struct {
	root  *resctl.Account
	sched *resctl.Scheduler
	of    map[*resctl.Entity]*process
}

func (q *processors) join(p *process) error {
	a := p.iso.spec.Account
	if a == nil {
		a = q.none
	}
	root := a
	for root.Parent() != nil {
		root = root.Parent()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if a.Closed() {
		return errs.New(errs.Dead, "vm: isolate %s: account %s is closed", p.iso.spec.Name, a.Path())
	}
	for _, t := range q.trees {
		if t.root == root {
			p.tree = t
		}
	}
	if p.tree == nil {
		p.tree = &runTree{root: root, sched: resctl.NewScheduler(root, 0), of: map[*resctl.Entity]*process{}}
		q.trees = append(q.trees, p.tree)
	}
	p.entity = p.tree.sched.NewEntity(a)
	p.tree.of[p.entity] = p
	return nil
}

// quit takes p out, which does not run.
func (q *processors) quit(p *process) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := p.tree
	t.sched.Remove(p.entity)
	delete(t.of, p.entity)
	if len(t.of) == 0 {
		for i := range q.trees {
			if q.trees[i] == t {
				q.trees = append(q.trees[:i], q.trees[i+1:]...)
				break
			}
		}
	}
	q.dispatch()
}

// acquire waits until p may run and has a processor. It returns false if p is to end.
func (q *processors) acquire(p *process) bool {
	q.mu.Lock()
	for {
		f := p.iso.flags.Load()
		switch {
		case f&p.in.ends != 0:
			if p.running {
				q.put(p)
			}
			q.unqueue(p)
			q.mu.Unlock()
			return false
		case f&flagSuspended != 0:
			if p.running {
				q.put(p)
			}
			q.unqueue(p)
		case p.running:
			q.mu.Unlock()
			return true
		case !p.queued:
			p.queued = true
			p.tree.sched.Wake(p.entity)
			if q.dispatch(); p.running {
				continue
			}
		}
		q.mu.Unlock()
		<-p.wake
		q.mu.Lock()
	}
}

// turn ends a quantum: p keeps its processor if it is due, and otherwise waits until it is. It returns false if p is to end.
func (q *processors) turn(p *process, used time.Duration) bool {
	q.mu.Lock()
	p.tree.sched.Charge(p.entity, used)
	q.put(p)
	q.mu.Unlock()
	ok := q.acquire(p)
	// The goroutine has run for a while and is not locked to a thread: others may be waiting for this one.
	runtime.Gosched()
	p.since = q.clk.Now()
	return ok
}

// release gives the processor of p back, which p has used for so long.
func (q *processors) release(p *process, used time.Duration) {
	q.mu.Lock()
	p.tree.sched.Charge(p.entity, used)
	q.put(p)
	q.dispatch()
	q.mu.Unlock()
}

func (q *processors) put(p *process) {
	p.running = false
	q.free++
}

func (q *processors) unqueue(p *process) {
	if p.queued {
		p.queued = false
		p.tree.sched.Sleep(p.entity)
	}
	q.dispatch()
}

// dispatch gives processors that are free to those that are due.
func (q *processors) dispatch() {
	until := clock.Never
	var now clock.Time
	for tried := 0; q.free > 0 && tried < len(q.trees); {
		if now == 0 {
			now = q.clk.Now()
		}
		t := q.trees[q.turnOf%len(q.trees)]
		q.turnOf++
		e, when := t.sched.Pick(now)
		if e == nil {
			until = min(until, when)
			tried++
			continue
		}
		tried = 0
		p := t.of[e]
		t.sched.Sleep(e) // until its next turn: it has what it waited for
		p.queued, p.running = false, true
		q.free--
		p.poke()
	}
	if until == clock.Never || q.timer != nil {
		return
	}
	q.timer = time.AfterFunc(until.Sub(now), func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.timer = nil
		q.dispatch()
	})
}

// close stops what may still be waiting; there are no processes any more.
func (q *processors) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
	}
}
