package nodeos

import (
	"slices"
	"weak"
)

// Spec returns what the channel was made from. It must not be changed.
func (c *InChan) Spec() InChanSpec { return c.spec }

// Spec returns what the channel was made from. It must not be changed.
func (c *OutChan) Spec() OutChanSpec { return c.spec }

// Spec returns what the channel was made from, with the out-channel of the last Redirect. It must not be changed.
func (c *CutChan) Spec() CutChanSpec {
	c.place.Lock()
	defer c.place.Unlock()
	return c.spec
}

// CutChans returns the node's cut-through channels, oldest first. Their in-channels are among InChans too.
func (n *Node) CutChans() []*CutChan {
	n.feeding.Lock()
	defer n.feeding.Unlock()
	return n.cuts()
}

// OutChans returns the out-channels of d that are open and that somebody still has, oldest first, without those of cut-through channels. Nobody need close one, so
// the domain does not keep them either.
func (d *Domain) OutChans() []*OutChan {
	d.mu.Lock()
	defer d.mu.Unlock()
	var cs []*OutChan
	for _, p := range d.outChans {
		if c := p.Value(); c != nil && !c.closed.Load() {
			cs = append(cs, c)
		}
	}
	return cs
}

// noteOut remembers an out-channel for OutChans.
func (d *Domain) noteOut(c *OutChan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.outChans) == cap(d.outChans) { // before it grows
		d.outChans = slices.DeleteFunc(d.outChans, func(p weak.Pointer[OutChan]) bool {
			c := p.Value()
			return c == nil || c.closed.Load()
		})
	}
	d.outChans = append(d.outChans, weak.Make(c))
}
