package nodeos

import (
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// Runnable is work that a worker runs to completion, again and again.
type Runnable interface {
	// Run does at most what b allows and says what it did. It runs on the task's worker,
	// must not block and must not start goroutines.
	Run(b Budget) Used
}

// RunFunc makes a function a Runnable.
type RunFunc func(b Budget) Used

// Run implements Runnable.
func (f RunFunc) Run(b Budget) Used { return f(b) }

// Budget bounds one run. A Runnable that reaches any bound returns More.
type Budget struct {
	Now     clock.Time    // the time, read once for the run
	Time    time.Duration // how long the run should be at most; a guide: what is enforced is DomainSpec.MaxRun
	Packets int           // how many packets to handle at most
	Worker  *Worker       // the worker it runs on
}

// Used is what a run did and whether there is more to do.
type Used struct {
	Packets int   // packets handled
	Fuel    int64 // guest code run; under a virtual clock this is what time is computed from
	Next    Next
	Until   clock.Time // with IdleUntil
}

// Next says when a task wants to run again.
type Next uint8

// What a run may answer.
const (
	Idle      Next = iota // when it is woken
	More                  // as soon as its turn comes
	IdleUntil             // when it is woken, or at Used.Until
)

// Task is a Runnable that belongs to a domain and a worker.
type Task struct {
	name   string
	domain *Domain
	seat   *seat
	run    Runnable

	woken  atomic.Bool // on the worker's list of woken tasks
	queued bool        // in the seat's queue; the worker's
	next   *Task       // in the seat's queue; the worker's
	remote *Task       // in the worker's list of tasks woken by others
	timer  Timer       // for IdleUntil
	gone   bool        // closed; the worker's
	closed atomic.Bool // by Close

	counters runCounters
}

// TaskSpec says what a task should be.
type TaskSpec struct {
	Name   string
	Worker int // which worker runs it; -1: the domain's home worker
	Run    Runnable
}

// Name returns the task's name.
func (t *Task) Name() string { return t.name }

// Domain returns the domain that t belongs to.
func (t *Task) Domain() *Domain { return t.domain }

// Worker returns the worker that runs t.
func (t *Task) Worker() *Worker { return t.seat.worker }

// Wake makes t run in its turn. It may be called from any goroutine; waking a task that is
// awake costs one load. A wake that comes while the task runs makes it run again.
func (t *Task) Wake() {
	if t.woken.Load() || !t.woken.CompareAndSwap(false, true) {
		return
	}
	t.seat.worker.wake(t)
}

// TaskStats are a task's counters.
type TaskStats struct {
	Name    string        `json:"name"`
	Runs    uint64        `json:"runs"`
	Packets uint64        `json:"packets"`
	Time    time.Duration `json:"time_ns"`
	Longest time.Duration `json:"longest_ns"` // single run
}

// Stats reads the counters.
func (t *Task) Stats() TaskStats {
	c := &t.counters
	return TaskStats{
		Name: t.name, Runs: c.runs.Load(), Packets: c.packets.Load(),
		Time: time.Duration(c.nanos.Load()), Longest: time.Duration(c.longest.Load()),
	}
}

// seat is a domain's place on one worker: its entity in the scheduler, its queue of tasks.
type seat struct {
	worker *Worker
	domain *Domain
	entity *resctl.Entity // nil until the worker first needs it
	first  *Task
	last   *Task

	resume  *Task       // without anything to run: its wake makes the seat run again
	granted atomic.Bool // a place among the domain's threads was given to the seat
}

func (s *seat) push(t *Task) {
	t.queued, t.next = true, nil
	if s.last == nil {
		s.first = t
	} else {
		s.last.next = t
	}
	s.last = t
}

func (s *seat) pop() *Task {
	t := s.first
	s.first = t.next
	if s.first == nil {
		s.last = nil
	}
	t.queued, t.next = false, nil
	return t
}

// drop takes t out of the queue.
func (s *seat) drop(t *Task) {
	if !t.queued {
		return
	}
	for p := &s.first; *p != nil; p = &(*p).next {
		if *p == t {
			*p = t.next
			break
		}
	}
	s.last = nil
	for u := s.first; u != nil; u = u.next {
		s.last = u
	}
	t.queued, t.next = false, nil
}

// MaxRun is how many packets a run may handle.
const MaxRun = packet.MaxBatch
