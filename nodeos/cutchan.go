package nodeos

import "github.com/janos-os/janos/packet"

// CutChan is a cut-through channel: what arrives by its in-channel leaves by its out-channel, at the
// domain's cost and without its code. Headers above the in-channel's protocol are forwarded as they are.
type CutChan struct {
	in  *InChan
	out *OutChan
}

// NewCutChan makes both channels and joins them. The in Spec must have no handler. The right to cut-through channels is
// all that a policy asks for it.
func (d *Domain) NewCutChan(in InChanSpec, out OutChanSpec) (*CutChan, error) {
	if err := d.may(OpNewCutChan, in.Protocol, false); err != nil {
		return nil, err
	}
	c := &CutChan{}
	var err error
	if c.out, err = d.newOutChan(out); err != nil {
		return nil, err
	}
	in.Handler = func(w *Worker, b *packet.Batch) {
		for _, p := range b.Packets() {
			p.Anno = packet.Anno{Time: p.Anno.Time, Link: p.Anno.Link}
		}
		c.out.Send(w, b)
	}
	if c.in, err = d.newInChan(in); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the channel, as InChan.Close does.
func (c *CutChan) Close() { c.in.Close() }

// Stats returns the counters of both ends.
func (c *CutChan) Stats() (in, out ChanStats) { return c.in.Stats(), c.out.Stats() }
