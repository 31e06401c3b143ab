package click

import "github.com/janos-os/janos/errs"

// Tickets decide how often a task runs among those that are scheduled.
const (
	DefaultTickets = 1 << 10
	MaxTickets     = 1 << 15
	stride1        = 1 << 30
)

// Task is work of an element that is run again and again while it is scheduled. All methods belong
// to the router's worker, or to Initialize.
type Task struct {
	thread  *Thread
	el      *Base
	fn      func() (packets int, more bool)
	tickets int
	stride  uint64
	pass    uint64
	seq     uint64
	index   int  // in the thread's heap, -1 if not scheduled
	again   bool // scheduled while it ran
	runs    uint64
	merged  uint64 // of runs, those that were made together with another one

	wild   bool     // its runs are not to be merged, nor those of others while it is scheduled
	apart  bool     // of with: a task that it stands for is wild
	with   *Task    // who stands for all tasks that it meets; itself
	rooms  []Storer // where its packets are stored
	single bool     // its packets must come one at a time
	heeds  bool     // it does not push while all of these are full
	burst  int      // packets in one of the runs that the present one is made of
}

// NewTask makes a task of the element, not scheduled. The function says how many packets it
// handled and whether it is to run again without being scheduled; it should handle a burst of
// packets and return.
func (e *Base) NewTask(fn func() (packets int, more bool)) *Task {
	k := &Task{thread: e.thread, el: e, fn: fn, index: -1, wild: true}
	k.with = k
	k.setTickets(min(max(int(DefaultTickets*e.router.share("", e.name)), 1), MaxTickets))
	e.tasks = append(e.tasks, k)
	e.thread.tasks = append(e.thread.tasks, k)
	e.thread.heap = grow(e.thread.heap, len(e.thread.tasks))
	return k
}

// grow makes room so that the packet path does not have to.
func grow(h []*Task, n int) []*Task {
	if cap(h) < n {
		h = append(make([]*Task, 0, 2*n), h...)
	}
	return h
}

// NewOutsideTask makes a task that runs whenever something outside the graph may have happened: its
// source (an in-channel, a queue of another domain) wakes Thread.Task.
func (e *Base) NewOutsideTask(fn func() (packets int, more bool)) *Task {
	k := e.NewTask(fn)
	e.thread.outside = append(e.thread.outside, k)
	return k
}

// Schedule makes the task run in its turn.
func (k *Task) Schedule() {
	t := k.thread
	if k.index >= 0 {
		k.again = k.again || t.current == k
		return
	}
	k.pass = max(k.pass, t.pass+k.stride)
	t.add(k)
	if t.started && !t.running && len(t.heap) == 1 {
		t.task.Wake()
	}
}

// Unschedule makes the task not run until it is scheduled again.
func (k *Task) Unschedule() {
	k.again = false
	if k.index >= 0 {
		k.thread.remove(k)
	}
}

// Scheduled reports whether the task will run.
func (k *Task) Scheduled() bool { return k.index >= 0 }

// Merged returns how many of the task's runs were made together with the one before.
func (k *Task) Merged() uint64 { return k.merged }

// Tickets returns the task's share.
func (k *Task) Tickets() int { return k.tickets }

// SetTickets changes the task's share, 1 to MaxTickets.
func (k *Task) SetTickets(n int) error {
	if n < 1 || n > MaxTickets {
		return errs.New(errs.Invalid, "tickets %d, want 1 to %d", n, MaxTickets)
	}
	k.setTickets(n)
	return nil
}

func (k *Task) setTickets(n int) { k.tickets, k.stride = n, uint64(stride1/n) }
