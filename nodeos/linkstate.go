package nodeos

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// linkState is a link as its node knows it: its ports and the channels that they feed.
type linkState struct {
	node    *Node
	link    Link
	info    LinkInfo
	ports   []*portState
	prog    atomic.Pointer[demux.Program]
	refused []Refusal // drivers that were tried before; under node.mu

	addrs  atomic.Pointer[[]netip.Prefix] // own ones, once SetPrefixes has said them
	closed atomic.Bool                    // nothing is sent any more
	pacer  atomic.Pointer[pacer]

	unclaimed atomic.Uint64
	txDrops   atomic.Uint64
}

// portState is a port of a link: the worker that runs it and the task that receives.
type portState struct {
	link   *linkState
	port   Port
	worker *Worker
	task   *Task
	batch  packet.Batch
	wake   []touched               // in this run
	ids    [packet.MaxBatch]uint32 // slots, by place in batch
	after  [packet.MaxBatch]int16  // place in batch of the next packet of the same slot
	where  [64]uint8               // place in wake of a slot, by its last bits; a guess
	run    [packet.MaxBatch]*packet.Packet
	tx     *ring // frames from out-channels on workers that have no port of the link

	attached bool // the worker's

	// For the audit.
	credited Credited // the port if it is; nil otherwise
	rated    bool     // programs have checked the rates of channels
	live     atomic.Bool
	marked   uint64        // round in which the port marked last; the worker's
	passed   atomic.Uint64 // round of whose mark all has been delivered
}

// touched is a channel that has packets in a batch. They are a list by place in the batch.
type touched struct {
	slot        uint32
	c           *InChan // nil: nobody's
	packets     int
	first, last int16
}

// OpenLink opens a link with a registered driver and attaches it to its worker.
func (n *Node) OpenLink(spec LinkSpec) (Link, error) {
	if err := n.root.may(OpOpenLink, spec.Name, false); err != nil {
		return nil, err
	}
	if spec.Name == "" || spec.Name == demux.AnyLink {
		return nil, errs.New(errs.Invalid, "link name %q: want a name other than %q", spec.Name, demux.AnyLink)
	}
	workers := spec.Workers
	if len(workers) == 0 {
		workers = []int{spec.Worker}
	}
	if err := n.checkWorkers(spec.Name, workers); err != nil {
		return nil, err
	}
	n.mu.Lock()
	if n.closed || n.links[spec.Name] != nil {
		n.mu.Unlock()
		return nil, errs.New(errs.Exists, "link %s is open already, or the node is closed", spec.Name)
	}
	n.numbers++
	number := n.numbers
	n.mu.Unlock()

	drivers.mu.Lock()
	try := []string{spec.Driver}
	if spec.Driver == "" {
		try = slices.Clone(drivers.order)
	}
	opens := make([]OpenFunc, len(try))
	for i, name := range try {
		opens[i] = drivers.open[name]
	}
	drivers.mu.Unlock()

	var refused []Refusal
	for i, open := range opens {
		if open == nil {
			return nil, errs.New(errs.NotFound, "link %s: unknown driver %q (there are %v)", spec.Name, try[i], Drivers())
		}
		spec.Driver = try[i]
		l, err := open(n, number, spec)
		if err == nil {
			if _, err = portsFor(l, workers); err != nil {
				l.Close()
			}
		}
		if err != nil {
			if len(try) == 1 {
				return nil, err // it names link and driver
			}
			refused = append(refused, Refusal{try[i], err})
			continue
		}
		if err := n.addLink(l, workers); err != nil {
			l.Close()
			return nil, err
		}
		n.noteRefusals(spec.Name, refused)
		return l, nil
	}
	return nil, errs.New(refusedKind(refused), "link %s: none of the drivers %s could open it (janos doctor tells what works here): %s",
		spec.Name, strings.Join(try, ", "), refusals(spec.Name, refused))
}

// NextLinkNumber reserves a number for a link that is made by hand and added with AddLink.
func (n *Node) NextLinkNumber() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.numbers++
	return n.numbers
}

// AddLink attaches an open link to a worker, or the ports of one that is Shared to a worker each. OpenLink does it for
// links that it opens.
func (n *Node) AddLink(l Link, workers ...int) error {
	if err := n.root.may(OpOpenLink, l.Info().Name, false); err != nil {
		return err
	}
	if err := n.checkWorkers(l.Info().Name, workers); err != nil {
		return err
	}
	return n.addLink(l, workers)
}

// portsFor returns the ports of a link, one for each worker.
func portsFor(l Link, workers []int) ([]Port, error) {
	ports := []Port{l}
	if m, ok := l.(Shared); ok {
		ports = m.Ports()
	}
	if len(ports) != len(workers) {
		info := l.Info()
		return nil, errs.New(errs.NotSupported, "link %s: driver %s has %d port(s) for it, %d worker(s) are to run it", info.Name, info.Driver, len(ports), len(workers))
	}
	return ports, nil
}

// checkWorkers refuses workers that the node does not have, and the same one twice.
func (n *Node) checkWorkers(link string, workers []int) error {
	for i, w := range workers {
		if w < 0 || w >= len(n.workers) {
			return errs.New(errs.Invalid, "link %s: worker %d, the node has %d", link, w, len(n.workers))
		}
		if slices.Contains(workers[:i], w) {
			return errs.New(errs.Invalid, "link %s: worker %d is to run it twice", link, w)
		}
	}
	return nil
}

func (n *Node) addLink(l Link, workers []int) error {
	s := &linkState{node: n, link: l, info: l.Info()}
	ports, err := portsFor(l, workers)
	if err != nil {
		return err
	}
	for i, w := range workers {
		p := &portState{link: s, port: ports[i], worker: n.workers[w], tx: newRing(1024), wake: make([]touched, 0, 64)}
		p.credited, _ = ports[i].(Credited)
		r, ok := ports[i].(Rated)
		p.rated = p.credited != nil || ok && r.Rated()
		name := "link " + s.info.Name
		if len(ports) > 1 {
			name += fmt.Sprintf(" port %d", i)
		}
		t, err := n.root.newTask(TaskSpec{Name: name, Worker: w, Run: p})
		if err != nil {
			s.closeTasks()
			return err
		}
		p.task = t
		s.ports = append(s.ports, p)
	}
	n.feeding.Lock()
	n.mu.Lock()
	if closed := n.closed; closed || n.links[s.info.Name] != nil {
		n.mu.Unlock()
		n.feeding.Unlock()
		s.closeTasks()
		if closed {
			return errs.New(errs.Dead, "link %s: node %s is closed", s.info.Name, n.spec.Name)
		}
		return errs.New(errs.Exists, "link %s is open already", s.info.Name)
	}
	n.links[s.info.Name] = s
	n.mu.Unlock()
	err = n.feed(s)
	n.feeding.Unlock()
	for _, p := range s.ports {
		if err != nil {
			break
		}
		ok := p.worker.Call(func() {
			if s.closed.Load() {
				err = errs.New(errs.Dead, "it was closed while it was opened")
			} else if err = p.port.Attach(p.worker, p.task); err == nil {
				p.attached = true
				p.live.Store(true)
				p.worker.ports = append(p.worker.ports, p)
			}
		})
		if !ok {
			err = errs.New(errs.Dead, "node %s is closed", n.spec.Name)
		}
	}
	if err != nil {
		s.closed.Store(true) // to out-channels that have found it meanwhile
		n.mu.Lock()
		if n.links[s.info.Name] == s {
			delete(n.links, s.info.Name)
		}
		n.mu.Unlock()
		for _, p := range s.ports {
			p.worker.Call(p.detach)
		}
		return fmt.Errorf("link %s: %w", s.info.Name, err)
	}
	for _, p := range s.ports {
		p.task.Wake()
	}
	n.linkOpened(s)
	return nil
}

func (s *linkState) closeTasks() {
	for _, p := range s.ports {
		p.worker.Call(p.task.Close)
	}
}

// detach ends the port; on its worker.
func (p *portState) detach() {
	w := p.worker
	if p.attached {
		p.attached = false
		p.port.Detach(w.cache)
	}
	for i, q := range w.ports {
		if q == p {
			w.ports = append(w.ports[:i], w.ports[i+1:]...)
			break
		}
	}
	p.task.Close()
}

// CloseLink detaches and closes a link. In-channels on it stay and receive nothing from it; out-channels drop what they are
// given. It waits for the workers and must not be called from one.
func (n *Node) CloseLink(name string) error {
	if err := n.root.may(OpCloseLink, name, false); err != nil {
		return err
	}
	return n.closeLink(name)
}

func (n *Node) closeLink(name string) error {
	n.feeding.Lock() // no claim of it is under way afterwards
	n.mu.Lock()
	s := n.links[name]
	delete(n.links, name)
	n.mu.Unlock()
	if s != nil {
		n.linkCloses(s)
	}
	n.feeding.Unlock()
	if s == nil {
		return errs.New(errs.NotFound, "link %s is not open", name)
	}
	s.closed.Store(true)
	for _, p := range s.ports {
		p.worker.Call(p.detach)
	}
	for _, w := range n.workers { // each may have been about to send; after this none is
		w.Call(func() {
			for _, p := range s.ports {
				for f := p.tx.take(); f != nil; f = p.tx.take() {
					s.txDrops.Add(1)
					w.cache.Free(f)
				}
			}
		})
	}
	s.endPacer()
	return s.link.Close()
}

// Links returns the open links, by number.
func (n *Node) Links() []Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	ls := make([]Link, 0, len(n.links))
	for _, s := range n.links {
		ls = append(ls, s.link)
	}
	sort.Slice(ls, func(i, j int) bool { return ls[i].Info().Number < ls[j].Info().Number })
	return ls
}

// Link returns the open link called name.
func (n *Node) Link(name string) (Link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.links[name]; s != nil {
		return s.link, nil
	}
	return nil, errs.New(errs.NotFound, "link %s is not open", name)
}

// LinkStats returns the counters of a link, with those that the node itself keeps.
func (n *Node) LinkStats(name string) (LinkStats, error) {
	n.mu.Lock()
	s := n.links[name]
	n.mu.Unlock()
	if s == nil {
		return LinkStats{}, errs.New(errs.NotFound, "link %s is not open", name)
	}
	st := s.link.Stats()
	st.Unclaimed += s.unclaimed.Load()
	st.TxDrops += s.txDrops.Load()
	return st, nil
}

// InChans returns the node's in-channels, oldest first.
func (n *Node) InChans() []*InChan {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.chansByAge()
}

func (n *Node) chansByAge() []*InChan {
	cs := make([]*InChan, 0, len(n.chans))
	for _, c := range n.chans {
		cs = append(cs, c)
	}
	sort.Slice(cs, func(i, j int) bool { return cs[i].id < cs[j].id })
	return cs
}

// rulesFor returns the channels that a link feeds, oldest first.
func (n *Node) rulesFor(s *linkState) []*InChan {
	n.mu.Lock()
	defer n.mu.Unlock()
	var cs []*InChan
	for _, c := range n.chansByAge() {
		if !c.spec.HandOffOnly && (c.proto.Link == s.info.Name || c.proto.Link == demux.AnyLink) {
			cs = append(cs, c)
		}
	}
	return cs
}

// feed gives a link that is new all its channels. n.feeding is held.
func (n *Node) feed(s *linkState) error {
	cs := n.rulesFor(s)
	rules := make([]demux.Rule, len(cs))
	for i, c := range cs {
		rules[i] = c.rule()
	}
	prog, err := demux.Compile(s.info.Base, s.info.Name, rules)
	if err != nil {
		return err
	}
	return s.claim(prog)
}

// claim gives a link another program, for the packets that it delivers, and then claims it, which makes the driver deliver and the host lose
// the packets of new channels at one moment. A refused claim takes the program back. node.feeding is held.
func (s *linkState) claim(prog *demux.Program) error {
	old := s.prog.Load()
	s.prog.Store(prog)
	if err := s.link.Claim(Claims{Program: prog, Chans: &s.node.slots.Slots}); err != nil {
		s.prog.Store(old)
		return fmt.Errorf("link %s: %w", s.info.Name, err)
	}
	return nil
}

// rule is what c wants, for a link's program.
func (c *InChan) rule() demux.Rule {
	return demux.Rule{ID: c.slot, Age: uint64(c.id), Protocol: c.proto, Local: c.local, Key: c.spec.Key}
}

func (n *Node) addChan(c *InChan) error {
	if c.spec.HandOffOnly {
		return n.listChan(c)
	}
	n.feeding.Lock()
	if err := n.listChan(c); err != nil {
		n.feeding.Unlock()
		return err
	}
	c.share(n)
	n.slots.set(c.slot, c)
	err := n.refeed(c, true)
	if err == nil {
		n.feeding.Unlock()
		return nil
	}
	n.mu.Lock()
	delete(n.chans, c.id)
	n.mu.Unlock()
	back := n.refeed(c, false)
	n.slots.set(c.slot, nil)
	n.feeding.Unlock()
	if back != nil {
		n.keepSlot()
		return fmt.Errorf("%w (and going back failed: %v)", err, back)
	}
	n.dropSlot(c)
	return err
}

// listChan gives c its number and its slot.
func (n *Node) listChan(c *InChan) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || c.closed.Load() { // the latter: its domain has been terminated meanwhile
		return errs.New(errs.Dead, "node %s is closed, or domain %s ends", n.spec.Name, c.domain.Path())
	}
	if !c.spec.HandOffOnly {
		if c.proto.Link != demux.AnyLink && n.links[c.proto.Link] == nil {
			return errs.New(errs.NotFound, "in-channel %s: link %s is not open", c.spec.Protocol, c.proto.Link)
		}
		if err := n.takeSlot(c); err != nil {
			return err
		}
	}
	n.chanID++
	c.id = n.chanID
	n.chans[c.id] = c
	return nil
}

func (n *Node) removeChan(c *InChan) {
	c.closed.Store(true)
	if c.spec.HandOffOnly {
		n.mu.Lock()
		if n.chans[c.id] == c {
			delete(n.chans, c.id)
		}
		n.mu.Unlock()
		return
	}
	n.feeding.Lock()
	n.mu.Lock()
	listed := n.chans[c.id] == c
	if listed {
		delete(n.chans, c.id)
	}
	n.mu.Unlock()
	if !listed {
		n.feeding.Unlock()
		return
	}
	err := n.refeed(c, false)
	if c.cut != nil { // no claim has it any more
		c.cut.withdraw("the channel is closed")
	}
	n.slots.set(c.slot, nil)
	n.feeding.Unlock()
	if err != nil {
		// A link that refuses the smaller claim keeps the larger one: packets of the closed channel are then
		// dropped and counted as unclaimed, which is the safe side, and its slot is not used again.
		n.keepSlot()
		return
	}
	n.dropSlot(c)
}

// refeed adds c to the programs of the links that it stands on, by name, or takes it out of them. It goes on after an error when it takes out, and returns the
// first. n.feeding is held.
func (n *Node) refeed(c *InChan, add bool) (first error) {
	var on []*linkState
	n.mu.Lock()
	for name, s := range n.links {
		if c.proto.Link == demux.AnyLink || c.proto.Link == name {
			on = append(on, s)
		}
	}
	n.mu.Unlock()
	sort.Slice(on, func(i, j int) bool { return on[i].info.Name < on[j].info.Name })
	for _, s := range on {
		old := s.prog.Load()
		if old == nil { // its first claim was refused, and it is being closed
			continue
		}
		prog, err := old.Without(c.slot), error(nil)
		if add {
			prog, err = old.With(c.rule())
		}
		if err == nil && prog.Rules() != old.Rules() { // else c is one on "if" that cannot be on this link
			err = s.claim(prog)
		}
		if err != nil && first == nil {
			first = err
		}
		if err != nil && add {
			break
		}
	}
	return first
}

// Run implements Runnable: it receives a batch and gives each packet to its channel.
func (s *portState) Run(b Budget) Used {
	w := b.Worker
	s.sendOthers(w)
	if s.credited != nil {
		s.mark()
	}
	more := s.port.Receive(w.cache, &s.batch)
	n := s.batch.Len()
	if n > 0 {
		s.sort(w, b.Now)
	}
	s.batch.Reset()
	if s.credited != nil && s.marked != s.passed.Load() && s.credited.Passed() {
		s.passed.Store(s.marked)
	}
	if more {
		return Used{Packets: n, Next: More}
	}
	return Used{Packets: n}
}

// sort gives the packets of the batch to their channels, those of a channel together and in their order.
func (s *portState) sort(w *Worker, now clock.Time) {
	l, ps := s.link, s.batch.Packets()
	prog, slots := l.prog.Load(), &l.node.slots.Slots // in this order: a channel is in its slot before a program knows it
	for _, p := range ps {
		p.Anno.Link = l.info.Number
		if p.Anno.Time == 0 {
			p.Anno.Time = now
		}
	}
	ids := s.ids[:len(ps)]
	if prog != nil {
		prog.MatchAll(ps, ids)
	} else {
		for i := range ids {
			ids[i] = demux.NoRule
		}
	}
	var t *touched
	for i, id := range ids {
		if t == nil || t.slot != id {
			t = s.touch(w, id, slots)
		}
		if t.packets == 0 {
			t.first = int16(i)
		} else {
			s.after[t.last] = int16(i)
		}
		t.last = int16(i)
		t.packets++
	}
	s.deliver(w)
}

// touch returns what is noted about a slot in this run.
func (s *portState) touch(w *Worker, slot uint32, slots *Slots) *touched {
	at := &s.where[slot%uint32(len(s.where))]
	if k := int(*at); k < len(s.wake) && s.wake[k].slot == slot {
		return &s.wake[k]
	}
	for k := range s.wake {
		if s.wake[k].slot == slot {
			*at = uint8(k)
			return &s.wake[k]
		}
	}
	if len(s.wake) == cap(s.wake) { // many channels in one batch
		s.deliver(w)
	}
	*at = uint8(len(s.wake))
	s.wake = append(s.wake, touched{slot: slot})
	t := &s.wake[len(s.wake)-1]
	if slot != demux.NoRule {
		t.c = slots.At(slot)
	}
	return t
}

// deliver gives what is noted to the channels, wakes them and bills them for it.
func (s *portState) deliver(w *Worker) {
	ps := s.batch.Packets()
	for i := range s.wake {
		t := &s.wake[i]
		run := ps[t.first : t.last+1]
		if len(run) != t.packets { // others' packets are in between
			run = s.run[:0]
			for at := t.first; len(run) < t.packets; at = s.after[at] {
				run = append(run, ps[at])
			}
		}
		if t.c == nil {
			s.link.unclaimed.Add(uint64(len(run)))
			w.cache.FreeAll(run)
			continue
		}
		n, bytes := t.c.putAll(w, run, s.rated)
		s.settle(w, t.c, len(run), n, bytes)
		t.c = nil
	}
	s.wake = s.wake[:0]
}

// mark has the port mark what has come if the audit has asked for that since.
func (s *portState) mark() {
	if round := s.link.node.audit.round.Load(); round != s.marked {
		s.credited.Mark()
		s.marked = round
	}
}

// settle wakes a channel that has got n of the packets for it, and bills it for all of them.
func (s *portState) settle(w *Worker, c *InChan, packets, n, bytes int) {
	if n > 0 {
		c.accepted(n, bytes)
		c.wake()
	}
	w.bill(c.domain, packets, packets-n)
	switch {
	case s.credited != nil:
		c.arrived.Add(uint64(packets))
		if n < packets {
			c.spend(packets - n)
		}
	case n > 0:
		c.spend(-n)
	}
}

// send takes the frames of b to the link, at once on a worker with a port of it and through a ring from others.
//
// The frames are marked as being sent: until the driver frees them they are beyond the reach of their domain's end, which
// makes them the node's instead.
func (s *linkState) send(w *Worker, b *packet.Batch) {
	if s.closed.Load() {
		s.txDrops.Add(uint64(b.Len()))
		w.cache.FreeBatch(b)
		return
	}
	w.cache.SetStates(b.Packets(), packet.Sending)
	for _, p := range s.ports {
		if p.worker == w {
			p.port.Send(w.cache, b)
			return
		}
	}
	via := s.ports[w.id%len(s.ports)]
	if n := via.tx.putAll(b.Packets()); n < b.Len() {
		s.txDrops.Add(uint64(b.Len() - n))
		w.cache.FreeAll(b.Packets()[n:])
	}
	b.Reset()
	via.task.Wake()
}

// sendOthers sends what other workers left.
func (s *portState) sendOthers(w *Worker) {
	for s.tx.len() > 0 && s.tx.takeAll(&s.batch) > 0 {
		s.port.Send(w.cache, &s.batch)
	}
}
