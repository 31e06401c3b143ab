package nodeos

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
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
func (d *Domain) MaxRun() time.Duration { return time.Duration(d.maxRun.Load()) }

// RunStats reads the counters; any goroutine may. Descendants have their own.
func (d *Domain) RunStats() RunStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.past
	s.Bound = d.MaxRun()
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
		return d.MaxRun(), nil
	case d.MaxRun() != 0 && asked > d.MaxRun():
		return 0, errs.New(errs.Limit, "domain %s/%s: run bound %v is above that of %s, %v", d.Path(), name, asked, d.Path(), d.MaxRun())
	}
	return asked, nil
}

// checkRun ends the domain of a task whose run was too long. It is off the packet path: where it does something, the
// domain has no packet path any more.
func (d *Domain) checkRun(t *Task, used time.Duration) {
	if bound := d.MaxRun(); bound != 0 && used > bound {
		d.Terminate(&RunOverrun{Domain: d.Path(), Task: t.name, Took: used, Bound: bound})
	}
}

// gate counts the workers that a domain's tasks run on.
type gate struct {
	max     atomic.Int32 // 0: as many as there are
	running atomic.Int32 // places taken, those that were given to seats that have not begun yet included
	waiting [maxWorkers / 64]atomic.Uint64
}

// enter takes a place for a run on the seat's worker, or notes that it waits for one and returns false.
func (s *seat) enter() bool {
	if s.granted.Swap(false) {
		return true
	}
	g := &s.domain.gate
	word, bit := &g.waiting[s.worker.id/64], uint64(1)<<(s.worker.id%64)
	for {
		r, most := g.running.Load(), g.max.Load()
		if most == 0 || r < most {
			if g.running.CompareAndSwap(r, r+1) {
				return true
			}
			continue
		}
		word.Or(bit)
		// Who left meanwhile has not seen it: look again. Who has seen it has given the place, and wakes the seat.
		if most = g.max.Load(); most != 0 && g.running.Load() >= most || word.And(^bit)&bit == 0 {
			return false
		}
	}
}

// leave gives the place back: to a seat that waits, the next one in the order of workers, so that all get their turn.
func (s *seat) leave() {
	g, own := &s.domain.gate, s.worker.id
	for {
		if most := g.max.Load(); most == 0 || g.running.Load() <= most {
			if to := g.take(own); to >= 0 {
				s.domain.seats[to].grant()
				return
			}
		}
		g.running.Add(-1)
		// Who began to wait before that has seen the place taken: look again.
		if !g.any() || !g.claim() {
			return
		}
	}
}

// claim takes a place if there is one.
func (g *gate) claim() bool {
	for {
		r, most := g.running.Load(), g.max.Load()
		if most != 0 && r >= most {
			return false
		}
		if g.running.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

// take takes the first waiting worker behind own out of the list, or returns -1.
func (g *gate) take(own int) int {
	for i := range maxWorkers {
		w := (own + 1 + i) % maxWorkers
		word, bit := &g.waiting[w/64], uint64(1)<<(w%64)
		if word.Load()&bit != 0 && word.And(^bit)&bit != 0 {
			return w
		}
	}
	return -1
}

func (g *gate) any() bool {
	for i := range g.waiting {
		if g.waiting[i].Load() != 0 {
			return true
		}
	}
	return false
}

// grant gives a place to a seat, whose worker may be another.
func (s *seat) grant() {
	s.granted.Store(true)
	s.resume.Wake()
}

// decline passes on the place of a seat that has nothing to run any more.
func (s *seat) decline() {
	if s.granted.Swap(false) {
		s.leave()
	}
}

// resume makes a seat run that waited for a place.
func (w *Worker) resume(s *seat) {
	if s.first == nil || s.domain.State() != Active {
		s.decline()
		return
	}
	w.sched.Wake(w.entity(s))
}

// MaxThreads returns on how many workers tasks of the domain run at once at most; 0: on all.
func (d *Domain) MaxThreads() int { return int(d.gate.max.Load()) }

// SetMaxThreads changes DomainSpec.MaxThreads, for runs that begin later.
func (d *Domain) SetMaxThreads(n int) error {
	if err := d.maySet(); err != nil {
		return err
	}
	if n < 0 || n > maxWorkers {
		return errs.New(errs.Invalid, "domain %s: %d threads at most, want 0 (as many as workers) to %d", d.Path(), n, maxWorkers)
	}
	d.gate.max.Store(int32(n))
	for d.gate.any() && d.gate.claim() { // those for whom there is room now
		if to := d.gate.take(0); to >= 0 {
			d.seats[to].grant()
			continue
		}
		d.gate.running.Add(-1)
	}
	return nil
}

// maySet asks the policy whether d's attributes may be changed.
func (d *Domain) maySet() error {
	if err := d.may(OpSetDomain, d.Path(), false); err != nil {
		return err
	}
	if d.parent == nil {
		return errs.New(errs.Permission, "domain %s is the node's own: set NodeSpec", d.Path())
	}
	return nil
}

// SetShare changes the domain's weight for processor time; 0: resctl.DefaultShare.
func (d *Domain) SetShare(s resctl.Share) error {
	if err := d.maySet(); err != nil {
		return err
	}
	if s == 0 {
		s = resctl.DefaultShare
	}
	d.account.SetShare(s)
	return nil
}

// SetLimit changes what the domain and all below it may have of a resource, as resctl.Account.SetLimit does.
func (d *Domain) SetLimit(r resctl.Resource, limit int64) error {
	if err := d.maySet(); err != nil {
		return err
	}
	if r >= resctl.NumResources {
		return errs.New(errs.Invalid, "domain %s: %s is no resource", d.Path(), r)
	}
	return d.account.SetLimit(r, limit)
}

// SetMaxRun changes DomainSpec.MaxRun, for runs that end later. Domains below that may run longer are bound by it too.
func (d *Domain) SetMaxRun(bound time.Duration) error {
	if err := d.maySet(); err != nil {
		return err
	}
	bound, err := d.parent.boundFor(d.name, bound)
	if err != nil {
		return err
	}
	d.maxRun.Store(int64(bound))
	d.lowerBounds(bound)
	return nil
}

// lowerBounds binds the domains below.
func (d *Domain) lowerBounds(bound time.Duration) {
	for _, c := range d.Children() {
		if b := c.MaxRun(); bound != 0 && (b == 0 || b > bound) {
			c.maxRun.Store(int64(bound))
		}
		c.lowerBounds(bound)
	}
}
