package nodes

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
	"github.com/janos-os/janos/lab/wire"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/vm"
)

// epoch is the calendar's date at the start of every simulation.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// simFrames is how many packet buffers a simulated node has if its options do not say: there may be thousands.
const simFrames = 2048

// Sim is a laboratory network in one process. Under a virtual clock (NewSim) everything happens on the goroutine that calls Play or
// Run; under the machine's (NewLive) the nodes have threads of their own. Its methods are not safe for concurrent use.
type Sim struct {
	plan    *lab.Plan
	clk     clock.Clock
	virtual *clock.Virtual // clk, or nil when the network is live

	mu     sync.Mutex // guards out and outErr: live nodes write events at any time
	out    io.Writer
	outErr error

	engine *vm.Engine
	net    *mem.Net
	wires  *wires
	nodes  []*node.Node   // nil: killed or stopped
	specs  []*node.Spec   // by node
	all    []*nodeos.Node // wires first, then the nodes that run
}

// NewSim makes the nodes of a plan at time 0. Their events, and those of the network, are written to out as lines of JSON; out
// may be nil. The caller closes the result.
func NewSim(p *lab.Plan, out io.Writer) (*Sim, error) {
	v := clock.NewVirtual(epoch)
	return newSim(&Sim{plan: p, clk: v, virtual: v, out: out})
}

// NewLive is NewSim with the machine's clock: the network lives by itself, and Run waits.
func NewLive(p *lab.Plan, out io.Writer) (*Sim, error) {
	return newSim(&Sim{plan: p, clk: clock.NewReal(), out: out})
}

func newSim(s *Sim) (*Sim, error) {
	if s.out == nil {
		s.out = io.Discard
	}
	s.net, s.nodes = mem.NewNet(), make([]*node.Node, len(s.plan.Nodes))
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sim) build() (err error) {
	mtu := 0
	for _, l := range s.plan.Links {
		mtu = max(mtu, l.MTU)
	}
	frames := packet.PoolSpec{Frames: simFrames}
	if mtu > 1600 {
		frames.FrameSize = 4096
	}
	if s.engine, err = vm.NewEngine(vm.EngineSpec{Clock: s.clk}); err != nil {
		return err
	}
	if s.wires, err = newWires(s.plan, s.clk, s.virtual != nil, s.net, frames); err != nil {
		return err
	}
	for i := range s.plan.Nodes {
		spec, err := Spec(s.plan, &s.plan.Nodes[i])
		if err != nil {
			return err
		}
		if spec.Frames == 0 {
			spec.Frames = simFrames
		}
		s.specs = append(s.specs, spec)
		if err := s.start(i); err != nil {
			return err
		}
	}
	s.event("ready", "", "", "")
	return s.logged()
}

// logged returns what went wrong with the event log.
func (s *Sim) logged() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outErr
}

// start makes node i.
func (s *Sim) start(i int) error {
	name := s.plan.Nodes[i].Name
	if s.nodes[i] != nil {
		return errs.New(errs.Exists, "node %s runs already", name)
	}
	n, err := node.Start(s.specs[i], node.Env{
		Clock: s.clk, Stepped: s.virtual != nil, Engine: s.engine,
		Events: func(e any) { s.write(nodeEvent{s.clk.Now(), name, e}) },
		OpenLink: func(o *nodeos.Node, l node.Link) (nodeos.Link, error) {
			number := uint16(slices.IndexFunc(s.specs[i].Links, func(x node.Link) bool { return x.Name == l.Name }) + 1)
			return s.net.Open(o, number, nodeos.LinkSpec{Name: l.Name, Device: l.Device, Ring: ring, Opts: l.Options})
		},
	})
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	s.nodes[i] = n
	s.collect()
	return nil
}

// collect lists what has to be stepped, in a fixed order.
func (s *Sim) collect() {
	s.all = append(s.all[:0], s.wires.node)
	for _, n := range s.nodes {
		if n != nil {
			s.all = append(s.all, n.OS())
		}
	}
}

// nodeEvent is a line of the event log about something inside a node.
type nodeEvent struct {
	Time  clock.Time `json:"t_ns"`
	Node  string     `json:"node"`
	Event any        `json:"event"`
}

func (s *Sim) write(v any) {
	b, err := json.Marshal(v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		_, err = s.out.Write(append(b, '\n'))
	}
	if err != nil && s.outErr == nil {
		s.outErr = fmt.Errorf("event log: %w", err)
	}
}

func (s *Sim) event(what, node, link, detail string) {
	s.write(lab.Event{Time: s.clk.Now(), What: what, Node: node, Link: link, Detail: detail})
}

// Node returns the node of the given name, or nil if it does not run.
func (s *Sim) Node(name string) *node.Node {
	if n := s.plan.Node(name); n != nil {
		return s.nodes[n.Index]
	}
	return nil
}

// Now returns the time of the network's clock.
func (s *Sim) Now() clock.Time { return s.clk.Now() }

// Run lets the network live until the given time.
func (s *Sim) Run(until clock.Time) error {
	if s.virtual == nil {
		time.Sleep(until.Sub(s.clk.Now()))
		return s.logged()
	}
	if !nodeos.Simulate(s.virtual, until, s.all...) {
		return errs.New(errs.Internal, "nodes keep each other busy at %v without time passing", s.clk.Now())
	}
	return s.logged()
}

// Play carries the actions of the topology out, each at its time, and runs until the last is done and the topology's duration is over. It
// returns the errors of all actions that failed.
func (s *Sim) Play() error {
	actions := slices.Clone(s.plan.Actions)
	slices.SortStableFunc(actions, func(a, b lab.Action) int { return cmp.Compare(a.At, b.At) })
	start := s.clk.Now()
	var all []error
	for _, a := range actions {
		if err := s.Run(max(start.Add(a.At), s.clk.Now())); err != nil {
			return errors.Join(append(all, err)...)
		}
		if err := s.Act(a); err != nil {
			s.event("failed", a.Node, a.Link, fmt.Sprintf("%s: %v", a.Do, err))
			all = append(all, fmt.Errorf("action at %s, %s: %w", a.At, a.Do, err))
		}
	}
	if err := s.Run(max(start.Add(s.plan.Duration), s.clk.Now())); err != nil {
		all = append(all, err)
	}
	s.event("end", "", "", "")
	return errors.Join(append(all, s.logged())...)
}

// Act carries one action out now. A probe takes as much virtual time as it takes.
func (s *Sim) Act(a lab.Action) error {
	switch a.Do {
	case lab.LinkDown, lab.LinkUp, lab.Impair:
		l := s.plan.Link(a.Link)
		if l == nil {
			return errs.New(errs.NotFound, "no link %q", a.Link)
		}
		c := s.wires.links[l.Index]
		detail := ""
		switch a.Do {
		case lab.Impair:
			if err := a.Impair.Check(); err != nil {
				return errs.New(errs.Invalid, "link %s: %w", l.Name, err)
			}
			s.wires.do(func() {
				for _, ln := range c.lanes {
					ln.model.Set(a.Impair)
				}
			})
			b, _ := json.Marshal(a.Impair) // numbers: cannot fail
			detail = string(b)
		default:
			s.wires.cut(c, a.Do == lab.LinkDown)
		}
		s.event(string(a.Do), "", l.Name, detail)
		return nil
	}
	n := s.plan.Node(a.Node)
	if n == nil {
		return errs.New(errs.NotFound, "no node %q", a.Node)
	}
	live := s.nodes[n.Index]
	if live == nil && a.Do != lab.Start {
		return errs.New(errs.NotFound, "node %s does not run; start it first", n.Name)
	}
	switch a.Do {
	case lab.Start:
		if err := s.start(n.Index); err != nil {
			return err
		}
		s.event("restart", n.Name, "", "")
		return nil
	case lab.Kill, lab.Stop:
		return s.end(n, a.Do)
	case lab.Send, lab.Probe:
		return s.inject(live, n, a)
	}
	return errs.New(errs.NotSupported, "%s needs network namespaces, in one process there are none; leave it out or run without --virtual", a.Do)
}

// end takes a node away. To be killed means that it says nothing: its links are cut before it notices.
func (s *Sim) end(n *lab.NodePlan, how lab.Verb) error {
	live := s.nodes[n.Index]
	cut := make([]*cable, 0, len(n.Interfaces))
	if how == lab.Kill {
		for _, f := range n.Interfaces {
			if c := s.wires.links[f.Link]; s.wires.cut(c, true) {
				cut = append(cut, c)
			}
		}
	}
	s.event(map[lab.Verb]string{lab.Kill: "killed", lab.Stop: "stopped"}[how], n.Name, "", "")
	s.nodes[n.Index] = nil
	err := live.Close()
	s.collect()
	for _, c := range cut {
		s.wires.drain(c) // what it said while it was closed
		s.wires.cut(c, false)
	}
	return err
}

// inject carries out send and probe.
func (s *Sim) inject(live *node.Node, n *lab.NodePlan, a lab.Action) error {
	ee := live.ANTS()
	if ee == nil {
		return errs.New(errs.NotFound, "node %s has no execution environment for capsules", n.Name)
	}
	k := &a.Capsule
	to := s.plan.Node(k.To)
	if to == nil {
		return errs.New(errs.NotFound, "no node %q", k.To)
	}
	c := ants.Capsule{Dst: address(to), TTL: k.TTL, Data: slices.Clone(k.Payload)}
	if k.Port != 0 {
		c.HasPorts, c.DstPort = true, k.Port
	}
	if k.Credit != 0 {
		c.HasCredit, c.Credit = true, ants.Credit{Count: k.Credit}
	}
	found := false
	for _, p := range ee.Stats().Protocols {
		for _, cl := range p.Classes {
			if p.Name == k.Protocol && cl.Name == k.Class {
				c.Method, found = cl.Method, true
			}
		}
	}
	if !found {
		return errs.New(errs.NotFound, "node %s has no class %s of protocol %s; name it under protocols", n.Name, k.Class, k.Protocol)
	}
	if a.Do == lab.Probe {
		return s.probe(ee, c, n, to, a)
	}
	sent, refused := 0, 0
	start := s.clk.Now()
	for i := range max(k.Count, 1) {
		if err := s.Run(max(start.Add(time.Duration(i)*k.Interval), s.clk.Now())); err != nil {
			return err
		}
		if k.SeqAt > 0 {
			binary.BigEndian.PutUint32(c.Data[k.SeqAt-1:], uint32(i))
		}
		switch err := ee.Send(&c); errs.KindOf(err) {
		case errs.OK:
			sent++
		case errs.NoMemory:
			refused++
		default:
			return err
		}
	}
	s.event("send", n.Name, "", sentText(k, to, sent, refused))
	return nil
}

// probeSlack is how long after a probe must have ended by its own limits it is given up.
const probeSlack = 10 * time.Second

func (s *Sim) probe(ee *ants.EE, c ants.Capsule, n, to *lab.NodePlan, a lab.Action) error {
	k := &a.Capsule
	if k.SeqAt == 0 {
		return errs.New(errs.Invalid, "a probe needs a payload, and seq-at: where in it the number of the capsule goes")
	}
	p, err := ee.Probe(ants.ProbeSpec{Capsule: c, Count: max(k.Count, 1), Interval: k.Interval, SeqOffset: k.SeqAt - 1, Timeout: k.Wait})
	if err != nil {
		return err
	}
	if s.virtual == nil {
		<-p.Done()
		return s.probed(p, n, to, k)
	}
	limit := s.clk.Now().Add(time.Duration(k.Count)*k.Interval + k.Wait + probeSlack)
	for {
		select {
		case <-p.Done():
			return s.probed(p, n, to, k)
		default:
		}
		next := clock.Never
		for _, o := range s.all {
			next = min(next, o.NextEvent())
		}
		if next > limit {
			p.Stop()
			return errs.New(errs.Timeout, "the probe of node %s does not end", n.Name)
		}
		if err := s.Run(max(next, s.clk.Now())); err != nil {
			return err
		}
	}
}

// probed writes the event of a probe that has ended.
func (s *Sim) probed(p *ants.Probe, n, to *lab.NodePlan, k *lab.Capsule) error {
	text, err := probeText(k, to, p.Result())
	if err == nil {
		s.event("probe", n.Name, "", text)
	}
	return err
}

// WireStats returns what the links counted.
func (s *Sim) WireStats() []wire.LinkStats {
	out := make([]wire.LinkStats, len(s.plan.Links))
	s.wires.do(func() {
		for i, l := range s.plan.Links {
			out[i].Name = l.Name
			for e, ln := range s.wires.links[i].lanes {
				out[i].Directions[e] = ln.stats
			}
		}
	})
	return out
}

// Close ends all nodes and gives everything back.
func (s *Sim) Close() error {
	var all []error
	for i, n := range s.nodes {
		if n != nil {
			s.nodes[i] = nil
			all = append(all, n.Close())
		}
	}
	if s.wires != nil {
		all = append(all, s.wires.close())
	}
	if s.engine != nil {
		all = append(all, s.engine.Close())
	}
	return errors.Join(all...)
}
