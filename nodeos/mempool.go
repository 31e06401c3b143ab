package nodeos

// The way of a pressure, in the order of this file:
//
//  1. the account refuses a request (refused, on the requester's goroutine), or SetLimit finds more in use: press
//  2. ask, on the pool's worker: the deadline is set, the owner is asked
//  3. the account tells what comes back (returned): relieve; or
//  4. expire, on the pool's worker: the domains are terminated

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// DefaultDeadline is how long a memory pool's owner has to give memory back where its Spec does not say.
const DefaultDeadline = time.Second

// MemPoolSpec says what a memory pool should be.
type MemPoolSpec struct {
	Name   string       // as an account's: unique among the domains and pools beside it
	Parent *MemPool     // the pool that it is a part of, of the same domain; nil: none
	Limit  int64        // bytes of resctl.Memory of all attached domains together; 0: none of its own; resctl.Nothing: refuse all
	Share  resctl.Share // weight of the attached domains together, for processor time; 0: resctl.DefaultShare

	// Deadline is how long after OnPressure the memory has to be back. When it is not, all domains attached to
	// the pool and to its parts are terminated with a *PoolOverrun. 0: DefaultDeadline.
	Deadline time.Duration

	// OnPressure asks for need bytes to be given back: because a request was refused that would fit the pool if it were empty,
	// or because the limit was lowered below the use. It is called once until they are back or the deadline has
	// passed, on the home worker of the pool's domain, outside any domain's turn. If it is nil, a
	// request that does not fit is refused and that is all; a lowered limit has the deadline all the same.
	OnPressure func(need int64)
}

// MemPool is a limit on memory that several domains share. It is an account between that of the domain it belongs to and
// those of the domains attached to it, and ends with that domain. Its methods are for the control side.
type MemPool struct {
	domain     *Domain
	parent     *MemPool
	account    *resctl.Account
	deadline   time.Duration
	onPressure func(int64)
	timer      *Timer // of the node: a domain short of processor time cannot put its end off
	pressed    atomic.Bool

	mu      sync.Mutex // what follows, and changes of pressed; taken after locks of domains and accounts
	domains map[*Domain]bool
	parts   map[*MemPool]bool
	asked   int64  // by the request that was refused; 0: the limit was lowered
	need    int64  // what OnPressure was told
	target  int64  // what use has to come down to
	count   uint64 // of pressures
	armed   uint64 // the pressure that the timer is for
	ended   uint64 // domains
}

// PoolOverrun is why the domains of a memory pool ended that was not relieved in time. It is an errs.Limit.
type PoolOverrun struct {
	Pool     string // path
	Need     int64  // bytes that were to be given back
	Deadline time.Duration
}

// Error implements error.
func (p *PoolOverrun) Error() string {
	return fmt.Sprintf("memory pool %s: %d bytes were not given back within %v: keep use below the limit, or raise it", p.Pool, p.Need, p.Deadline)
}

// Is makes a PoolOverrun an errs.Limit.
func (p *PoolOverrun) Is(target error) bool { return target == errs.Limit }

// As lets errs.KindOf find the kind.
func (p *PoolOverrun) As(target any) bool {
	if k, ok := target.(*errs.Kind); ok {
		*k = errs.Limit
		return true
	}
	return false
}

// NewMemPool makes a memory pool for domains directly below the root.
func (n *Node) NewMemPool(spec MemPoolSpec) (*MemPool, error) { return n.root.NewMemPool(spec) }

// NewMemPool makes a memory pool for domains directly below d, to which DomainSpec.Pool attaches them. It is refused with
// errs.Dead if d is ending, errs.Exists if the name is taken, and errs.Invalid for a parent of another domain, or a negative deadline.
func (d *Domain) NewMemPool(spec MemPoolSpec) (*MemPool, error) {
	if err := d.may(OpNewMemPool, spec.Name, true); err != nil {
		return nil, err
	}
	above := d.account
	switch {
	case spec.Deadline < 0:
		return nil, errs.New(errs.Invalid, "memory pool %s/%s: deadline %v, want 0 (%v) or more", d.Path(), spec.Name, spec.Deadline, DefaultDeadline)
	case spec.Parent != nil && spec.Parent.domain != d:
		return nil, errs.New(errs.Invalid, "memory pool %s/%s: its parent is a pool of %s", d.Path(), spec.Name, spec.Parent.domain.Path())
	case spec.Parent != nil:
		above = spec.Parent.account
	}
	if spec.Deadline == 0 {
		spec.Deadline = DefaultDeadline
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.State() != Active || d.parent == nil && d.node.closing.Load() {
		return nil, errs.New(errs.Dead, "domain %s is %s, or its node closes", d.Path(), d.State())
	}
	a, err := above.NewChild(resctl.Spec{Name: spec.Name, Share: spec.Share, Limit: resctl.Amounts{resctl.Memory: spec.Limit}})
	if err != nil {
		return nil, fmt.Errorf("memory pool %s: %w", spec.Name, err)
	}
	p := &MemPool{
		domain: d, parent: spec.Parent, account: a, deadline: spec.Deadline, onPressure: spec.OnPressure,
		domains: make(map[*Domain]bool), parts: make(map[*MemPool]bool),
	}
	p.timer = d.node.root.NewTimer(d.home, p.expire)
	a.WatchMemory(p.refused, p.returned)
	if p.parent != nil {
		p.parent.mu.Lock()
		p.parent.parts[p] = true
		p.parent.mu.Unlock()
	}
	d.pools = append(d.pools, p)
	return p, nil
}

// Path returns the path of the pool's account.
func (p *MemPool) Path() string { return p.account.Path() }

// Domain returns the domain that the pool belongs to.
func (p *MemPool) Domain() *Domain { return p.domain }

// Account returns the account of what the attached domains use.
func (p *MemPool) Account() *resctl.Account { return p.account }

// Domains returns the domains attached to the pool itself, by name.
func (p *MemPool) Domains() []*Domain {
	p.mu.Lock()
	defer p.mu.Unlock()
	ds := make([]*Domain, 0, len(p.domains))
	for d := range p.domains {
		ds = append(ds, d)
	}
	sort.Slice(ds, func(i, j int) bool { return ds[i].name < ds[j].name })
	return ds
}

// SetLimit changes the limit. If more is in use, it has to be given back by the deadline; if memory is being waited for, the
// new limit decides how much.
func (p *MemPool) SetLimit(limit int64) error {
	if err := p.domain.may(OpSetMemPool, p.Path(), false); err != nil {
		return err
	}
	if err := p.account.SetLimit(resctl.Memory, limit); err != nil {
		return err
	}
	use := p.account.Use(resctl.Memory)
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit == resctl.Unlimited {
		p.relieve()
		return nil
	}
	limit = max(limit, 0)
	if !p.pressed.Load() {
		if use > limit {
			p.press(0, use-limit, limit)
		}
		return nil
	}
	if p.asked > limit { // what was refused is out of the question now
		p.asked = 0
	}
	if p.target = limit - p.asked; use <= p.target {
		p.relieve()
	}
	return nil
}

// SetShare changes the weight of the attached domains together, for processor time; 0: resctl.DefaultShare.
func (p *MemPool) SetShare(s resctl.Share) error {
	if err := p.domain.may(OpSetMemPool, p.Path(), false); err != nil {
		return err
	}
	if s == 0 {
		s = resctl.DefaultShare
	}
	p.account.SetShare(s)
	return nil
}

// refused is told by the account, perhaps with locks held, of a request that its limit refused.
func (p *MemPool) refused(asked, use, limit int64) {
	if p.onPressure == nil || asked > limit || p.pressed.Load() {
		return // nobody to ask, nothing that would help, or asked already
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.pressed.Load() {
		p.press(asked, use+asked-limit, limit-asked)
	}
}

// returned is told by the account, perhaps with locks held, what is in use after something was given back.
func (p *MemPool) returned(use int64) {
	if !p.pressed.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pressed.Load() && use <= p.target {
		p.relieve()
	}
}

// press begins a pressure. p.mu is held.
func (p *MemPool) press(asked, need, target int64) {
	p.asked, p.need, p.target = asked, need, target
	p.count++
	n := p.count
	p.pressed.Store(true)
	p.timer.worker.Post(func() { p.ask(n) })
}

// relieve ends it. p.mu is held.
func (p *MemPool) relieve() {
	if p.pressed.Load() {
		p.pressed.Store(false)
		n := p.count
		p.timer.worker.Post(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.armed == n {
				p.timer.Stop()
			}
		})
	}
}

// ask runs on the pool's worker when pressure n has begun.
func (p *MemPool) ask(n uint64) {
	// Looked at again: what was given back between the refusal and its being noted was told to nobody.
	use := p.account.Use(resctl.Memory)
	p.mu.Lock()
	if !p.pressed.Load() || p.count != n {
		p.mu.Unlock()
		return
	}
	if use <= p.target {
		p.relieve()
		p.mu.Unlock()
		return
	}
	p.armed = n
	need := p.need
	p.timer.Set(p.timer.worker.Now().Add(p.deadline))
	p.mu.Unlock()
	if p.onPressure != nil {
		p.onPressure(need)
	}
}

// expire runs at the deadline.
func (p *MemPool) expire(clock.Time) {
	p.mu.Lock()
	if !p.pressed.Load() || p.armed != p.count {
		p.mu.Unlock()
		return
	}
	p.pressed.Store(false)
	reason := &PoolOverrun{Pool: p.Path(), Need: p.need, Deadline: p.deadline}
	ds := p.all(nil)
	p.ended += uint64(len(ds))
	p.mu.Unlock()
	sort.Slice(ds, func(i, j int) bool { return ds[i].Path() < ds[j].Path() })
	for _, d := range ds {
		d.Terminate(reason)
	}
}

// all appends the domains attached to p and to its parts. p.mu is held.
func (p *MemPool) all(ds []*Domain) []*Domain {
	for d := range p.domains {
		ds = append(ds, d)
	}
	for q := range p.parts {
		q.mu.Lock()
		ds = q.all(ds)
		q.mu.Unlock()
	}
	return ds
}

func (p *MemPool) attach(d *Domain) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.domains[d] = true
}

func (p *MemPool) detach(d *Domain) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.domains, d)
}

// Close ends the pool. It refuses with errs.Exists while domains or parts are attached. Closing twice is fine.
func (p *MemPool) Close() error {
	if err := p.domain.may(OpEndMemPool, p.Path(), false); err != nil {
		return err
	}
	if err := p.close(); err != nil {
		return err
	}
	d := p.domain
	d.node.RevokeObject(p)
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, q := range d.pools {
		if q == p {
			d.pools = append(d.pools[:i], d.pools[i+1:]...)
			break
		}
	}
	return nil
}

func (p *MemPool) close() error {
	if err := p.account.Close(); err != nil {
		return fmt.Errorf("memory pool %s: %w", p.Path(), err)
	}
	if p.parent != nil {
		p.parent.mu.Lock()
		delete(p.parent.parts, p)
		p.parent.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relieve()
	return nil
}

// MemPoolStats are the counters of a memory pool.
type MemPoolStats struct {
	resctl.Usage        // bytes; Drops are requests that the pool's limit refused
	Pressures    uint64 `json:"pressures"` // times that memory was to be given back
	Ended        uint64 `json:"ended"`     // domains terminated because it was not
}

// Stats reads the counters.
func (p *MemPool) Stats() MemPoolStats {
	s := MemPoolStats{Usage: p.account.Usage(resctl.Memory)}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Pressures, s.Ended = p.count, p.ended
	return s
}
