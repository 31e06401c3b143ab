package udphost

import (
	"slices"
	"sync"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/nodeosabi"
)

// maxDepth is how deep domains may be nested.
const maxDepth = 32

// domain implements nodeosabi.Domain: an account, and what has to end with it.
type domain struct {
	h       *Host
	above   *domain
	account *resctl.Account
	path    string
	depth   int
	dead    func() // tells who made it
	gone    chan struct{}

	mu      sync.Mutex
	state   nodeosabi.State
	reason  error
	below   []*domain
	hosted  []*hosted
	pending int // domains below and hosted things that have not ended, while it terminates
}

// hosted is something that keeps a domain from being dead.
type hosted struct {
	end  func(error)
	once sync.Once
}

// Path implements nodeosabi.Domain.
func (d *domain) Path() string { return d.path }

// Account implements nodeosabi.Domain.
func (d *domain) Account() *resctl.Account { return d.account }

// State implements nodeosabi.Domain.
func (d *domain) State() (nodeosabi.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.reason
}

func (d *domain) over() bool {
	st, _ := d.State()
	return st == nodeosabi.Dead
}

func (d *domain) ending() error { return errs.New(errs.Dead, "udphost: domain %s ends", d.path) }

// New implements nodeosabi.Domain.
func (d *domain) New(spec nodeosabi.DomainSpec, dead func()) (nodeosabi.Domain, error) {
	if d.depth >= maxDepth {
		return nil, errs.New(errs.Limit, "udphost: domain %s: domains are nested %d deep, as deep as they may", d.path, maxDepth)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != nodeosabi.Active {
		return nil, d.ending()
	}
	acct, err := d.account.NewChild(resctl.Spec{Name: spec.Name, Share: spec.Share, Limit: spec.Limit})
	if err != nil {
		return nil, err
	}
	c := &domain{h: d.h, above: d, account: acct, path: d.path + "/" + spec.Name, depth: d.depth + 1, dead: dead, gone: make(chan struct{})}
	d.below = append(d.below, c)
	return c, nil
}

// Set implements nodeosabi.Domain.
func (d *domain) Set(spec nodeosabi.DomainSpec) error {
	if spec.Share == 0 {
		spec.Share = resctl.DefaultShare
	}
	d.account.SetShare(spec.Share)
	for r, limit := range spec.Limit {
		if err := d.account.SetLimit(resctl.Resource(r), limit); err != nil {
			return err
		}
	}
	return nil
}

// Host implements nodeosabi.Domain.
func (d *domain) Host(end func(error)) (func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != nodeosabi.Active {
		return nil, d.ending()
	}
	t := &hosted{end: end}
	d.hosted = append(d.hosted, t)
	return func() {
		t.once.Do(func() {
			d.mu.Lock()
			i := slices.Index(d.hosted, t)
			if i >= 0 {
				d.hosted = slices.Delete(d.hosted, i, i+1)
			}
			d.mu.Unlock()
			if i < 0 {
				d.countDown()
			}
		})
	}, nil
}

// End implements nodeosabi.Domain.
func (d *domain) End(reason error) {
	d.mu.Lock()
	if d.state != nodeosabi.Active {
		d.mu.Unlock()
		return
	}
	d.state, d.reason = nodeosabi.Terminating, reason
	below, hosted := slices.Clone(d.below), d.hosted
	d.hosted = nil
	d.pending = len(below) + len(hosted) + 1
	d.mu.Unlock()
	for _, c := range below {
		c.End(errs.New(errs.Dead, "domain %s ends", d.path))
	}
	for _, t := range hosted {
		t.end(reason)
	}
	d.countDown()
}

// countDown is called when something has ended that the domain's end waits for.
func (d *domain) countDown() {
	d.mu.Lock()
	d.pending--
	last := d.pending == 0
	d.mu.Unlock()
	if !last {
		return
	}
	d.h.mu.Lock() // whose holder uses meters
	d.account.Meter(0).Fold()
	d.h.mu.Unlock()
	err := d.account.Close()
	d.mu.Lock()
	d.state = nodeosabi.Dead
	if err != nil { // what was taken and not returned is a defect of ours; the account stays, so that it is seen
		d.reason = errs.New(errs.Internal, "%v (ended because: %v)", err, d.reason)
	}
	d.mu.Unlock()
	close(d.gone)
	if d.dead != nil {
		d.dead()
	}
	if a := d.above; a != nil {
		a.mu.Lock()
		if i := slices.Index(a.below, d); i >= 0 {
			a.below = slices.Delete(a.below, i, i+1)
		}
		ends := a.state == nodeosabi.Terminating
		a.mu.Unlock()
		if ends {
			a.countDown()
		}
	}
}

// In implements nodeosabi.Domain.
func (d *domain) In(p *nodeosabi.Port, spec *nodeosabi.InSpec, sink nodeosabi.Sink) (nodeosabi.Channel, error) {
	h := d.h
	if err := h.top(p, spec.Address); err != nil {
		return nil, err
	}
	c := &inChan{d: d, key: spec.Key, bits: spec.Key.Bits(), sink: sink}
	if spec.Rate > 0 {
		c.interval = time.Second / time.Duration(spec.Rate)
		burst := spec.Burst
		if burst == 0 {
			burst = max(1, spec.Rate/100)
		}
		c.burst = time.Duration(burst-1) * c.interval
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.age++
	c.age = h.age
	h.chans = append(h.chans[:len(h.chans):len(h.chans)], c)
	h.sortChans()
	return c, nil
}

// Out implements nodeosabi.Domain.
func (d *domain) Out(p *nodeosabi.Port, spec *nodeosabi.OutSpec, q *nodeosabi.Queue) (nodeosabi.Channel, error) {
	if err := d.h.top(p, spec.Source); err != nil {
		return nil, err
	}
	if spec.BitRate != 0 {
		return nil, errs.New(errs.NotSupported, "udphost: an out-channel with a rate: a node has that")
	}
	c := &outChan{d: d, q: q}
	o := &d.h.outs
	o.Lock()
	defer o.Unlock()
	o.list = append(o.list[:len(o.list):len(o.list)], c)
	return c, nil
}
