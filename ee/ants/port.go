package ants

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// PortSpec says what a port should be.
type PortSpec struct {
	Name  string // of the link
	Link  uint16 // its number, as in packet.Anno and Hop
	MTU   int    // bytes of a packet from the ANEP header on
	Queue int    // packets that wait to be sent; 0: 512

	// Domain is whose turn the packets are sent in; it pays for those that wait. Nil: the EE's own.
	Domain *nodeos.Domain
}

// Port is where capsules leave the EE towards a link: a bounded queue, which a task empties. The packets begin with the
// ANEP header and have Anno.Dst and, where they are known, LinkAddr and DstPort set for the layers below.
type Port struct {
	ee      *EE
	spec    PortSpec
	in      *nodeos.InChan
	pending packet.Batch
}

// NewPort makes a port. A link that has one already is errs.Exists.
func (e *EE) NewPort(spec PortSpec) (*Port, error) {
	if spec.Queue == 0 {
		spec.Queue = 512
	}
	if spec.Link == 0 || spec.MTU < MaxOverhead {
		return nil, errs.New(errs.Invalid, "ants: port %s: link number %d, MTU %d; want a link, and an MTU of at least %d", spec.Name, spec.Link, spec.MTU, MaxOverhead)
	}
	if spec.Domain == nil {
		spec.Domain = e.domain
	}
	p := &Port{ee: e, spec: spec}
	var err error
	p.in, err = spec.Domain.NewInChan(nodeos.InChanSpec{Protocol: "ants port " + spec.Name, Worker: -1, Quota: spec.Queue, HandOffOnly: true})
	if err != nil {
		return nil, err
	}
	cerr := e.call(func() {
		if e.portOf(spec.Link) != nil {
			err = errs.New(errs.Exists, "ants: link %d (%s) has a port already", spec.Link, spec.Name)
			return
		}
		for len(e.byLink) <= int(spec.Link) {
			e.byLink = append(e.byLink, nil)
		}
		e.ports = append(e.ports, p)
		e.byLink[spec.Link] = p
	})
	if err == nil {
		err = cerr
	}
	if err != nil {
		p.in.Close()
		return nil, err
	}
	return p, nil
}

// Close takes the port away: what is sent to its link has no route, and what waits is freed. It may be called from anywhere, and
// more than once; it does not wait.
func (p *Port) Close() {
	p.in.Close()
	p.ee.home.Post(func() {
		e := p.ee
		if e.portOf(p.spec.Link) != p {
			return
		}
		e.byLink[p.spec.Link] = nil
		e.ports = slices.DeleteFunc(e.ports, func(q *Port) bool { return q == p })
	})
}

// Spec returns what the port was made of.
func (p *Port) Spec() PortSpec { return p.spec }

// SetTask names the task that is woken when there are packets to send.
func (p *Port) SetTask(t *nodeos.Task) { p.in.SetTask(t) }

// Receive appends packets to be sent to b until it is full and returns how many; the caller then owns them, and the port's
// domain pays for their frames. On the EE's worker, the processor time of the run that calls it is billed to the protocols
// whose packets they are.
func (p *Port) Receive(w *nodeos.Worker, b *packet.Batch) int {
	from := b.Len()
	n := p.in.Receive(b)
	if w != p.ee.home {
		for _, q := range b.Packets()[from:] {
			q.Anno.User = [16]byte{}
		}
		return n
	}
	var last uint32
	run := 0
	for _, q := range b.Packets()[from:] {
		id := binary.NativeEndian.Uint32(q.Anno.User[:])
		if id != last && run > 0 {
			p.bill(w, last, run)
			run = 0
		}
		last = id
		run++
		q.Anno.User = [16]byte{}
	}
	if run > 0 {
		p.bill(w, last, run)
	}
	return n
}

func (p *Port) bill(w *nodeos.Worker, number uint32, n int) {
	if f := p.ee.flows[number]; f != nil && f.domain.State() == nodeos.Active {
		w.Bill(f.domain, n)
	}
}

// handOff gives what is pending to the queue.
func (p *Port) handOff(w *nodeos.Worker) {
	n := p.pending.Len()
	p.ee.drops[DropPortFull] += uint64(n - p.in.HandOff(w, &p.pending))
}

// binding is the task of a port that is bound to channels.
type binding struct {
	port  *Port
	out   *nodeos.OutChan
	batch packet.Batch
}

// Run implements nodeos.Runnable.
func (t *binding) Run(b nodeos.Budget) nodeos.Used {
	n := t.port.Receive(b.Worker, &t.batch)
	t.out.Send(b.Worker, &t.batch)
	if n == packet.MaxBatch {
		return nodeos.Used{Packets: n, Next: nodeos.More}
	}
	return nodeos.Used{Packets: n}
}

// BindSpec says how an EE uses a link without an element graph.
type BindSpec struct {
	Link    string // name, such as eth0
	Stack   string // layers above the link, such as ether/ip/udp (the default), ether/ip6/udp, udp
	Queue   int    // of the port; 0: its default
	InQuota int    // of the in-channel; 0: nodeos.DefaultQuota
	Port    uint16 // UDP; 0: UDPPort
}

// Bind makes an in-channel for ANTS capsules on a link, an out-channel, and a port between them and the EE. The link's
// worker may be any; the EE's part runs on its own.
func (e *EE) Bind(spec BindSpec) (*Port, error) {
	if spec.Stack == "" {
		spec.Stack = "ether/ip/udp"
	}
	if spec.Port == 0 {
		spec.Port = UDPPort
	}
	address := ":" + strconv.Itoa(int(spec.Port))
	l, err := e.node.Link(spec.Link)
	if err != nil {
		return nil, err
	}
	number := l.Info().Number
	proto := spec.Link + "/" + spec.Stack
	out, err := e.domain.NewOutChan(nodeos.OutChanSpec{Protocol: proto, Address: address, Source: address})
	if err != nil {
		return nil, err
	}
	p, err := e.NewPort(PortSpec{Name: spec.Link, Link: number, MTU: out.MTU(), Queue: spec.Queue})
	if err != nil {
		return nil, err
	}
	t, err := e.domain.NewTask(nodeos.TaskSpec{Name: "ants out " + spec.Link, Worker: -1, Run: &binding{port: p, out: out}})
	if err != nil {
		return nil, err
	}
	p.SetTask(t)
	_, err = e.domain.NewInChan(nodeos.InChanSpec{
		Protocol: proto, Address: address, Key: Key(), Worker: -1, Quota: spec.InQuota,
		Handler: func(w *nodeos.Worker, b *packet.Batch) { e.Input(w, number, b) },
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}
