package nodeosabi

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// OnNode offers a domain of a node to guests.
func OnNode(d *nodeos.Domain) Domain { return &nodeDomain{d} }

// nodeDomain implements Domain.
type nodeDomain struct{ d *nodeos.Domain }

// Path implements Domain.
func (n *nodeDomain) Path() string { return n.d.Path() }

// Account implements Domain.
func (n *nodeDomain) Account() *resctl.Account { return n.d.Account() }

// New implements Domain. The domain has the files of nobody, and the worker and the credential of the one above.
func (n *nodeDomain) New(spec DomainSpec, dead func()) (Domain, error) {
	d, err := n.d.NewDomain(nodeos.DomainSpec{
		Account: resctl.Spec{Name: spec.Name, Share: spec.Share, Limit: spec.Limit}, Worker: n.d.Home().ID(), Descriptors: -1,
		OnExit: func(nodeos.Exit) { dead() },
	})
	if err != nil {
		return nil, err
	}
	return &nodeDomain{d}, nil
}

// Set implements Domain.
func (n *nodeDomain) Set(spec DomainSpec) error {
	if err := n.d.SetShare(spec.Share); err != nil {
		return err
	}
	for r, limit := range spec.Limit {
		if err := n.d.SetLimit(resctl.Resource(r), limit); err != nil {
			return err
		}
	}
	return nil
}

// State implements Domain.
func (n *nodeDomain) State() (State, error) { return State(n.d.State()), n.d.Reason() }

// End implements Domain.
func (n *nodeDomain) End(reason error) { n.d.Terminate(reason) }

// Host implements Domain.
func (n *nodeDomain) Host(end func(error)) (func(), error) { return n.d.Host(end) }

// nodeIn is an in-channel of a node.
type nodeIn struct {
	d     *nodeos.Domain
	c     *nodeos.InChan
	task  *nodeos.Task
	sink  Sink
	batch packet.Batch // what the sink has had no room for
	close sync.Once
}

// In implements Domain.
func (n *nodeDomain) In(p *Port, spec *InSpec, sink Sink) (Channel, error) {
	c := &nodeIn{d: n.d, sink: sink}
	var err error
	c.c, err = n.d.NewInChan(nodeos.InChanSpec{
		Protocol: p.Protocol, Address: spec.Address, Key: spec.Key, Quota: spec.Quota, Rate: spec.Rate, Burst: spec.Burst, Worker: -1,
	})
	if err != nil {
		return nil, err
	}
	if c.task, err = n.d.NewTask(nodeos.TaskSpec{Name: "guest in " + p.Protocol, Worker: -1, Run: nodeos.RunFunc(c.run)}); err != nil {
		c.c.Close()
		return nil, err
	}
	c.c.SetTask(c.task)
	return c, nil
}

func (c *nodeIn) run(b nodeos.Budget) nodeos.Used {
	w := b.Worker
	by := c.d.Account().Meter(w.ID())
	w.Touch(by)
	u := nodeos.Used{}
	if !c.sink.Begin(by) {
		return u // Pump when there is room
	}
	for {
		if c.batch.Len() == 0 && c.c.Receive(&c.batch) == 0 {
			return u
		}
		done, ps := 0, c.batch.Packets()
		for _, p := range ps {
			m := Meta{Link: uint32(p.Anno.Link), Time: p.Anno.Time, Remote: remoteOf(p)}
			ok, fuel := c.sink.Put(by, p.Data(), &m)
			if !ok {
				break
			}
			u.Fuel += int64(fuel)
			done++
		}
		w.Cache().FreeAll(ps[:done])
		all := done == len(ps)
		c.batch.Drop1st(done)
		if u.Packets += done; !all {
			return u
		}
		if u.Packets >= b.Packets {
			u.Next = nodeos.More
			return u
		}
	}
}

// remoteOf finds who sent a packet.
func remoteOf(p *packet.Packet) (r Remote) {
	if h := p.MAC(); len(h) >= 12 {
		if n, ok := p.NetworkOffset(); !ok || n != 0 { // a frame as it is has no neighbour to answer
			copy(r.HW[:], h[6:12])
			r.HasHW = true
		}
	}
	if p.Anno.Src.IsValid() {
		r.Addr = netip.AddrPortFrom(p.Anno.Src, p.Anno.SrcPort)
		return r
	}
	port := uint16(0)
	if t := p.Transport(); len(t) >= 2 {
		port = binary.BigEndian.Uint16(t)
	}
	switch h := p.Network(); {
	case len(h) >= 20 && h[0]>>4 == 4:
		r.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte(h[12:16])), port)
	case len(h) >= 40 && h[0]>>4 == 6:
		r.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(h[8:24])), port)
	}
	return r
}

// Pump implements Channel.
func (c *nodeIn) Pump() { c.task.Wake() }

// Stats implements Channel.
func (c *nodeIn) Stats() Counters { return counters(c.c.Stats()) }

func counters(s nodeos.ChanStats) Counters {
	return Counters{Packets: s.Packets, Bytes: s.Bytes, Full: s.Full, Limited: s.Limited, Poor: s.Poor, Invalid: s.Invalid, Handed: s.Handed, Held: s.Held}
}

// Close implements Channel.
func (c *nodeIn) Close() {
	c.close.Do(func() {
		c.c.Close()
		c.task.Worker().Post(func() {
			c.task.Close()
			c.task.Worker().Cache().FreeBatch(&c.batch)
		})
	})
}

// nodeOut is an out-channel of a node.
type nodeOut struct {
	d     *nodeos.Domain
	p     *Port
	c     *nodeos.OutChan
	task  *nodeos.Task
	q     *Queue
	batch packet.Batch
	close sync.Once
	poor  atomic.Uint64 // packets that there was no frame for
}

// Out implements Domain.
func (n *nodeDomain) Out(p *Port, spec *OutSpec, q *Queue) (Channel, error) {
	c := &nodeOut{d: n.d, p: p, q: q}
	s := nodeos.OutChanSpec{Protocol: p.Protocol, Source: spec.Source, BitRate: spec.BitRate}
	if spec.Remote.Addr.Addr().IsValid() {
		s.Address = spec.Remote.Addr.String()
	}
	if spec.Remote.HasHW {
		s.LinkAddr = spec.Remote.HW
	}
	var err error
	if c.c, err = n.d.NewOutChan(s); err != nil {
		return nil, err
	}
	if c.task, err = n.d.NewTask(nodeos.TaskSpec{Name: "guest out " + p.Protocol, Worker: -1, Run: nodeos.RunFunc(c.run)}); err != nil {
		c.c.Close()
		return nil, err
	}
	return c, nil
}

func (c *nodeOut) run(b nodeos.Budget) nodeos.Used {
	w := b.Worker
	u := nodeos.Used{}
	for {
		data, m := c.q.First()
		for ; data != nil && c.batch.Room() > 0 && u.Packets < b.Packets; data, m = c.q.First() {
			u.Packets++
			if p := w.Cache().AllocFrom(c.d.Owner(), data); p == nil {
				c.poor.Add(1)
			} else {
				c.address(p, &m.Remote)
				c.batch.Append(p)
			}
			c.q.Pop()
		}
		c.c.Send(w, &c.batch)
		c.q.Taken()
		switch {
		case u.Packets >= b.Packets:
			u.Next = nodeos.More
			return u
		case data == nil:
			return u
		}
	}
}

// address says where a packet goes.
func (c *nodeOut) address(p *packet.Packet, r *Remote) {
	if a := r.Addr.Addr(); a.IsValid() {
		p.Anno.Dst, p.Anno.DstPort = a, r.Addr.Port()
		if !r.HasHW && c.p.Neighbour != nil {
			p.Anno.LinkAddr, p.Anno.HasLink = c.p.Neighbour(a)
		}
	}
	if r.HasHW {
		p.Anno.LinkAddr, p.Anno.HasLink = r.HW, true
	}
}

// Pump implements Channel.
func (c *nodeOut) Pump() { c.task.Wake() }

// Stats implements Channel.
func (c *nodeOut) Stats() Counters {
	s := counters(c.c.Stats())
	s.Poor += c.poor.Load()
	return s
}

// Close implements Channel. What the queue has is sent before, as far as that can be done at once.
func (c *nodeOut) Close() {
	c.close.Do(func() {
		w := c.task.Worker()
		w.Post(func() { c.finish(w) })
	})
}

// finish ends the channel on its worker.
func (c *nodeOut) finish(w *nodeos.Worker) {
	if c.d.State() == nodeos.Active {
		c.run(nodeos.Budget{Now: w.Now(), Time: time.Millisecond, Packets: nodeos.MaxRun, Worker: w})
	}
	c.task.Close()
	c.c.Close()
}
