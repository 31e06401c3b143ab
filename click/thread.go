package click

// The way of a run, in the order of this file:
//
//  1. nodeos gives the thread a budget
//  2. tasks that the world outside may have woken (in-channels) get their turn
//  3. the task with the least pass runs; its pass moves on by its stride
//     (again, until the budget is used up or no task is scheduled)
//
// All of it belongs to the worker. Nothing here allocates.

import (
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Thread runs the tasks of a router on one worker: Click's stride scheduler within one nodeos Runnable.
type Thread struct {
	router  *Router
	worker  *nodeos.Worker
	cache   *packet.Cache
	task    *nodeos.Task
	now     clock.Time
	tasks   []*Task // all of them
	heap    []*Task // scheduled ones, the least pass first
	pass    uint64  // of the task that ran last
	seq     uint64
	outside []*Task
	looks   []func() // at what other threads did
	number  int      // in the router
	rand    *clock.Rand
	seeded  *additive // what RandomBelow draws from after Reseed
	current *Task
	running bool // within Run
	wild    int  // tasks in the heap that are
	busy    int  // runs since the thread was idle, up to mergeAfter

	left, runsLeft int  // packets and runs of tasks that the present Run may still have
	merged         bool // the present run of a task is several

	started bool
	scratch []*packet.Batch
	early   []*Timer // set before the start
}

// maxTaskRuns bounds the tasks that one nodeos run serves when they move few packets.
const maxTaskRuns = 256

// Run implements nodeos.Runnable.
func (t *Thread) Run(b nodeos.Budget) nodeos.Used {
	if !t.started {
		return nodeos.Used{}
	}
	t.now, t.running = b.Now, true
	for _, k := range t.outside {
		k.Schedule()
	}
	for _, look := range t.looks {
		look()
	}
	t.left, t.runsLeft = b.Packets, maxTaskRuns
	for len(t.heap) > 0 && t.left > 0 && t.runsLeft > 0 {
		n, runs := t.runTask(t.heap[0])
		t.left -= n
		t.runsLeft -= runs
		if t.router.stopped.Load() {
			t.running = false
			return nodeos.Used{Packets: b.Packets - t.left}
		}
	}
	t.running = false
	u := nodeos.Used{Packets: b.Packets - t.left}
	if len(t.heap) > 0 {
		u.Next = nodeos.More
		t.busy = min(t.busy+maxTaskRuns-t.runsLeft, mergeAfter)
	} else {
		t.busy = 0
	}
	return u
}

// runTask runs a task and returns how many packets it handled, in how many runs if they were merged.
func (t *Thread) runTask(k *Task) (n, runs int) {
	t.pass, t.current = k.pass, k
	k.again = false
	n, more := k.fn()
	runs = 1
	if t.merged {
		t.merged = false
		runs = max((n+k.burst-1)/k.burst, 1)
		k.merged += uint64(runs - 1)
	}
	k.runs += uint64(runs)
	t.current = nil
	if k.index < 0 {
		return n, runs // it was taken off the list while it ran
	}
	if more || k.again {
		k.pass += k.stride * uint64(runs)
		t.seq++
		k.seq = t.seq
		t.down(k.index)
	} else {
		t.remove(k)
	}
	return n, runs
}

// newThread makes the next thread of a router.
func (r *Router) newThread(w *nodeos.Worker) *Thread {
	t := &Thread{router: r, worker: w, cache: w.Cache(), number: len(r.threads), rand: r.rand}
	if len(r.threads) > 0 {
		t.rand = r.domain.Node().NewRand()
	}
	for range 32 {
		t.scratch = append(t.scratch, new(packet.Batch))
	}
	r.threads = append(r.threads, t)
	return t
}

// Number returns the thread's number in the router, from 0.
func (t *Thread) Number() int { return t.number }

// Look makes fn run at the beginning of each run of the thread, for what other threads do that wake Thread.Task. In Initialize.
func (t *Thread) Look(fn func()) { t.looks = append(t.looks, fn) }

// Worker returns the worker that the thread runs on.
func (t *Thread) Worker() *nodeos.Worker { return t.worker }

// Cache returns the worker's access to packet memory.
func (t *Thread) Cache() *packet.Cache { return t.cache }

// Now returns the time of the current run.
func (t *Thread) Now() clock.Time { return t.now }

// Task returns the nodeos task that the thread is, for waking it from elsewhere.
func (t *Thread) Task() *nodeos.Task { return t.task }

// Scratch returns an empty batch that the caller gives back with Release, in reverse order of several.
func (t *Thread) Scratch() *packet.Batch {
	n := len(t.scratch)
	if n == 0 {
		return new(packet.Batch)
	}
	b := t.scratch[n-1]
	t.scratch = t.scratch[:n-1]
	return b
}

// Release takes back an empty batch from Scratch.
func (t *Thread) Release(b *packet.Batch) { t.scratch = append(t.scratch, b) }

// The heap of scheduled tasks.

func (k *Task) before(o *Task) bool { return k.pass < o.pass || k.pass == o.pass && k.seq < o.seq }

func (t *Thread) add(k *Task) {
	t.seq++
	k.seq = t.seq
	t.heap = append(t.heap, k)
	k.index = len(t.heap) - 1
	if k.wild {
		t.wild++
	}
	for i := k.index; i > 0; {
		p := (i - 1) / 2
		if !t.heap[i].before(t.heap[p]) {
			break
		}
		t.swap(i, p)
		i = p
	}
}

func (t *Thread) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.heap[i].index, t.heap[j].index = i, j
}

func (t *Thread) down(i int) {
	for {
		m := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(t.heap); c++ {
			if t.heap[c].before(t.heap[m]) {
				m = c
			}
		}
		if m == i {
			return
		}
		t.swap(i, m)
		i = m
	}
}

func (t *Thread) remove(k *Task) {
	i, last := k.index, len(t.heap)-1
	t.swap(i, last)
	t.heap[last] = nil
	t.heap = t.heap[:last]
	k.index = -1
	if k.wild {
		t.wild--
	}
	if i < last {
		t.down(i)
		for i > 0 && t.heap[i].before(t.heap[(i-1)/2]) {
			t.swap(i, (i-1)/2)
			i = (i - 1) / 2
		}
	}
}
