package nodeos

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// DomainState is where a domain is in its life.
type DomainState int32

// The states, in their order.
const (
	Active      DomainState = iota // its tasks run
	Terminating                    // nothing of it starts to run any more; resources are being taken back
	Dead                           // nothing of it is left
)

var stateNames = [...]string{"active", "terminating", "dead"}

// String returns the state's name.
func (s DomainState) String() string { return stateNames[s] }

// Exit says how a domain ended.
type Exit struct {
	Domain string // path
	Reason error  // what Terminate was given; the first caller's wins
	Frames int    // packets' frames that were found and taken back
}

// DomainSpec says what a domain should be.
type DomainSpec struct {
	Account resctl.Spec // Account.Name is the domain's name
	Worker  int         // home worker: where its tasks run unless they say otherwise

	// MaxRun bounds a single run of the domain's tasks. A longer one is a violation of policy: the domain is
	// terminated when the run returns, with a *RunOverrun. 0: the bound of the domain above, which a greater one must
	// not exceed. A run is measured on the node's clock, so that what the host takes away counts: leave room for
	// that. On a stepped node it is computed from the fuel that the run says it used.
	MaxRun time.Duration

	// MaxThreads bounds on how many workers tasks of the domain run at once; 0: on all. Domains below have their own. A worker that has to wait
	// runs other domains meanwhile, and is given the next place that becomes free, in turn.
	MaxThreads int

	// Descriptors bounds how many descriptors the domain has; 0: DefaultDescriptors; -1: none. Each is charged to its memory.
	Descriptors int

	// Pool is the memory pool that the domain's memory comes from, one of the domain above; nil: none. The domain's account is then
	// below the pool's, and cannot have processor time reserved, for a pool has none to give.
	Pool *MemPool

	// Files says which files the domain has; none unless it is set, whatever the domain above has.
	Files FilesSpec

	// Cred is the credential under which calls on the domain are made; nil: that of the domain above.
	Cred *Cred

	// OnExit tells the creator, exactly once, that the domain is dead. It runs on the home worker,
	// outside any domain's turn.
	OnExit func(Exit)
}

// Domain is the unit of accounting and of termination. Its methods are for the control side
// unless they say "on its worker".
type Domain struct {
	node    *Node
	parent  *Domain
	name    string
	account *resctl.Account
	owner   packet.Owner
	home    int
	cred    *Cred
	maxRun  atomic.Int64 // nanoseconds; 0: unbounded
	gate    gate
	descs   *descTable
	pool    *MemPool // nil: none
	files   *files   // nil: none
	seats   []*seat
	events  []*eventQueue
	onExit  func(Exit)
	state   atomic.Int32
	dead    chan struct{}

	mu       sync.Mutex // what follows
	reason   error
	children map[string]*Domain
	tasks    []*Task
	past     RunStats // of tasks that are not in tasks any more
	fds      []*FD
	inChans  []*InChan
	paced    []*OutChan // that have a queue
	outChans []weak.Pointer[OutChan]
	hooks    []func()
	pools    []*MemPool // the oldest first
	holdings []holding  // the same
	guests   []*guest
	pending  int // children and workers to wait for while terminating
}

// eventQueue holds a domain's timers that have fired on one worker, and runs them.
type eventQueue struct {
	task        *Task
	first, last *Timer
}

// Run implements Runnable: it runs the functions of due timers.
func (q *eventQueue) Run(b Budget) Used {
	u := Used{}
	for q.first != nil {
		t := q.first
		q.first = t.next
		if q.first == nil {
			q.last = nil
		}
		t.next, t.listed = nil, false
		if !t.due {
			continue // stopped or set anew since it fired
		}
		t.due = false
		if q.task.domain.State() != Active { // ended by the function before
			continue
		}
		t.fn(b.Now)
		if u.Packets++; u.Packets >= b.Packets {
			u.Next = More
			return u
		}
	}
	return u
}

// NewDomain makes a domain below d. It is refused with errs.Dead if d is ending, with
// errs.Exists if the name is taken, and with errs.Limit if a reserve cannot be met.
func (d *Domain) NewDomain(spec DomainSpec) (*Domain, error) {
	if err := d.may(OpNewDomain, spec.Account.Name, true); err != nil {
		return nil, err
	}
	if spec.Cred == nil {
		spec.Cred = d.cred
	}
	if spec.Worker < 0 || spec.Worker >= len(d.node.workers) {
		return nil, errs.New(errs.Invalid, "domain %s/%s: worker %d, the node has %d", d.Path(), spec.Account.Name, spec.Worker, len(d.node.workers))
	}
	above := d.account
	if p := spec.Pool; p != nil {
		if p.domain != d {
			return nil, errs.New(errs.Invalid, "domain %s/%s: memory pool %s is one of %s: make a pool of the domain above", d.Path(), spec.Account.Name, p.Path(), p.domain.Path())
		}
		above = p.account
	}
	bound, err := d.boundFor(spec.Account.Name, spec.MaxRun)
	if err != nil {
		return nil, err
	}
	if spec.MaxThreads < 0 || spec.MaxThreads > maxWorkers {
		return nil, errs.New(errs.Invalid, "domain %s/%s: %d threads at most, want 0 (as many as workers) to %d", d.Path(), spec.Account.Name, spec.MaxThreads, maxWorkers)
	}
	if spec.Descriptors == 0 {
		spec.Descriptors = DefaultDescriptors
	}
	if spec.Descriptors < -1 || spec.Descriptors > MaxDescriptors {
		return nil, errs.New(errs.Invalid, "domain %s/%s: %d descriptors, want -1 (none) to %d", d.Path(), spec.Account.Name, spec.Descriptors, MaxDescriptors)
	}
	files, err := newFiles(d.Path()+"/"+spec.Account.Name, spec.Files)
	if err != nil {
		return nil, err
	}
	made := false
	defer func() {
		if !made {
			files.end()
		}
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() != Active || d.parent == nil && d.node.closing.Load() {
		return nil, errs.New(errs.Dead, "domain %s is %s, or its node closes", d.Path(), d.State())
	}
	if d.children[spec.Account.Name] != nil { // one in a pool and one outside, which the accounts would not see
		return nil, errs.New(errs.Exists, "domain %s already has a child %q", d.Path(), spec.Account.Name)
	}
	acct, err := above.NewChild(spec.Account)
	if err != nil {
		return nil, fmt.Errorf("domain %s: %w", spec.Account.Name, err)
	}
	payers := make([]packet.Payer, len(d.node.workers))
	for i, w := range d.node.workers {
		payers[i] = &payer{worker: w, meter: acct.Meter(i)}
	}
	owner, err := d.node.pool.NewOwner(payers)
	if err != nil {
		acct.Close()
		return nil, err
	}
	c := &Domain{
		node: d.node, parent: d, name: spec.Account.Name, account: acct, owner: owner,
		home: spec.Worker, cred: spec.Cred, pool: spec.Pool, files: files, onExit: spec.OnExit, dead: make(chan struct{}),
	}
	c.maxRun.Store(int64(bound))
	c.gate.max.Store(int32(spec.MaxThreads))
	c.descs = newDescTable(c, max(spec.Descriptors, 0))
	if files != nil {
		files.domain = c
	}
	made = true
	c.takeSeats()
	if c.pool != nil {
		c.pool.attach(c)
	}
	if d.children == nil {
		d.children = make(map[string]*Domain)
	}
	d.children[c.name] = c
	return c, nil
}

// payer charges frames to an account and has the worker settle it.
type payer struct {
	worker *Worker
	meter  *resctl.Meter
}

func (p *payer) TakeFrames(n int) bool {
	p.worker.Touch(p.meter)
	return p.meter.TakeFrames(n)
}

func (p *payer) ReturnFrames(n int) {
	p.worker.Touch(p.meter)
	p.meter.ReturnFrames(n)
}

// takeSeats makes the domain's places on the workers.
func (d *Domain) takeSeats() {
	d.seats = make([]*seat, len(d.node.workers))
	d.events = make([]*eventQueue, len(d.node.workers))
	for i, w := range d.node.workers {
		s := &seat{worker: w, domain: d}
		s.resume = &Task{name: "resume", domain: d, seat: s}
		d.seats[i] = s
		q := &eventQueue{}
		q.task = &Task{name: "events", domain: d, seat: s, run: q}
		q.task.timer = Timer{worker: w, task: q.task}
		d.events[i] = q
	}
}

// Node returns the domain's node.
func (d *Domain) Node() *Node { return d.node }

// Name returns the domain's own name.
func (d *Domain) Name() string { return d.name }

// Path returns the names from the root, joined with '/'; it is the account's path as well, and so has in it the names of
// the memory pools on the way.
func (d *Domain) Path() string { return d.account.Path() }

// Parent returns the domain above, or nil.
func (d *Domain) Parent() *Domain { return d.parent }

// Account returns what the domain is charged to.
func (d *Domain) Account() *resctl.Account { return d.account }

// Owner returns the number by which packet memory knows the domain.
func (d *Domain) Owner() packet.Owner { return d.owner }

// Home returns the domain's home worker.
func (d *Domain) Home() *Worker { return d.node.workers[d.home] }

// State returns where the domain is in its life.
func (d *Domain) State() DomainState { return DomainState(d.state.Load()) }

// Done is closed when the domain is dead; the root is when the node has closed.
func (d *Domain) Done() <-chan struct{} { return d.dead }

// Children returns the domains directly below d, by name.
func (d *Domain) Children() []*Domain {
	d.mu.Lock()
	defer d.mu.Unlock()
	cs := make([]*Domain, 0, len(d.children))
	for _, c := range d.children {
		cs = append(cs, c)
	}
	sort.Slice(cs, func(i, j int) bool { return cs[i].name < cs[j].name })
	return cs
}

// NewTask makes a task, idle until it is woken.
func (d *Domain) NewTask(spec TaskSpec) (*Task, error) {
	if err := d.may(OpNewTask, spec.Name, true); err != nil {
		return nil, err
	}
	return d.newTask(spec)
}

// newTask is NewTask for the node itself.
func (d *Domain) newTask(spec TaskSpec) (*Task, error) {
	if spec.Worker == -1 {
		spec.Worker = d.home
	}
	if spec.Worker < 0 || spec.Worker >= len(d.seats) || spec.Run == nil {
		return nil, errs.New(errs.Invalid, "task %s of %s: worker %d of %d, or nothing to run", spec.Name, d.Path(), spec.Worker, len(d.seats))
	}
	t := &Task{name: spec.Name, domain: d, seat: d.seats[spec.Worker], run: spec.Run}
	t.timer = Timer{worker: t.seat.worker, task: t}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() != Active {
		return nil, errs.New(errs.Dead, "domain %s is %s", d.Path(), d.State())
	}
	d.tasks = append(d.tasks, t)
	return t, nil
}

// Tasks returns the counters of the domain's tasks.
func (d *Domain) Tasks() []TaskStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := make([]TaskStats, len(d.tasks))
	for i, t := range d.tasks {
		s[i] = t.Stats()
	}
	return s
}

// Close ends the task alone: it does not run again. On its worker.
func (t *Task) Close() {
	t.gone = true
	t.closed.Store(true)
	t.timer.Stop()
	t.seat.drop(t)
	d := t.domain
	d.node.RevokeObject(t)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, u := range d.tasks {
		if u == t {
			d.tasks = append(d.tasks[:i], d.tasks[i+1:]...)
			d.past.add(t)
			break
		}
	}
}

// NewTimer makes a timer whose function runs on the given worker (-1: home) in the domain's turn. Timers need
// no closing: they end with the domain.
func (d *Domain) NewTimer(worker int, fn func(now clock.Time)) *Timer {
	if worker < 0 {
		worker = d.home
	}
	return &Timer{worker: d.node.workers[worker], task: d.events[worker].task, fn: fn}
}

// OnDestroy makes fn run when the domain ends, after all its tasks have stopped and before its
// account is closed, on its home worker, last registered first. Isolates and the like release
// what they hold there. If the domain has ended already, fn does not run and false is returned.
func (d *Domain) OnDestroy(fn func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() != Active {
		return false
	}
	d.hooks = append(d.hooks, fn)
	return true
}

// holding is something that a domain holds and that ends with it.
type holding interface{ end() }

// hold makes h end with d, or refuses because d ends already.
func (d *Domain) hold(h holding) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() != Active || d.parent == nil && d.node.closing.Load() {
		return errs.New(errs.Dead, "domain %s is %s, or its node closes", d.Path(), d.State())
	}
	d.holdings = append(d.holdings, h)
	return nil
}

// letGo is the opposite of hold.
func (d *Domain) letGo(h holding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.holdings, h); i >= 0 {
		d.holdings = slices.Delete(d.holdings, i, i+1)
	}
}

// endHoldings ends what d holds, the latest first, when nothing of d runs any more.
func (d *Domain) endHoldings() {
	d.mu.Lock()
	hs := d.holdings
	d.holdings = nil
	d.mu.Unlock()
	for i := len(hs) - 1; i >= 0; i-- {
		hs[i].end()
	}
}

// Terminate ends the domain and all below it. It may be called from anywhere, from inside the domain too,
// does not wait, and only the first call's reason counts. Done tells when it is over.
func (d *Domain) Terminate(reason error) {
	if d.parent == nil {
		return // the root ends with Node.Close
	}
	d.mu.Lock()
	if !d.state.CompareAndSwap(int32(Active), int32(Terminating)) {
		d.mu.Unlock()
		return
	}
	d.reason = reason
	children := make([]*Domain, 0, len(d.children))
	for _, c := range d.children {
		children = append(children, c)
	}
	sort.Slice(children, func(i, j int) bool { return children[i].name < children[j].name })
	inChans := append([]*InChan(nil), d.inChans...)
	guests := d.guests
	d.guests = nil
	d.pending = len(children) + len(d.node.workers) + 1 + len(guests) // the channels
	d.mu.Unlock()
	for _, g := range guests {
		g.end(reason)
	}

	for _, c := range children {
		c.Terminate(errs.New(errs.Dead, "domain %s ends", d.Path()))
	}
	// A child that was already terminating when it was counted ends like the others and is counted
	// down once, in childEnded; what ended before is not in the map any more.
	d.closeChans(inChans)
	for _, w := range d.node.workers {
		w.Post(func() { d.quiesce(w) })
	}
}

// closeChans closes a domain's channels and counts them down. They receive nothing from here on. What takes time, changing what links claim, is done
// aside, for this may be a worker, and a link's system calls take up to milliseconds.
func (d *Domain) closeChans(list []*InChan) {
	claimed := false
	for _, c := range list {
		c.closed.Store(true)
		claimed = claimed || !c.spec.HandOffOnly
	}
	remove := func() {
		for _, c := range list {
			d.node.removeChan(c)
		}
		d.countDown()
	}
	if claimed && !d.node.spec.Stepped {
		go remove()
		return
	}
	remove()
}

// quiesce runs on each worker, between runs, once the state is Terminating: this worker
// will not touch the domain's tasks and packets again.
func (d *Domain) quiesce(w *Worker) {
	s := d.seats[w.id]
	for s.first != nil {
		s.pop()
	}
	d.mu.Lock()
	for _, t := range d.tasks {
		if t.seat == s {
			t.gone = true
			t.timer.Stop()
		}
	}
	for _, f := range d.fds {
		if f.task.seat == s {
			f.remove()
		}
	}
	d.mu.Unlock()
	var timers []*Timer
	for _, t := range w.timers.heap {
		if t.task.domain == d {
			timers = append(timers, t)
		}
	}
	for _, t := range timers {
		w.timers.stop(t)
	}
	d.countDown()
}

func (d *Domain) countDown() {
	d.mu.Lock()
	d.pending--
	last := d.pending == 0
	d.mu.Unlock()
	if last {
		d.Home().Post(d.finish)
	}
}

// finish runs on the home worker when all children are dead and all workers are past the domain.
func (d *Domain) finish() {
	w := d.Home()
	d.mu.Lock()
	hooks, inChans, paced := d.hooks, d.inChans, d.paced
	for _, t := range d.tasks {
		d.past.add(t)
	}
	d.hooks, d.inChans, d.paced, d.tasks, d.fds = nil, nil, nil, nil, nil
	d.mu.Unlock()
	for i := len(hooks) - 1; i >= 0; i-- {
		hooks[i]()
	}
	d.files.end()
	d.endHoldings()
	d.descs.end()
	for _, c := range inChans {
		c.drain(w.cache)
	}
	for _, c := range paced {
		c.end(w.cache)
	}
	// What is charged to it now lies about somewhere; looking for that takes long, so only where there is something.
	frames := 0
	if d.account.Use(resctl.Frames) > 0 {
		frames = d.node.pool.Sweep(d.owner, w.cache)
	}
	left := new(atomic.Int32)
	left.Store(int32(len(d.seats)))
	for _, s := range d.seats {
		s.worker.Post(func() {
			for _, c := range paced { // what the run of another domain's task was about to give it
				c.drain(s.worker.cache)
			}
			s.worker.forget(s)
			if left.Add(-1) == 0 {
				w.Post(func() { d.bury(frames) })
			}
		})
	}
}

// forget takes a seat and everything that refers to it out of the worker.
func (w *Worker) forget(s *seat) {
	m := s.domain.account.Meter(w.id)
	m.Fold()
	for i := 0; i < len(w.dirty); i++ {
		if w.dirty[i] == m {
			w.dirty = append(w.dirty[:i], w.dirty[i+1:]...)
			i--
		}
	}
	if s.entity != nil {
		w.sched.Remove(s.entity)
		delete(w.seats, s.entity)
	}
}

// bury closes the account and tells the parent.
func (d *Domain) bury(frames int) {
	d.node.pool.Forget(d.owner)
	if d.pool != nil {
		d.pool.detach(d)
	}
	d.mu.Lock()
	pools := d.pools
	d.pools = nil
	d.mu.Unlock()
	for i := len(pools) - 1; i >= 0; i-- { // their domains are dead; one that holds something shows in the account above
		_ = pools[i].close()
	}
	if err := d.account.Close(); err != nil {
		// Something that belongs to the domain was not returned by its hooks. It is a defect of whoever took it;
		// the account is kept, so that the report shows it, rather than losing count.
		d.mu.Lock()
		d.reason = errs.New(errs.Internal, "%v (ended because: %v)", err, d.reason)
		d.mu.Unlock()
	}
	p := d.parent
	p.mu.Lock()
	if p.children[d.name] == d {
		delete(p.children, d.name)
	}
	parentEnds := p.State() == Terminating
	p.mu.Unlock()
	d.state.Store(int32(Dead))
	close(d.dead)
	if d.onExit != nil {
		d.onExit(Exit{Domain: d.Path(), Reason: d.Reason(), Frames: frames})
	}
	if parentEnds {
		p.countDown()
	}
}

// Reason returns why the domain ends or ended, or nil while it is active.
func (d *Domain) Reason() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reason
}
