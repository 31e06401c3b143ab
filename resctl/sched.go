package resctl

import (
	"time"

	"github.com/janos-os/janos/clock"
)

// Scheduler divides one worker's time among the leaves of the account tree by hierarchical
// stride scheduling (Waldspurger and Weihl, MIT/LCS/TM-528): at every level the entity with
// the smallest pass runs, and its pass advances by the time it used divided by its
// account's share. Time is measured, so a long run is paid for by a long wait.
//
// Two things override passes. An account with reserved processor time goes first until
// it has had its reserve of the window. An account that has used its limit of the window is
// set aside until the window ends.
//
// A Scheduler belongs to its worker. Nothing in it allocates but NewEntity.
type Scheduler struct {
	worker    int
	root      *group
	throttled []*group // by no order: there are few
}

// Entity is something that can run for an account: a leaf of the scheduler.
type Entity struct {
	account *Account
	node    schedNode
}

// Account returns the account that e runs for.
func (e *Entity) Account() *Account { return e.account }

// schedNode is what stands in a group's heap: either a leaf or a group.
type schedNode struct {
	parent  *group
	leaf    *Entity // nil for a group
	group   *group  // nil for a leaf
	account *Account
	pass    uint64
	rest    uint64 // of time charged that was less than one unit of pass
	index   int    // in parent's heap, -1 when not runnable
}

// group is the scheduler's side of one account: a heap of runnable nodes by pass.
type group struct {
	node     schedNode
	account  *Account
	heap     []*schedNode
	reserved []*schedNode // members of heap or not, with processor time reserved
	vtime    uint64       // smallest pass at the last choice
	groups   map[*Account]*group
	leaves   int
	until    clock.Time // throttled until then; 0: not throttled
	over     int64      // the limit that it was throttled for
}

// strideUnit scales time before it is divided by a share, so that a nanosecond of the
// largest sensible share still counts.
const strideUnit = 1 << 10

// NewScheduler returns the scheduler of a worker over the tree below root.
func NewScheduler(root *Account, worker int) *Scheduler {
	g := &group{account: root}
	g.node = schedNode{group: g, account: root, index: -1}
	return &Scheduler{worker: worker, root: g}
}

// NewEntity adds a leaf for account a, which does not run until it is woken. An account
// may have a leaf of its own and children at once; the leaf then competes as if it were
// a child with the default share.
func (s *Scheduler) NewEntity(a *Account) *Entity {
	g := s.groupOf(a)
	g.leaves++
	e := &Entity{account: a}
	e.node = schedNode{parent: g, leaf: e, account: a, index: -1, pass: g.vtime}
	return e
}

func (s *Scheduler) groupOf(a *Account) *group {
	if a == s.root.account {
		return s.root
	}
	p := s.groupOf(a.parent)
	if g := p.groups[a]; g != nil {
		return g
	}
	g := &group{account: a}
	g.node = schedNode{parent: p, group: g, account: a, index: -1, pass: p.vtime}
	if p.groups == nil {
		p.groups = make(map[*Account]*group)
	}
	p.groups[a] = g
	if a.spec.Reserve[CPU] > 0 {
		p.reserved = append(p.reserved, &g.node)
	}
	return g
}

// Remove takes e out for good. Groups that become empty go too.
func (s *Scheduler) Remove(e *Entity) {
	s.Sleep(e)
	g := e.node.parent
	g.leaves--
	for g != s.root && g.leaves == 0 && len(g.groups) == 0 {
		p := g.node.parent
		p.remove(&g.node)
		delete(p.groups, g.account)
		for i, n := range p.reserved {
			if n == &g.node {
				p.reserved = append(p.reserved[:i], p.reserved[i+1:]...)
				break
			}
		}
		for i, t := range s.throttled {
			if t == g {
				s.throttled = append(s.throttled[:i], s.throttled[i+1:]...)
				break
			}
		}
		g = p
	}
}

// Wake makes e runnable. Waking what is runnable does nothing.
func (s *Scheduler) Wake(e *Entity) {
	n := &e.node
	for n.parent != nil && n.index < 0 {
		g := n.parent
		if n.group != nil && n.group.until != 0 {
			return // throttled: Pick brings it back
		}
		n.pass = max(n.pass, g.vtime) // no credit for sleeping
		g.push(n)
		n = &g.node
	}
}

// Sleep makes e not runnable.
func (s *Scheduler) Sleep(e *Entity) {
	n := &e.node
	for n.parent != nil && n.index >= 0 {
		g := n.parent
		g.remove(n)
		if len(g.heap) > 0 {
			return
		}
		n = &g.node
	}
}

// Runnable reports whether e is awake (it may be throttled all the same).
func (s *Scheduler) Runnable(e *Entity) bool { return e.node.index >= 0 }

// Pick returns the entity that should run now, or nil when none may; until is then when a
// throttled one may, or clock.Never. The entity stays awake.
func (s *Scheduler) Pick(now clock.Time) (e *Entity, until clock.Time) {
	until = clock.Never
	for i := 0; i < len(s.throttled); {
		g := s.throttled[i]
		if g.until > now && g.over == g.account.counters[CPU].limit.Load() {
			until = min(until, g.until)
			i++
			continue
		}
		s.throttled[i] = s.throttled[len(s.throttled)-1]
		s.throttled = s.throttled[:len(s.throttled)-1]
		g.until = 0
		s.resume(g)
	}
	g := s.root
	for len(g.heap) > 0 {
		n := g.heap[0]
		for _, r := range g.reserved {
			if r.index >= 0 && r.account.withinReserve() && (r.pass < n.pass || !n.account.withinReserve()) {
				n = r
			}
		}
		if n.group != nil {
			if end, over := n.account.overLimit(now); over {
				s.throttle(n.group, end)
				until = min(until, end)
				g = s.root
				continue
			}
		}
		g.vtime = max(g.vtime, g.heap[0].pass) // not that of a reserved one that jumped the queue
		if n.leaf != nil {
			return n.leaf, 0
		}
		g = n.group
	}
	return nil, until
}

func (s *Scheduler) throttle(g *group, until clock.Time) {
	g.until, g.over = until, g.account.counters[CPU].limit.Load()
	s.throttled = append(s.throttled, g)
	n := &g.node
	for n.parent != nil && n.index >= 0 {
		p := n.parent
		p.remove(n)
		if len(p.heap) > 0 {
			return
		}
		n = &p.node
	}
}

func (s *Scheduler) resume(g *group) {
	n := &g.node
	for len(n.group.heap) > 0 && n.parent != nil && n.index < 0 {
		if n.group.until != 0 {
			return
		}
		p := n.parent
		n.pass = max(n.pass, p.vtime)
		p.push(n)
		n = &p.node
	}
}

// Charge advances the passes of e and of its groups by used. It is called after e ran.
func (s *Scheduler) Charge(e *Entity, used time.Duration) {
	for n := &e.node; n.parent != nil; n = &n.parent.node {
		n.advance(used)
	}
}

// ChargeFor advances the passes of e and of its groups by time that by spent on e's behalf. What both have above them
// has been charged with by.
func (s *Scheduler) ChargeFor(e, by *Entity, used time.Duration) {
	for n := &e.node; n.parent != nil; n = &n.parent.node {
		for m := &by.node; m != nil; m = m.up() {
			if m == n {
				return
			}
		}
		n.advance(used)
	}
}

// up returns the group that n stands in, as what stands in the group above, or nil at the root.
func (n *schedNode) up() *schedNode {
	if n.parent == nil {
		return nil
	}
	return &n.parent.node
}

func (n *schedNode) advance(used time.Duration) {
	share := uint64(DefaultShare)
	if n.group != nil {
		share = uint64(n.account.share.Load())
	}
	t := uint64(max(used, 1))*strideUnit + n.rest
	n.pass += t / share
	n.rest = t % share
	if n.index >= 0 {
		n.parent.down(n.index)
	}
}

// withinReserve reports whether a has processor time reserved that it has not had in this window.
func (a *Account) withinReserve() bool {
	res := a.spec.Reserve[CPU]
	if res == 0 {
		return false
	}
	c := &a.counters[CPU]
	a.rollWindow(c, CPU)
	return c.use.Load()-c.base.Load() < res
}

// overLimit reports whether a has used up its processor time, and when its window ends.
func (a *Account) overLimit(now clock.Time) (end clock.Time, over bool) {
	c := &a.counters[CPU]
	limit := c.limit.Load()
	if limit == Unlimited {
		return 0, false
	}
	a.rollWindow(c, CPU)
	if limit != Nothing && c.use.Load()-c.base.Load() < limit {
		return 0, false
	}
	c.drops.Add(1)
	if a.spec.Window < 0 || limit == Nothing {
		return clock.Never, true
	}
	return max(clock.Time(c.start.Load()).Add(a.spec.Window), now+1), true
}

func (g *group) push(n *schedNode) {
	n.index = len(g.heap)
	g.heap = append(g.heap, n)
	g.up(n.index)
}

func (g *group) remove(n *schedNode) {
	i := n.index
	if i < 0 {
		return
	}
	last := len(g.heap) - 1
	if i != last {
		g.heap[i] = g.heap[last]
		g.heap[i].index = i
	}
	g.heap = g.heap[:last]
	if i != last {
		g.down(i)
		g.up(i)
	}
	n.index = -1
}

func (g *group) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if g.heap[p].pass <= g.heap[i].pass {
			return
		}
		g.swap(i, p)
		i = p
	}
}

func (g *group) down(i int) {
	for {
		m, l, r := i, 2*i+1, 2*i+2
		if l < len(g.heap) && g.heap[l].pass < g.heap[m].pass {
			m = l
		}
		if r < len(g.heap) && g.heap[r].pass < g.heap[m].pass {
			m = r
		}
		if m == i {
			return
		}
		g.swap(i, m)
		i = m
	}
}

func (g *group) swap(i, j int) {
	g.heap[i], g.heap[j] = g.heap[j], g.heap[i]
	g.heap[i].index, g.heap[j].index = i, j
}
