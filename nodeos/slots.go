package nodeos

import (
	"sync/atomic"

	"github.com/janos-os/janos/errs"
)

// MaxInChans is how many in-channels of a node may stand on links at a time. Those that only HandOff fills do not count.
const MaxInChans = 1 << 14

const slotChunk = 1 << 8

// Slots are the in-channels of a node that stand on links, by slot. A slot is a small number that is the channel's as long as it lives: what the
// rules of decision programs answer with, and where the channel's cell is. It is given to another channel when nobody can have it any
// more as the answer of an old decision. Safe for concurrent use.
type Slots struct {
	chunks [MaxInChans / slotChunk]atomic.Pointer[[slotChunk]atomic.Pointer[InChan]]
}

// At returns the channel of a slot, or nil.
func (s *Slots) At(slot uint32) *InChan {
	if slot >= MaxInChans {
		return nil
	}
	c := s.chunks[slot/slotChunk].Load()
	if c == nil {
		return nil
	}
	return c[slot%slotChunk].Load()
}

// set is called by one goroutine at a time.
func (s *Slots) set(slot uint32, c *InChan) {
	chunk := &s.chunks[slot/slotChunk]
	if chunk.Load() == nil {
		chunk.Store(new([slotChunk]atomic.Pointer[InChan]))
	}
	chunk.Load()[slot%slotChunk].Store(c)
}

// each calls fn for every channel.
func (s *Slots) each(fn func(c *InChan)) {
	for i := range s.chunks {
		chunk := s.chunks[i].Load()
		if chunk == nil {
			continue
		}
		for j := range chunk {
			if c := chunk[j].Load(); c != nil {
				fn(c)
			}
		}
	}
}

// slotPool gives out slots. What is given back waits until it is free for certain, as clear says, and is then used in the order in which
// it came.
type slotPool struct {
	Slots
	fresh    uint32        // none from here on has been used
	ready    []uint32      // to be used again
	left     []*InChan     // whose slots have been given back
	clearing []*InChan     // of those, the ones that clear is at
	cleared  chan struct{} // closed when the goroutine that clears has ended; nil: there is none
	stuck    int           // slots that some link may know for ever
}

// takeSlot gives c a slot. n.mu is held.
func (n *Node) takeSlot(c *InChan) error {
	p := &n.slots
	switch {
	case len(p.ready) > 0:
		c.slot = p.ready[0]
		p.ready = p.ready[1:]
	case p.fresh < MaxInChans:
		c.slot = p.fresh
		p.fresh++
	default:
		return errs.New(errs.Limit, "in-channel %s: the node has %d in-channels on links and can have no more; %d of them were closed a moment ago, and %d when a link would not forget them", c.spec.Protocol, MaxInChans, len(p.left)+len(p.clearing), p.stuck)
	}
	return nil
}

// dropSlot is for a channel that no decision program of a link knows any more. It does not wait. n.feeding is not held.
func (n *Node) dropSlot(c *InChan) {
	n.mu.Lock()
	n.slots.left = append(n.slots.left, c)
	if n.spec.Stepped { // whoever drives the node is not within a run that has asked a decision
		n.mu.Unlock()
		for n.clear() {
		}
		return
	}
	if n.slots.cleared == nil {
		done := make(chan struct{})
		n.slots.cleared = done
		go func() {
			defer close(done)
			for n.clear() {
			}
		}()
	}
	n.mu.Unlock()
}

// keepSlot is for a channel that some link may know for ever, since it refused to forget it: its slot is not used again.
func (n *Node) keepSlot() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slots.stuck++
}

// clear makes the slots ready that have been given back until now, and reports whether there were any. First all programs in the kernel have
// ended that may have answered with them, then every worker has ended the run that it was in.
func (n *Node) clear() bool {
	p := &n.slots
	n.mu.Lock()
	if len(p.left) == 0 {
		p.cleared = nil
		n.mu.Unlock()
		return false
	}
	p.clearing, p.left = p.left, nil
	n.mu.Unlock()

	n.feeding.Lock()
	cells := n.cells
	n.feeding.Unlock()
	if cells != nil {
		if err := cells.Settle(); err != nil && errs.KindOf(err) != errs.Dead {
			n.mu.Lock() // they wait for the next channel to be closed
			p.left, p.clearing, p.cleared = append(p.clearing, p.left...), nil, nil
			n.mu.Unlock()
			return false
		}
	}
	n.feeding.Lock()
	for _, c := range p.clearing {
		c.unshare()
	}
	n.feeding.Unlock()
	for _, w := range n.workers {
		w.Call(func() {})
	}
	n.feeding.Lock()
	n.mu.Lock()
	for _, c := range p.clearing {
		if n.cells != nil {
			n.cells.Reset(c.slot)
		}
		p.ready = append(p.ready, c.slot)
	}
	p.clearing = nil
	n.mu.Unlock()
	n.feeding.Unlock()
	return true
}
