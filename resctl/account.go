package resctl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// DefaultWindow is the window of consumed resources where Spec.Window is zero.
const DefaultWindow = time.Second

// Spec says what an account should be. The zero value, with a name, is an
// account with the default share and no limits of its own.
type Spec struct {
	Name    string        // unique among siblings; no '/'
	Share   Share         // weight among siblings for processor time
	Limit   Amounts       // 0: none of its own; Nothing: refuse all; consumed: per Window
	Reserve Amounts       // set aside for this account; consumed (CPU only): per Window
	Window  time.Duration // for consumed resources; 0: DefaultWindow; negative: the account's whole life
}

// Account is a node of the tree. Make one with NewTree or NewChild.
type Account struct {
	spec   Spec
	path   string
	parent *Account
	tree   *tree
	meters []Meter // one per worker
	share  atomic.Uint32
	closed atomic.Bool

	counters [NumResources]counter
	watch    atomic.Pointer[memoryWatch]

	mu       sync.Mutex // children only
	children map[string]*Account
}

// tree is what all accounts of a node share.
type tree struct {
	clk     clock.Clock
	workers int
}

// counter is the state of one resource in one account.
type counter struct {
	use   atomic.Int64 // held now or consumed ever, including what meters hold in credit
	peak  atomic.Int64 // highest use, of held resources
	drops atomic.Uint64
	limit atomic.Int64

	// The window of a consumed resource: what use was when it began, and when that was.
	base  atomic.Int64
	start atomic.Int64
}

// NewTree makes the root account of a node with the given number of workers.
func NewTree(spec Spec, clk clock.Clock, workers int) (*Account, error) {
	if workers < 1 {
		return nil, errs.New(errs.Invalid, "account tree %q: %d workers, want at least 1", spec.Name, workers)
	}
	return newAccount(spec, nil, &tree{clk: clk, workers: workers})
}

func newAccount(spec Spec, parent *Account, t *tree) (*Account, error) {
	if spec.Name == "" || strings.Contains(spec.Name, "/") {
		return nil, errs.New(errs.Invalid, "account name %q: must be non-empty and without '/'", spec.Name)
	}
	for r := range NumResources {
		lim, res := spec.Limit[r], spec.Reserve[r]
		switch {
		case lim < Nothing || res < 0:
			return nil, errs.New(errs.Invalid, "account %s: negative amount of %s", spec.Name, r)
		case res > 0 && lim != Unlimited && res > lim:
			return nil, errs.New(errs.Invalid, "account %s: reserve of %d %s is above its limit of %d", spec.Name, res, r, max(lim, 0))
		case res > 0 && !r.Held() && r != CPU:
			return nil, errs.New(errs.Invalid, "account %s: %s cannot be reserved (cpu, memory and frames can)", spec.Name, r)
		}
	}
	if spec.Share == 0 {
		spec.Share = DefaultShare
	}
	if spec.Window == 0 {
		spec.Window = DefaultWindow
	}
	a := &Account{spec: spec, path: spec.Name, parent: parent, tree: t, meters: make([]Meter, t.workers)}
	if parent != nil {
		a.path = parent.path + "/" + spec.Name
	}
	a.share.Store(uint32(spec.Share))
	now := int64(t.clk.Now())
	for r := range NumResources {
		a.counters[r].limit.Store(spec.Limit[r])
		a.counters[r].start.Store(now)
	}
	for i := range a.meters {
		a.meters[i].account = a
	}
	return a, nil
}

// NewChild makes an account below a. It refuses with errs.Exists if the name is taken, with
// errs.Dead if a is closed, and with a Refusal if a reserve cannot be met.
func (a *Account) NewChild(spec Spec) (*Account, error) {
	c, err := newAccount(spec, a, a.tree)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed.Load() {
		return nil, errs.New(errs.Dead, "account %s is closed", a.path)
	}
	if a.children[spec.Name] != nil {
		return nil, errs.New(errs.Exists, "account %s already has a child %q", a.path, spec.Name)
	}
	if err := a.admitCPU(spec); err != nil {
		return nil, err
	}
	for r := range NumResources {
		if n := spec.Reserve[r]; n > 0 && r.Held() {
			if err := a.take(r, n); err != nil {
				for q := range r {
					if m := spec.Reserve[q]; m > 0 && q.Held() {
						a.give(q, m)
					}
				}
				return nil, fmt.Errorf("account %s: reserve not met: %w", c.path, err)
			}
		}
	}
	if a.children == nil {
		a.children = make(map[string]*Account)
	}
	a.children[spec.Name] = c
	return c, nil
}

// admitCPU refuses a child whose processor reserve, with those of its siblings, is more
// than a itself has: its own reserve, or, at the root, all workers. Called with a.mu held.
func (a *Account) admitCPU(spec Spec) error {
	if spec.Reserve[CPU] == 0 {
		return nil
	}
	rate := func(s Spec) float64 {
		w := s.Window
		if w == 0 {
			w = DefaultWindow
		}
		if w < 0 {
			return 0
		}
		return float64(s.Reserve[CPU]) / float64(w)
	}
	have, sum := float64(a.tree.workers), rate(spec)
	if a.parent != nil {
		have = rate(a.spec)
	}
	for _, c := range a.children {
		sum += rate(c.spec)
	}
	if sum > have+1e-9 {
		a.counters[CPU].drops.Add(1)
		return errs.New(errs.Limit, "account %s: processor reserves of its children would be %.3f CPUs, it has %.3f to give", a.path, sum, have)
	}
	return nil
}

// Close ends a. It refuses with errs.Exists while a has children or holds anything, and
// names what it holds. Closing twice is fine. Workers must not use their meters of a any more; Take may be
// called at the same time and then either counts or is refused.
func (a *Account) Close() error {
	a.mu.Lock()
	if a.closed.Load() {
		a.mu.Unlock()
		return nil
	}
	if n := len(a.children); n > 0 {
		a.mu.Unlock()
		return errs.New(errs.Exists, "account %s still has %d children: close them first", a.path, n)
	}
	// Closed first, looked at second: a Take on another goroutine either is seen here or sees that a is closed.
	a.closed.Store(true)
	for r := range NumResources {
		if u := a.counters[r].use.Load() - a.credit(r); r.Held() && u != 0 {
			a.closed.Store(false)
			a.mu.Unlock()
			return errs.New(errs.Exists, "account %s still holds %d %s: return them first", a.path, u, r)
		}
	}
	a.mu.Unlock()
	for r := range NumResources {
		for i := range a.meters { // what they had in credit goes back; the workers are past this account
			m := &a.meters[i]
			a.give(r, m.credit[r].Swap(0)-m.owed[r])
			m.owed[r], m.aside[r] = 0, 0
		}
	}
	if p := a.parent; p != nil {
		for r := range NumResources {
			if n := a.spec.Reserve[r]; n > 0 && r.Held() {
				p.give(r, n)
			}
		}
		p.mu.Lock()
		delete(p.children, a.spec.Name)
		p.mu.Unlock()
	}
	return nil
}

// Path returns the names from the root to a, joined with '/'.
func (a *Account) Path() string { return a.path }

// Name returns the last part of the path.
func (a *Account) Name() string { return a.spec.Name }

// Parent returns the account above a, or nil.
func (a *Account) Parent() *Account { return a.parent }

// Closed reports whether Close succeeded.
func (a *Account) Closed() bool { return a.closed.Load() }

// Share returns a's weight among its siblings.
func (a *Account) Share() Share { return Share(a.share.Load()) }

// SetShare changes a's weight; it takes effect when a next runs.
func (a *Account) SetShare(s Share) { a.share.Store(uint32(max(s, 1))) }

// SetLimit changes a limit. A limit below the present use stops further use and takes nothing back. An account that waits
// for processor time notices when its worker next chooses.
func (a *Account) SetLimit(r Resource, limit int64) error {
	if limit < Nothing {
		return errs.New(errs.Invalid, "account %s: limit of %d %s", a.path, limit, r)
	}
	if res := a.spec.Reserve[r]; limit != Unlimited && max(limit, 0) < res {
		return errs.New(errs.Invalid, "account %s: limit of %d %s is below its reserve of %d", a.path, max(limit, 0), r, res)
	}
	a.counters[r].limit.Store(limit)
	return nil
}

// Take debits n of r from a and from every ancestor, or refuses with a *Refusal and
// changes nothing. It may be called from any goroutine and costs a few atomic operations
// per level; workers use their Meter instead.
func (a *Account) Take(r Resource, n int64) error {
	if a.closed.Load() {
		return errs.New(errs.Dead, "account %s is closed", a.path)
	}
	if err := a.take(r, n); err != nil {
		return err
	}
	if a.closed.Load() { // meanwhile, and Close may not have seen it
		a.give(r, n)
		return errs.New(errs.Dead, "account %s is closed", a.path)
	}
	return nil
}

// Return gives back n of r: what is held no longer or, of a consumed resource, what was
// taken beforehand and then not used. An n below 1 changes nothing.
func (a *Account) Return(r Resource, n int64) { a.give(r, n) }

// Spend records a consumption that has already happened, whatever the limits say.
// Processor time is spent this way: it is known only afterwards.
func (a *Account) Spend(r Resource, n int64) {
	for b := a; b != nil; b = b.parent {
		c := &b.counters[r]
		b.rollWindow(c, r)
		c.use.Add(n)
	}
}

// take walks to the root. What a level adds to its parent is only what exceeds its reserve.
func (a *Account) take(r Resource, n int64) error {
	if n < 0 {
		return errs.New(errs.Internal, "account %s: taking %d %s", a.path, n, r)
	}
	up := n
	for b := a; b != nil && up > 0; b = b.parent {
		more, err := b.takeHere(r, up)
		if err != nil {
			back := n
			for d := a; d != b; d = d.parent {
				back = d.giveHere(r, back)
			}
			// The levels below gave back other than they asked for if somebody else took or returned within their
			// reserves meanwhile. The difference is owed from b on.
			b.force(r, up-back)
			b.give(r, back-up)
			return err
		}
		up = more
	}
	return nil
}

// takeHere adds n at one level and returns by how much the level above must follow.
func (a *Account) takeHere(r Resource, n int64) (int64, error) {
	c := &a.counters[r]
	a.rollWindow(c, r)
	for {
		use, limit := c.use.Load(), c.limit.Load()
		in := use
		if !r.Held() {
			in -= c.base.Load()
		}
		if limit != Unlimited && (limit == Nothing || n > limit-in) || use > use+n {
			c.drops.Add(1)
			if w := a.watch.Load(); w != nil && r == Memory {
				w.refused(n, in, limit)
			}
			return 0, &Refusal{Account: a.path, Resource: r, Asked: n, Use: in, Limit: limit}
		}
		if !c.use.CompareAndSwap(use, use+n) {
			continue
		}
		if !r.Held() {
			return n, nil
		}
		for p := c.peak.Load(); use+n > p && !c.peak.CompareAndSwap(p, use+n); p = c.peak.Load() {
		}
		res := a.spec.Reserve[r]
		return max(use+n, res) - max(use, res), nil
	}
}

// force adds n whatever the limits say.
func (a *Account) force(r Resource, n int64) {
	for b := a; b != nil && n > 0; b = b.parent {
		use := b.counters[r].use.Add(n)
		if r.Held() {
			res := b.spec.Reserve[r]
			n = max(use, res) - max(use-n, res)
		}
	}
}

func (a *Account) give(r Resource, n int64) {
	for b := a; b != nil && n > 0; b = b.parent {
		n = b.giveHere(r, n)
	}
}

func (a *Account) giveHere(r Resource, n int64) int64 {
	use := a.counters[r].use.Add(-n) + n
	if !r.Held() {
		return n
	}
	if w := a.watch.Load(); w != nil && r == Memory {
		w.returned(use - n)
	}
	res := a.spec.Reserve[r]
	return max(use, res) - max(use-n, res)
}

// rollWindow starts a new window of a consumed resource when the old one is over.
func (a *Account) rollWindow(c *counter, r Resource) {
	if r.Held() || a.spec.Window < 0 || c.limit.Load() == Unlimited && a.spec.Reserve[r] == 0 {
		return
	}
	start, now := c.start.Load(), int64(a.tree.clk.Now())
	if now-start < int64(a.spec.Window) {
		return
	}
	next := start + (now-start)/int64(a.spec.Window)*int64(a.spec.Window)
	if c.start.CompareAndSwap(start, next) {
		c.base.Store(c.use.Load())
	}
}

// credit sums what the meters have taken and not yet used.
func (a *Account) credit(r Resource) (n int64) {
	for i := range a.meters {
		n += a.meters[i].credit[r].Load()
	}
	return n
}

// Use returns what a holds now or, of a consumed resource, has consumed ever. Credits of
// workers, which they return at the end of their turn, are not counted. While workers run the reading may be off by what
// they do meanwhile.
func (a *Account) Use(r Resource) int64 {
	u := a.counters[r].use.Load()
	for i := range a.meters {
		u += a.meters[i].spent[r].Load() - a.meters[i].credit[r].Load()
	}
	for _, c := range a.Children() {
		told, real := c.counters[r].use.Load(), c.Use(r)
		if r.Held() { // within a reserve the child's use is not a's
			res := c.spec.Reserve[r]
			told, real = max(told, res), max(real, res)
		}
		u += real - told
	}
	return u
}

// Children returns the accounts directly below a, by name.
func (a *Account) Children() []*Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	cs := make([]*Account, 0, len(a.children))
	for _, c := range a.children {
		cs = append(cs, c)
	}
	slices.SortFunc(cs, func(x, y *Account) int { return cmp.Compare(x.spec.Name, y.spec.Name) })
	return cs
}

// Usage is a reading of one account and one resource.
type Usage struct {
	Use     int64  `json:"use"`
	Peak    int64  `json:"peak,omitempty"` // held resources only
	Reserve int64  `json:"reserve,omitempty"`
	Limit   int64  `json:"limit,omitempty"`
	Drops   uint64 `json:"drops,omitempty"` // requests that this account's limit refused
}

// Usage reads all counters of one resource.
func (a *Account) Usage(r Resource) Usage {
	c := &a.counters[r]
	return Usage{Use: a.Use(r), Peak: c.peak.Load(), Reserve: a.spec.Reserve[r], Limit: c.limit.Load(), Drops: c.drops.Load()}
}

// Walk calls fn for a and everything below it, parents first, siblings by name.
func (a *Account) Walk(fn func(*Account)) {
	fn(a)
	for _, c := range a.Children() {
		c.Walk(fn)
	}
}

// WindowEnd returns when the present window of a consumed resource ends at this account, and clock.Never where it never does. A request that a
// limit of this account refused (see Refusal.Account) may be repeated then.
func (a *Account) WindowEnd(r Resource) clock.Time {
	c := &a.counters[r]
	if limit := c.limit.Load(); r.Held() || a.spec.Window < 0 || limit == Nothing {
		return clock.Never
	}
	a.rollWindow(c, r)
	return clock.Time(c.start.Load()).Add(a.spec.Window)
}
