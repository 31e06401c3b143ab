package nodeos

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
)

// RunOverrun is why a domain ended one of whose tasks ran longer than DomainSpec.MaxRun. It is an errs.Limit.
type RunOverrun struct {
	Domain string        // path
	Task   string        // name
	Took   time.Duration // the run
	Bound  time.Duration // the domain's
}

// Error implements error.
func (r *RunOverrun) Error() string {
	return fmt.Sprintf("domain %s: a run of task %s took %v, its bound is %v: make runs shorter (return More) or raise the bound", r.Domain, r.Task, r.Took, r.Bound)
}

// Is makes a RunOverrun an errs.Limit.
func (r *RunOverrun) Is(target error) bool { return target == errs.Limit }

// As lets errs.KindOf find the kind.
func (r *RunOverrun) As(target any) bool {
	if k, ok := target.(*errs.Kind); ok {
		*k = errs.Limit
		return true
	}
	return false
}

// RunStats are the counters of a domain's runs since it was made, over all its tasks, those that were closed
// included. They are what the NodeOS calls the statistics of a thread pool.
type RunStats struct {
	Runs    uint64        `json:"runs"`
	Packets uint64        `json:"packets"`
	Time    time.Duration `json:"time_ns"`
	Longest time.Duration `json:"longest_ns"` // single run
	Bound   time.Duration `json:"bound_ns,omitempty"`
}

// runCounters are written by one worker and read by anybody.
type runCounters struct {
	runs, packets, nanos, longest atomic.Uint64
}

// count adds a run. It is the only writer, so loads and stores do.
func (c *runCounters) count(packets int, used time.Duration) {
	n := uint64(max(used, 0))
	c.runs.Store(c.runs.Load() + 1)
	c.packets.Store(c.packets.Load() + uint64(packets))
	c.nanos.Store(c.nanos.Load() + n)
	if n > c.longest.Load() {
		c.longest.Store(n)
	}
}

// MaxRun returns how long a run of the domain's tasks may take, or zero where nothing bounds it.
func (d *Domain) MaxRun() time.Duration { return d.maxRun }

// RunStats reads the counters; any goroutine may. Descendants have their own.
func (d *Domain) RunStats() RunStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.past
	s.Bound = d.maxRun
	for _, t := range d.tasks {
		s.add(t)
	}
	for _, q := range d.events {
		s.add(q.task)
	}
	return s
}

// add adds what a task has done.
func (s *RunStats) add(t *Task) {
	c := t.Stats()
	s.Runs += c.Runs
	s.Packets += c.Packets
	s.Time += c.Time
	s.Longest = max(s.Longest, c.Longest)
}

// addLast adds a run in which its task was closed, when the task's counters had been added already.
func (d *Domain) addLast(packets int, used time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.past.Runs++
	d.past.Packets += uint64(packets)
	d.past.Time += used
	d.past.Longest = max(d.past.Longest, used)
}

// boundFor returns the run bound of a child of d that asks for one.
func (d *Domain) boundFor(name string, asked time.Duration) (time.Duration, error) {
	switch {
	case asked < 0:
		return 0, errs.New(errs.Invalid, "domain %s/%s: run bound %v, want 0 (as above) or more", d.Path(), name, asked)
	case asked == 0:
		return d.maxRun, nil
	case d.maxRun != 0 && asked > d.maxRun:
		return 0, errs.New(errs.Limit, "domain %s/%s: run bound %v is above that of %s, %v", d.Path(), name, asked, d.Path(), d.maxRun)
	}
	return asked, nil
}

// checkRun ends the domain of a task whose run was too long. It is off the packet path: where it does something, the
// domain has no packet path any more.
func (d *Domain) checkRun(t *Task, used time.Duration) {
	if d.maxRun != 0 && used > d.maxRun {
		d.Terminate(&RunOverrun{Domain: d.Path(), Task: t.name, Took: used, Bound: d.maxRun})
	}
}
