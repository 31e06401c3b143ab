package nodeos

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
)

// Programs in the kernel that decide about packets before they reach a link's ring drop there what a channel will not accept, for it costs most to
// receive a packet and drop it then. What they have to know about a channel and what they count is in the channel's cell, memory that both
// sides map:
//
//	produced - consumed  packets of the channel that are on their way, or in its queue
//	credit               how many that may be: the channel's quota
//
// produced is counted by the programs, consumed by the node. A packet that came by a program is consumed when it leaves the queue or is dropped
// in front of it; one that came another way takes a place in the queue, so it counts as consumed less, until it leaves.
//
// What was produced and never came, because the interface went or a ring was lost, is found by an audit. It notes what was produced; waits, longer than the
// kernel takes from counting a packet to showing it in a ring; has every port mark what its rings hold; and when all of them have delivered that, what
// still has not come of the noted is lost, and counts as consumed.

// Cells are a driver's memory for the cells of a node's channels. All links of the node share it. The methods are called by one goroutine at a time, but
// Settle by any.
type Cells interface {
	// Cell returns the cell of a slot. It is used until UnshareCells has returned.
	Cell(slot uint32) Cell

	// Reset gives a cell that no program uses the contents of one that was never used: everything zero, and a credit without end.
	Reset(slot uint32)

	// Now reads the clock of the cells' Next.
	Now() int64

	// Settle waits until all programs have ended that ran when it was called.
	Settle() error
}

// Cell is the memory that one in-channel shares with programs. They count without losing what others count at the same time.
type Cell struct {
	Produced *atomic.Uint64 // packets on their way to the channel since its cell was reset; the programs count
	Full     *atomic.Uint64 // packets dropped for want of credit; the programs count
	Limited  *atomic.Uint64 // packets dropped because they came faster than the channel's rate; the programs count

	Next      *atomic.Uint64 // when the next packet is due at the channel's rate, in ns; both sides set it
	Interval  *atomic.Uint64 // ns between packets; 0: no rate
	Tolerance *atomic.Uint64 // how much earlier than due a packet may come, in ns
	Alone     *atomic.Uint64 // 1: the channel is on one link, whose programs alone count in the cell; 0: it may be on several

	Consumed *atomic.Uint64 // as above, modulo 1<<64; the node sets it
	Credit   *atomic.Uint64 // the node sets it
}

// sharing is a channel's cell while it has one.
type sharing struct {
	Cell
	skew int64 // what the cells' clock is ahead of the node's
}

// Credited is a port whose packets programs have counted in their channels' cells before they came.
type Credited interface {
	Port

	// Mark remembers what has come and Receive has not returned yet; Passed reports whether it has since. On the port's worker.
	Mark()
	Passed() bool
}

// Rated is a port that knows whether programs have held its packets to their channels' rates (Cell.Next) before they came, so that the node need not. That of
// a Credited port always have.
type Rated interface {
	Port

	// Rated is asked once, when the link is added.
	Rated() bool
}

// ShareCells gives the node the memory of its channels' cells, before the first link opens whose programs use it.
func (n *Node) ShareCells(m Cells) error {
	n.feeding.Lock()
	if n.cells != nil {
		n.feeding.Unlock()
		return errs.New(errs.Exists, "node %s has cells already", n.spec.Name)
	}
	n.cells = m
	n.mu.Lock()
	cs := n.sharers()
	n.mu.Unlock()
	for _, c := range cs {
		c.share(n)
	}
	n.feeding.Unlock()
	w := n.workers[0]
	w.Call(func() {
		n.audit.node, n.audit.step = n, auditNote
		n.audit.timer = n.root.NewTimer(0, n.audit.tick)
		n.audit.timer.Set(w.now.Add(auditPause))
	})
	return nil
}

// UnshareCells takes the memory back, after the last link has closed whose programs use it. When it returns nobody refers to it. It waits for the workers and
// must not be called from one.
func (n *Node) UnshareCells() {
	n.feeding.Lock()
	n.cells = nil
	n.mu.Lock()
	cs := n.sharers()
	n.mu.Unlock()
	for _, c := range cs {
		c.unshare()
	}
	n.feeding.Unlock()
	for i, w := range n.workers {
		w.Call(func() {
			if i == 0 && n.audit.timer != nil {
				n.audit.timer.Stop()
				n.audit.timer = nil
			}
		})
	}
}

// sharers returns all channels that have a slot, closed ones included. n.mu is held.
func (n *Node) sharers() []*InChan {
	var cs []*InChan
	n.slots.each(func(c *InChan) { cs = append(cs, c) })
	return append(append(cs, n.slots.left...), n.slots.clearing...)
}

// share gives c a cell if the node has any. n.feeding is held.
func (c *InChan) share(n *Node) {
	if n.cells == nil || c.cell.Load() != nil {
		return
	}
	s := &sharing{Cell: n.cells.Cell(c.slot), skew: n.cells.Now() - int64(n.clk.Now())}
	if next := c.next.Load(); next != 0 {
		s.Next.Store(next + uint64(s.skew))
	}
	s.Interval.Store(uint64(c.interval))
	s.Tolerance.Store(uint64(c.tolerance))
	s.Produced.Store(c.arrived.Load() + uint64(c.lost)) // nothing is on its way
	s.Consumed.Store(uint64(c.spent.Load()))
	s.Credit.Store(uint64(c.quota))
	if c.proto.Link != demux.AnyLink {
		s.Alone.Store(1)
	}
	c.cell.Store(s)
	c.publish()
}

// unshare takes c's cell away and keeps what it has counted. Workers use it until the end of the run that they are in. n.feeding is held.
func (c *InChan) unshare() {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	s := c.cell.Swap(nil)
	if s == nil {
		return
	}
	c.full.Add(s.Full.Load())
	c.limited.Add(s.Limited.Load())
	if next := s.Next.Load(); next != 0 {
		c.next.Store(next - uint64(s.skew))
	}
	s.Credit.Store(math.MaxInt64)
}

// spend counts n packets more as consumed.
func (c *InChan) spend(n int) {
	c.spent.Add(int64(n))
	c.publish()
}

// publish tells the programs. Of several workers the last to store has seen the sum of all.
func (c *InChan) publish() {
	s := c.cell.Load()
	if s == nil {
		return
	}
	for {
		n := c.spent.Load()
		s.Consumed.Store(uint64(n))
		if c.spent.Load() == n {
			return
		}
	}
}

// auditPause is how long the audit waits from one step to the next. The kernel takes some microseconds from counting a packet to showing it, more if
// the processor is taken from it meanwhile.
const auditPause = 50 * time.Millisecond

// auditIdle is how long it waits when nothing is missing. A look costs some 60 ns for each channel, and a worker that sleeps has to wake for it.
const auditIdle = 250 * time.Millisecond

// audit looks for packets that were produced and lost. It belongs to worker 0, but for round.
type audit struct {
	node  *Node
	timer *Timer
	step  int
	ports []*portState
	round atomic.Uint64 // of marks
}

// Steps of the audit.
const (
	auditNote = iota // what was produced
	auditMark        // what is in the rings
	auditLose        // what has not come
)

func (a *audit) tick(now clock.Time) {
	if a.timer == nil { // it fired before it was stopped
		return
	}
	a.timer.Set(now.Add(auditPause))
	switch a.step {
	case auditMark:
		a.round.Add(1)
		for _, p := range a.credited() {
			p.task.Wake()
		}
		a.step = auditLose
		return
	case auditLose:
		for _, p := range a.credited() {
			if p.passed.Load() != a.round.Load() {
				return
			}
		}
		a.node.slots.each((*InChan).settle)
	}
	a.step = auditMark
	if missing := a.note(); !missing {
		a.step = auditNote
		a.timer.Set(now.Add(auditIdle))
	}
}

// credited returns the ports whose packets were counted before.
func (a *audit) credited() []*portState {
	a.ports = a.ports[:0]
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	for _, s := range a.node.links {
		for _, p := range s.ports {
			if p.credited != nil && p.live.Load() {
				a.ports = append(a.ports, p)
			}
		}
	}
	return a.ports
}

// note notes what every channel's programs have produced, and reports whether some of it has not come.
func (a *audit) note() (missing bool) {
	a.node.slots.each(func(c *InChan) {
		if c.noted = c.missing(); c.noted {
			c.produced = c.cell.Load().Produced.Load()
			missing = true
		}
	})
	return missing
}

// missing reports whether c's programs have produced another number of packets than have come.
func (c *InChan) missing() bool {
	s := c.cell.Load()
	return s != nil && s.Produced.Load() != c.arrived.Load()+uint64(c.lost)
}

// settle counts as lost what was noted and has not come.
func (c *InChan) settle() {
	s := c.cell.Load()
	if s == nil || !c.noted {
		return
	}
	c.noted = false
	came, produced := c.arrived.Load(), s.Produced.Load() // in this order: what has come was produced before
	if d := int64(produced-came) - c.lost; d < 0 {
		// Some that were taken for lost came after all, or came to this channel because rules changed while they were on their way.
		c.lost += d
		c.spend(int(d))
	} else if d := int64(c.produced-came) - c.lost; d > 0 {
		c.lost += d
		c.spend(int(d))
	}
}
