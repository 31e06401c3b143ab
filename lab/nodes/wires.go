package nodes

import (
	"fmt"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/wire"
	"github.com/janos-os/janos/linkmodel"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// maxUnderWay bounds the frames under way in one direction of a link.
const maxUnderWay = 16_384

// wires is the cabling of a network in one process: a node of its own, with one worker and a task for each direction of each link. It
// sits between the nodes as the wire process does between namespaces:
//
//	node a          wires            node b
//	eth0 ==link3a== lane -> .. ==link3b== eth1     ==== segment of Ethernet in memory
type wires struct {
	node  *nodeos.Node
	net   *mem.Net
	links []*cable
}

// cable is a link.
type cable struct {
	lanes [2]*lane
	down  bool
}

// lane is one direction. Frames that are under way are copies, so that a slow link does not hold packet memory.
type lane struct {
	cable  *cable
	in     nodeos.Link // the end where frames come in
	out    nodeos.Link
	model  *linkmodel.Lane
	flight linkmodel.Fifo[flight] // under way, earliest first
	free   [][]byte
	batch  packet.Batch
	stats  wire.Stats
}

type flight struct {
	arrival clock.Time
	frame   []byte
}

func newWires(p *lab.Plan, clk clock.Clock, stepped bool, net *mem.Net, frames packet.PoolSpec) (*wires, error) {
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "wires", Clock: clk, Seed: p.Seed, Stepped: stepped, Packets: frames})
	if err != nil {
		return nil, err
	}
	w := &wires{node: n, net: net}
	d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "links"}})
	if err != nil {
		return nil, closing(n, err)
	}
	for _, l := range p.Links {
		c, err := w.cable(d, p.Seed, &l)
		if err != nil {
			return nil, closing(n, fmt.Errorf("link %s: %w", l.Name, err))
		}
		w.links = append(w.links, c)
	}
	return w, nil
}

func closing(n *nodeos.Node, err error) error {
	_ = n.Close() // err is why
	return err
}

func (w *wires) cable(d *nodeos.Domain, seed uint64, l *lab.LinkPlan) (*cable, error) {
	var ends [2]nodeos.Link
	for e := range 2 {
		link, err := w.net.Open(w.node, uint16(2*l.Index+e+1), nodeos.LinkSpec{
			Name: segment(l.Index, e), Ring: ring,
			Opts: map[string]string{"mtu": fmt.Sprint(l.MTU), "promisc": "true"},
		})
		if err != nil {
			return nil, err
		}
		ends[e] = link
	}
	c := &cable{}
	for e := range 2 {
		// The same random numbers as the wire process uses for this direction.
		model := linkmodel.NewLane(l.Impair, clock.NewRand(seed, uint64(2*l.Index+e)))
		ln := &lane{cable: c, in: ends[e], out: ends[1-e], model: model}
		t, err := d.NewTask(nodeos.TaskSpec{Name: fmt.Sprintf("%s.%d", l.Name, e), Run: ln})
		if err != nil {
			return nil, err
		}
		if err := ln.in.Attach(t.Worker(), t); err != nil {
			return nil, err
		}
		c.lanes[e] = ln
	}
	return c, nil
}

// ring is the receive ring of an end of a segment, in frames.
const ring = 4096

// Run implements nodeos.Runnable: it takes what has come in, and sends on what has arrived.
func (l *lane) Run(b nodeos.Budget) nodeos.Used {
	cache := b.Worker.Cache()
	var used nodeos.Used
	more := l.in.Receive(cache, &l.batch)
	used.Packets = len(l.batch.Packets())
	for _, p := range l.batch.Packets() {
		l.take(b.Now, p.Data())
	}
	cache.FreeBatch(&l.batch)
	for l.flight.Len() > 0 && l.flight.At(0).arrival <= b.Now {
		if l.batch.Room() == 0 {
			l.out.Send(cache, &l.batch)
		}
		f := l.flight.Pop()
		if p := cache.AllocFrom(packet.Node, f.frame); p != nil {
			l.batch.Append(p)
			l.stats.Delivered++
		} else {
			l.stats.Undelivered++ // no packet memory left
		}
		l.free = append(l.free, f.frame)
	}
	l.out.Send(cache, &l.batch)
	switch {
	case more:
		used.Next = nodeos.More
	case l.flight.Len() > 0:
		used.Next, used.Until = nodeos.IdleUntil, l.flight.At(0).arrival
	}
	return used
}

// take lets the lane decide about a frame.
func (l *lane) take(now clock.Time, frame []byte) {
	l.stats.Received++
	if l.cable.down {
		l.stats.Undelivered++
		return
	}
	arrival, v := l.model.Offer(now, len(frame))
	switch {
	case v == linkmodel.Lost:
		l.stats.Lost++
		return
	case v == linkmodel.QueueFull:
		l.stats.QueueFull++
		return
	case l.flight.Len() >= maxUnderWay:
		l.stats.Overflow++
		return
	}
	var mem []byte
	if k := len(l.free); k > 0 {
		mem, l.free = l.free[k-1], l.free[:k-1]
	}
	l.flight.Push(flight{arrival, append(mem[:0], frame...)})
}

// do runs fn where the lanes run.
func (w *wires) do(fn func()) { w.node.Worker(0).Call(fn) }

// cut lets a cable carry nothing, or again, and reports whether that is a change.
func (w *wires) cut(c *cable, down bool) (changed bool) {
	w.do(func() { changed, c.down = c.down != down, down })
	return changed
}

// drain loses what waits at both ends of a cable.
func (w *wires) drain(c *cable) {
	w.do(func() {
		cache := w.node.Worker(0).Cache()
		for _, l := range c.lanes {
			for more := true; more; {
				more = l.in.Receive(cache, &l.batch)
				l.stats.Received += uint64(len(l.batch.Packets()))
				l.stats.Undelivered += uint64(len(l.batch.Packets()))
				cache.FreeBatch(&l.batch)
			}
		}
	})
}

// close gives links and packet memory back.
func (w *wires) close() error {
	err := w.node.Close()
	for _, c := range w.links {
		for _, l := range c.lanes {
			if e := l.in.Close(); err == nil {
				err = e
			}
		}
	}
	return err
}
