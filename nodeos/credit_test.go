package nodeos

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// goCells are cells that a test is the program of.
type goCells struct {
	clk     clock.Clock
	words   map[uint32]*[9]atomic.Uint64
	settled atomic.Int32
	refuse  error
	before  func() // Settle returns
}

func newCells(t *testing.T, n *Node) *goCells {
	m := &goCells{clk: n.Clock(), words: make(map[uint32]*[9]atomic.Uint64)}
	if err := n.ShareCells(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *goCells) Cell(slot uint32) Cell {
	if m.words[slot] == nil {
		m.words[slot] = new([9]atomic.Uint64)
		m.Reset(slot)
	}
	w := m.words[slot]
	return Cell{&w[0], &w[1], &w[2], &w[3], &w[4], &w[5], &w[8], &w[6], &w[7]}
}

func (m *goCells) Reset(slot uint32) {
	for i := range m.words[slot] {
		m.words[slot][i].Store(0)
	}
	m.words[slot][7].Store(math.MaxInt64)
}

func (m *goCells) Now() int64 { return int64(m.clk.Now()) + 1e9 }

func (m *goCells) Settle() error {
	if m.before != nil {
		m.before()
	}
	m.settled.Add(1)
	return m.refuse
}

// early is a pipe behind a program.
type early struct {
	pipe
	left int
	full bool // the ring is never received to the end
}

func (e *early) Receive(c *packet.Cache, b *packet.Batch) bool {
	before := len(e.in)
	more := e.pipe.Receive(c, b)
	e.left = max(e.left-before+len(e.in), 0)
	return more
}
func (e *early) Mark()        { e.left = len(e.in) }
func (e *early) Passed() bool { return e.left == 0 && !e.full }

// offer does what a program does with n packets of a channel, and returns how many it lets through.
func (e *early) offer(t *testing.T, c *InChan, port uint16, n int) (sent int) {
	s := c.cell.Load()
	for range n {
		if int64(s.Produced.Load()-s.Consumed.Load()) >= int64(s.Credit.Load()) {
			s.Full.Add(1)
			continue
		}
		s.Produced.Add(1)
		e.in = append(e.in, udp(t, port, "x"))
		sent++
	}
	e.rx.Wake()
	return sent
}

func (r *rig) early(name string) *early {
	l := &early{pipe: pipe{info: r.link(name + "x").info}} // as another link, but for the name
	l.info.Name, l.info.Number = name, r.node.NextLinkNumber()
	if err := r.node.AddLink(l, 0); err != nil {
		r.Fatal(err)
	}
	return l
}

func receive(t *testing.T, c *InChan, want int) {
	t.Helper()
	var b packet.Batch
	if n := c.Receive(&b); n != want {
		t.Errorf("received %d, want %d", n, want)
	}
	c.worker.cache.FreeBatch(&b)
}

// A program lets through what the channel's queue will have room for, over all links and whatever else is put into it.
func TestCreditFollowsTheQueue(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	a, b, plain := r.early("eth0"), r.early("eth1"), r.link("eth2")
	c, err := d.NewInChan(InChanSpec{Protocol: "if/ether/ip/udp", Address: ":1", Quota: 8, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	plain.feed(udp(t, 1, "x"), udp(t, 1, "x"))
	r.settle()
	newCells(t, r.node) // with two packets in the queue
	want := func(l *early, offered, through int) {
		t.Helper()
		if n := l.offer(t, c, 1, offered); n != through {
			t.Errorf("%d of %d let through, want %d", n, offered, through)
		}
	}
	want(a, 3, 3)
	want(b, 6, 3) // while three are on their way
	r.settle()
	if st := c.Stats(); st.Held != 8 || st.Full != 3 {
		t.Errorf("%+v", st)
	}
	want(a, 1, 0)
	receive(t, c, 8)
	want(a, 5, 5)
	r.settle()
	w := r.node.Worker(0)
	var batch packet.Batch
	for range 2 {
		batch.Append(w.Cache().AllocFrom(packet.Node, []byte("handed")))
	}
	if n := c.HandOff(w, &batch); n != 2 {
		t.Fatalf("handed off %d", n)
	}
	want(b, 2, 1)
	r.settle()
	if st := c.Stats(); st.Held != 8 || st.Full != 5 {
		t.Errorf("%+v", st)
	}

	// What a program let through and the queue refuses gives its credit back.
	receive(t, c, 8)
	want(a, 8, 8)
	for range 3 {
		batch.Append(w.Cache().AllocFrom(packet.Node, []byte("first")))
	}
	c.HandOff(w, &batch)
	r.settle()
	if st := c.Stats(); st.Held != 8 || st.Full != 8 {
		t.Errorf("%+v", st)
	}
	receive(t, c, 8)
	want(b, 9, 8)
	r.settle()

	// The counters outlast the cell, and the credit is right in the next one.
	before := c.Stats()
	r.node.UnshareCells()
	if st := c.Stats(); st != before {
		t.Errorf("%+v without the cell, %+v with it", st, before)
	}
	receive(t, c, 8)
	m := newCells(t, r.node)
	if errs.KindOf(r.node.ShareCells(m)) != errs.Exists {
		t.Error("two memories of cells")
	}
	want(a, 12, 8)
	r.settle()
	if st := c.Stats(); st.Held != 8 || st.Full != before.Full+4 {
		t.Errorf("%+v", st)
	}
	c.Close()
	r.settle()
	if w := m.words[c.slot]; w[0].Load() != 0 || int64(w[7].Load()) != math.MaxInt64 || c.Stats().Full != before.Full+4 {
		t.Errorf("after closing the cell has produced %d and credit %d, and the channel %+v", w[0].Load(), int64(w[7].Load()), c.Stats())
	}
}

// What is counted and never comes does not use up the credit for ever; what may still come is not taken for lost; and what comes after all is put right.
func TestLostPacketsGiveTheirCreditBack(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	newCells(t, r.node)
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	l, idle := r.early("eth0"), r.early("eth1")
	c, err := d.NewInChan(InChanSpec{Protocol: "if/ether/ip/udp", Address: ":1", Quota: 10, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	room := func() int64 {
		s := c.cell.Load()
		return int64(s.Credit.Load() - s.Produced.Load() + s.Consumed.Load())
	}
	wait := func(d time.Duration) { r.until(r.clk.Now().Add(d)) }
	c.cell.Load().Produced.Add(7)
	l.offer(t, c, 1, 2)
	r.settle()
	receive(t, c, 2)
	if n := room(); n != 3 {
		t.Fatalf("room for %d with 7 missing", n)
	}
	idle.full = true
	wait(time.Second)
	if n := room(); n != 3 {
		t.Errorf("room for %d while a ring is full of what came before", n)
	}
	idle.full = false
	idle.rx.Wake()
	wait(auditIdle + 3*auditPause)
	if n := room(); n != 10 || c.lost != 7 {
		t.Errorf("room for %d, and %d are taken for lost", n, c.lost)
	}

	// Two of them come after all.
	l.in = append(l.in, udp(t, 1, "late"), udp(t, 1, "late"))
	l.rx.Wake()
	r.settle()
	receive(t, c, 2)
	wait(auditIdle + 4*auditPause)
	if n := room(); n != 10 || c.lost != 5 {
		t.Errorf("room for %d, and %d are taken for lost", n, c.lost)
	}

	// What was produced after the marks is not lost yet.
	c.cell.Load().Produced.Add(1)
	for r.node.audit.step != auditLose {
		wait(auditPause)
	}
	c.cell.Load().Produced.Add(1)
	wait(auditPause)
	if n := room(); n != 9 {
		t.Errorf("room for %d with one missing that was not noted", n)
	}
	wait(auditIdle + 4*auditPause)
	if n := room(); n != 10 {
		t.Errorf("room for %d at the end", n)
	}
}

// The rate of a channel is one, whether a program checks it or the node.
func TestRateIsSharedWithPrograms(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	fast, slow := r.early("eth0"), r.link("eth1")
	c, err := d.NewInChan(InChanSpec{Protocol: "if/ether/ip/udp", Address: ":1", Rate: 1000, Burst: 4, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	slow.feed(udp(t, 1, "x"))
	r.settle()
	m := newCells(t, r.node)
	s := c.cell.Load()
	if s.Interval.Load() != 1e6 || s.Tolerance.Load() != 3e6 || int64(s.Next.Load()) != m.Now()+1e6 {
		t.Errorf("interval %d, tolerance %d, next %d at %d", s.Interval.Load(), s.Tolerance.Load(), s.Next.Load(), m.Now())
	}
	s.Next.Add(2e6) // a program accepts two
	slow.feed(udp(t, 1, "x"), udp(t, 1, "x"))
	r.settle()
	if st := c.Stats(); st.Packets != 2 || st.Limited != 1 {
		t.Errorf("%+v, want two accepted beside those of the program", st)
	}
	fast.offer(t, c, 1, 3) // which the program has checked
	r.settle()
	s.Limited.Add(5)
	if st := c.Stats(); st.Packets != 5 || st.Limited != 6 {
		t.Errorf("%+v", st)
	}
	r.node.UnshareCells()
	slow.feed(udp(t, 1, "x"))
	r.settle()
	if st := c.Stats(); st.Packets != 5 || st.Limited != 7 {
		t.Errorf("%+v: the rate is forgotten with the cell", st)
	}
}

// A slot is used again only after programs and workers have ended that may have answered with it.
func TestSlotsAreReusedLate(t *testing.T) {
	n := live(t, 2)
	m := newCells(t, n)
	defer n.UnshareCells()
	l := &pipe{info: LinkInfo{Name: "eth0", Driver: "test", Number: n.NextLinkNumber()}}
	if err := n.AddLink(l, 1); err != nil {
		t.Fatal(err)
	}
	open := func() *InChan {
		t.Helper()
		c, err := n.Root().NewInChan(InChanSpec{Protocol: "eth0", Worker: -1})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	settling, go1 := make(chan bool, 1), make(chan bool)
	m.before = func() { settling <- true; <-go1 }
	a, b := open(), open()
	if a.slot == b.slot || n.slots.At(a.slot) != a || n.slots.At(b.slot) != b || n.slots.At(b.slot+1) != nil || n.slots.At(MaxInChans) != nil {
		t.Fatalf("slots %d and %d", a.slot, b.slot)
	}
	free := func() (ready int, clearing chan struct{}) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.slots.ready), n.slots.cleared
	}
	a.Close()
	<-settling
	if c := open(); c.slot == a.slot {
		t.Error("the slot is used while programs may answer with it")
	}
	// The workers: one is busy with a run that began before.
	busy, go2 := make(chan bool), make(chan bool)
	n.Worker(1).Post(func() { busy <- true; <-go2 })
	<-busy
	go1 <- true
	if c := open(); c.slot == a.slot {
		t.Error("the slot is used while a worker may be at an old answer")
	}
	if ready, _ := free(); ready != 0 {
		t.Error("a slot is ready while a worker may be at an old answer")
	}
	_, clearing := free()
	close(go2)
	<-clearing
	if c := open(); c.slot != a.slot {
		t.Errorf("slot %d, want %d again", c.slot, a.slot)
	}

	// What cannot be waited for is kept for the next time.
	m.before, m.refuse = nil, errors.New("no memory")
	b.Close()
	if _, clearing := free(); clearing != nil {
		<-clearing
	}
	if ready, _ := free(); ready != 0 || len(n.slots.left) != 1 {
		t.Errorf("%d slots are ready without a wait, %d are left", ready, len(n.slots.left))
	}
	m.refuse = nil
	open().Close()
	if _, clearing := free(); clearing != nil {
		<-clearing
	}
	if ready, _ := free(); ready != 2 {
		t.Errorf("%d slots are ready, want 2", ready)
	}
}

// The number of channels on links is bounded, and a slot that a link would not forget is not used again.
func TestSlotsRunOut(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	r.node.slots.fresh = MaxInChans - 2
	open := func() (*InChan, error) { return r.node.Root().NewInChan(InChanSpec{Protocol: "eth0", Worker: -1}) }
	var last *InChan
	for range 2 {
		c, err := open()
		if err != nil {
			t.Fatal(err)
		}
		last = c
	}
	if _, err := open(); errs.KindOf(err) != errs.Limit {
		t.Errorf("one channel more than there are slots: %v", err)
	}
	if _, err := r.node.Root().NewInChan(InChanSpec{HandOffOnly: true}); err != nil {
		t.Errorf("a channel that needs no slot: %v", err)
	}
	last.Close()
	if last, _ = open(); last == nil {
		t.Fatal("a slot that was given back is lost")
	}
	l.refuse = errors.New("no")
	last.Close()
	l.refuse = nil
	if _, err := open(); errs.KindOf(err) != errs.Limit {
		t.Errorf("a slot is used that the link still knows: %v", err)
	}
	l.feed(udp(t, 1, "x"))
	r.settle()
	if len(r.node.InChans()) != 2 {
		t.Errorf("%d channels", len(r.node.InChans()))
	}
}

// Sharing cells with programs costs the packet path no memory.
func TestCreditDoesNotAllocate(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.early("eth0")
	newCells(t, r.node)
	c, err := r.node.Root().NewInChan(InChanSpec{Protocol: "eth0", Worker: -1, Rate: MaxRate})
	if err != nil {
		t.Fatal(err)
	}
	frame := udp(t, 1, "x")
	p, w := r.node.links["eth0"].ports[0], r.node.Worker(0)
	frames := [][]byte{frame, frame, frame}
	var b packet.Batch
	if n := testing.AllocsPerRun(100, func() {
		c.cell.Load().Produced.Add(3)
		l.in = frames
		p.Run(Budget{Now: w.now, Worker: w})
		if c.Receive(&b) != 3 {
			t.Error("packets are lost")
		}
		c.HandOff(w, &b)
		c.Receive(&b)
		w.cache.FreeBatch(&b)
		r.node.audit.note()
		r.node.slots.each((*InChan).settle)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAlone: programs are told which channels are on one link only.
func TestAlone(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	r.early("eth0")
	m := newCells(t, r.node)
	for i, c := range []struct {
		protocol string
		want     uint64
	}{{"eth0/ether/ip/udp", 1}, {"if/ether/ip/udp", 0}, {"eth0", 1}} {
		spec := InChanSpec{Protocol: c.protocol, Quota: 8, Worker: -1}
		if i < 2 {
			spec.Address = fmt.Sprintf(":%d", 1+i)
		}
		ch, err := d.NewInChan(spec)
		if err != nil {
			t.Fatal(err)
		}
		if slot, ok := ch.Slot(); !ok || m.Cell(slot).Alone.Load() != c.want {
			t.Errorf("%s: alone %d, want %d", c.protocol, m.Cell(slot).Alone.Load(), c.want)
		}
	}
}
