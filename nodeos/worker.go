package nodeos

// The way of a turn, in the order of this file:
//
//  1. read the clock; take in what others woke and posted
//  2. fire the timers that are due
//  3. let the scheduler pick a domain, run the first of its tasks, charge the time
//     (again, until the turn's time is over or nothing is runnable)
//  4. flush links, send frames home, settle the meters
//  5. look at the poll set, or sleep in it until the next timer
//
// Everything here belongs to the worker's goroutine but Wake, Post and Call, which put
// their work on lists that the worker takes in at 1.

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// Lengths of a turn and of a run. They trade the latency of timers and of the poll set
// against their cost.
const (
	turnTime = 200 * time.Microsecond
	turnRuns = 64
	runTime  = 100 * time.Microsecond
)

// Costs of a run under a virtual clock, where nothing can be measured: processor time is
// computed from the fuel used and from the run itself.
const (
	VirtualNanosPerFuel = 1
	VirtualNanosPerRun  = 500
)

// Worker runs Runnables. Its methods belong to its own goroutine unless they say otherwise.
type Worker struct {
	node  *Node
	id    int
	cache *packet.Cache
	sched *resctl.Scheduler
	seats map[*resctl.Entity]*seat

	now    clock.Time
	timers timerHeap
	ports  []*portState // of links, attached here
	dirty  []*resctl.Meter

	poll     *sys.Poller // nil when stepped
	sleeping atomic.Bool
	woken    atomic.Pointer[Task] // list through Task.remote
	posted   atomic.Bool
	mu       sync.Mutex
	posts    []func()
	spare    []func()
	running  *Task
	bills    []bill
	billed   int
	urged    bool // the worker's
	stop     atomic.Bool
	done     chan struct{}

	turns    atomic.Uint64
	unbilled atomic.Uint64 // nanoseconds that no domain was charged for
}

// bill is work that a run did for another domain's channel.
type bill struct {
	seat    *seat
	packets int
	dropped int // of packets, those that the channel had no room for
}

func newWorker(n *Node, id int) (*Worker, error) {
	w := &Worker{
		node: n, id: id, cache: n.pool.Cache(id),
		sched: resctl.NewScheduler(n.root.account, id),
		seats: make(map[*resctl.Entity]*seat),
		now:   n.clk.Now(), done: make(chan struct{}),
		dirty: make([]*resctl.Meter, 0, 64), bills: make([]bill, 0, 64),
	}
	if !n.spec.Stepped {
		p, err := sys.NewPoller()
		if err != nil {
			return nil, err
		}
		w.poll = p
	}
	return w, nil
}

// ID returns the worker's number, from zero.
func (w *Worker) ID() int { return w.id }

// Node returns the worker's node.
func (w *Worker) Node() *Node { return w.node }

// Cache returns the worker's access to packet memory.
func (w *Worker) Cache() *packet.Cache { return w.cache }

// Now returns the time that was read last, at most a run ago.
func (w *Worker) Now() clock.Time { return w.now }

// Poll returns the worker's poll set, or nil when the node is stepped; domains use NewFD.
func (w *Worker) Poll() *sys.Poller { return w.poll }

// loop is the worker's goroutine.
func (w *Worker) loop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() {
		if w.urged {
			_ = sys.SetNice(0) // the thread is the runtime's again
		}
	}()
	defer close(w.done)
	for !w.stop.Load() {
		if w.turn() {
			w.poll.Dispatch(w.poll.Wait(0))
			continue
		}
		w.sleeping.Store(true)
		if w.woken.Load() != nil || w.posted.Load() || w.stop.Load() {
			w.sleeping.Store(false)
			continue
		}
		d := time.Duration(-1)
		if at := w.nextWake(); at != clock.Never {
			d = max(at.Sub(w.node.clk.Now()), 0)
			if k, ok := w.node.clk.(interface {
				Span(time.Duration) time.Duration
			}); ok { // a clock of another speed than the machine's
				d = k.Span(d)
			}
		}
		n := w.poll.Wait(d)
		w.sleeping.Store(false)
		w.poll.Dispatch(n)
	}
}

// nextWake returns when the worker has something to do if nobody wakes it.
func (w *Worker) nextWake() clock.Time {
	_, until := w.sched.Pick(w.now)
	if until == 0 {
		return w.now
	}
	return min(until, w.timers.next())
}

// turn does one turn and reports whether something is still runnable.
func (w *Worker) turn() bool {
	w.now = w.node.clk.Now()
	start := w.now
	w.takeIn()
	for t := w.timers.pop(w.now); t != nil; t = w.timers.pop(w.now) {
		w.fire(t)
	}
	more := false
	for range turnRuns {
		e, _ := w.sched.Pick(w.now)
		if more = e != nil; !more {
			break
		}
		w.runOne(w.seats[e])
		w.takeIn()
		if w.now.Sub(start) >= turnTime {
			break
		}
	}
	for _, p := range w.ports {
		p.port.Flush(w.cache)
	}
	w.cache.Flush()
	for _, m := range w.dirty {
		m.Fold()
	}
	w.dirty = w.dirty[:0]
	w.turns.Add(1)
	return more
}

// takeIn takes what other goroutines woke and posted. The list of tasks is read first and acted
// upon last, so that what was posted before a task was woken has happened when it runs.
func (w *Worker) takeIn() {
	var inOrder *Task
	if w.woken.Load() != nil {
		for t := w.woken.Swap(nil); t != nil; { // last in, first out: turn it round
			next := t.remote
			t.remote, inOrder = inOrder, t
			t = next
		}
	}
	for w.posted.Load() {
		w.mu.Lock()
		posts := w.posts
		w.posts, w.spare = w.spare[:0], posts
		w.posted.Store(false)
		w.mu.Unlock()
		for i, fn := range posts {
			posts[i] = nil
			fn()
		}
	}
	for t := inOrder; t != nil; {
		next := t.remote
		t.remote = nil
		t.woken.Store(false) // from here on it may be put on the list again
		w.enqueue(t)
		t = next
	}
}

// enqueue makes t run in its turn.
func (w *Worker) enqueue(t *Task) {
	if t.run == nil {
		w.resume(t.seat)
		return
	}
	if t.queued || t.gone || t.seat.domain.State() != Active {
		return
	}
	t.seat.push(t)
	w.sched.Wake(w.entity(t.seat))
}

// wake is Task.Wake, from any goroutine. The task's woken flag is set.
func (w *Worker) wake(t *Task) {
	for {
		old := w.woken.Load()
		t.remote = old
		if w.woken.CompareAndSwap(old, t) {
			break
		}
	}
	w.rouse()
}

func (w *Worker) rouse() {
	if w.poll != nil && w.sleeping.Load() {
		w.poll.Wake()
	}
}

// Post makes fn run on the worker soon, outside any domain's turn. It is for the control side,
// may be called from any goroutine, the worker's own included, and does not wait. What is posted
// after the node has closed never runs.
func (w *Worker) Post(fn func()) {
	w.mu.Lock()
	w.posts = append(w.posts, fn)
	w.posted.Store(true)
	w.mu.Unlock()
	w.rouse()
}

// Call runs fn on the worker and waits for it. It must not be called from a worker's goroutine. It returns
// false if the node closed before fn could run. On a stepped node it runs fn at once: the caller is
// the one who drives.
func (w *Worker) Call(fn func()) bool {
	if w.poll == nil {
		fn()
		return true
	}
	done := make(chan struct{})
	w.Post(func() { fn(); close(done) })
	select {
	case <-done:
		return true
	case <-w.done:
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// entity returns what stands for a seat in the scheduler. It is the worker's own, so it is made
// here when it is first needed.
func (w *Worker) entity(s *seat) *resctl.Entity {
	if s.entity == nil {
		s.entity = w.sched.NewEntity(s.domain.account)
		w.seats[s.entity] = s
	}
	return s.entity
}

func (w *Worker) fire(t *Timer) {
	if t.fn == nil { // the timer of an IdleUntil
		w.enqueue(t.task)
		return
	}
	d := t.task.domain
	s := t.task.seat
	ev := d.events[s.worker.id]
	t.due = true
	if !t.listed { // else it fired, was set anew, and fired again before its function's turn
		t.listed, t.next = true, nil
		if ev.last == nil {
			ev.first = t
		} else {
			ev.last.next = t
		}
		ev.last = t
	}
	w.enqueue(ev.task)
}

// runOne runs the first task of a seat.
func (w *Worker) runOne(s *seat) {
	if s.first == nil {
		w.sched.Sleep(s.entity)
		s.decline()
		return
	}
	counted := s.domain.gate.max.Load() != 0 || s.granted.Load()
	if counted && !s.enter() {
		w.sched.Sleep(s.entity) // until resume
		return
	}
	t := s.pop()
	if s.domain.State() != Active {
		if s.first == nil {
			w.sched.Sleep(s.entity)
		}
		if counted {
			s.leave()
		}
		return
	}
	w.running = t
	if t.timer.index != 0 { // woken before the time that it went idle until
		t.timer.Stop()
	}
	before := w.now
	u := t.run.Run(Budget{Now: before, Time: runTime, Packets: MaxRun, Worker: w})
	w.running = nil
	if counted {
		s.leave()
	}
	w.now = w.node.clk.Now()
	used := w.now.Sub(before)
	if w.node.spec.Stepped {
		used = time.Duration(u.Fuel*VirtualNanosPerFuel + VirtualNanosPerRun)
	}
	t.counters.count(u.Packets, used)
	w.charge(s, used, u.Packets)
	s.domain.checkRun(t, used)

	switch {
	case t.gone: // closed by its own run
		s.domain.addLast(u.Packets, used)
	case u.Next == More:
		if !t.queued {
			s.push(t)
		}
	case u.Next == IdleUntil:
		t.timer.Set(u.Until)
	}
	if s.first == nil {
		w.sched.Sleep(s.entity)
	}
}

// charge debits the time of a run: to the accounts of the domains whose channels it worked for, by
// packets, and the rest to that of the domain that ran.
//
// In the choice of who runs next, the domain that ran pays for all of its run, and the others for the packets that they
// got. If a receiving link paid for nothing, it would be chosen for ever when packets come faster than
// they can be received, and those whom they are for never (receive livelock); the same if they paid for what finds their
// queues full.
func (w *Worker) charge(s *seat, used time.Duration, packets int) {
	total := time.Duration(max(packets, w.billed))
	rest := used
	by := w.entity(s)
	w.sched.Charge(by, used)
	for _, b := range w.bills {
		part := used * time.Duration(b.packets) / total
		if got := b.packets - b.dropped; got > 0 {
			w.sched.ChargeFor(w.entity(b.seat), by, used*time.Duration(got)/total)
		}
		w.debit(b.seat, part)
		rest -= part
	}
	w.bills, w.billed = w.bills[:0], 0
	w.debit(s, rest)
}

func (w *Worker) debit(s *seat, d time.Duration) {
	if s.domain == w.node.root {
		w.unbilled.Add(uint64(d))
	}
	m := s.domain.account.Meter(w.id)
	m.Spend(resctl.CPU, int64(d))
	w.Touch(m)
}

// Touch makes the worker settle m at the end of the turn. Whoever debits a meter
// on a worker calls it, once per run and meter is enough.
func (w *Worker) Touch(m *resctl.Meter) {
	if n := len(w.dirty); n > 0 && w.dirty[n-1] == m {
		return
	}
	if len(w.dirty) == cap(w.dirty) {
		for _, d := range w.dirty {
			d.Fold()
		}
		w.dirty = w.dirty[:0]
	}
	w.dirty = append(w.dirty, m)
}

// Bill says that n of the packets that the current run handles were handled for domain d, whose account pays
// for its part of the run's time. A domain that is dead pays for nothing.
func (w *Worker) Bill(d *Domain, n int) { w.bill(d, n, 0) }

// bill is Bill for n packets of which some were dropped.
func (w *Worker) bill(d *Domain, n, dropped int) {
	if d.State() == Dead {
		return
	}
	s := d.seats[w.id]
	w.billed += n
	for i := range w.bills {
		if w.bills[i].seat == s {
			w.bills[i].packets += n
			w.bills[i].dropped += dropped
			return
		}
	}
	if len(w.bills) < cap(w.bills) {
		w.bills = append(w.bills, bill{s, n, dropped})
	}
}

// WorkerStats are a worker's counters.
type WorkerStats struct {
	Turns    uint64        `json:"turns"`
	Unbilled time.Duration `json:"unbilled_ns"` // time charged to the node itself
}

// Stats reads the counters; any goroutine may.
func (w *Worker) Stats() WorkerStats {
	return WorkerStats{Turns: w.turns.Load(), Unbilled: time.Duration(w.unbilled.Load())}
}
