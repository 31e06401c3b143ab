package ants

// A protocol in a jail (package vm/jail) is evaluated by another process. Its flow runs in two halves: what waits is submitted to the flow's queue
// there, and what has been answered is concluded, each in the flow's turn and at its cost. The queue's descriptor wakes the flow's task. Everything else, the
// queue of capsules, soft state, host functions, outputs, is where it is for other protocols.
//
// Soft state under the declared key is the node's. While a capsule with the same key is under way its state is not known here yet, so the
// worker is told to go on with what that one leaves.

import (
	"errors"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// cell is what a flow has in a jail.
type cell struct {
	queue *jail.Queue
	fd    *nodeos.FD
	under [jail.MaxBatch]submitted // a ring, the oldest at first
	first int
	n     int
	done  jail.Ticket           // of the last one that was concluded
	keys  [keySlots]keyUnderWay // by a hash of the key
}

// submitted is a capsule that is being evaluated.
type submitted struct {
	p     *packet.Packet
	class *class
}

// keyUnderWay is the last capsule with a key that was submitted.
type keyUnderWay struct {
	key    stateKey
	ticket jail.Ticket
}

const keySlots = 2 * jail.MaxBatch // a power of two

// slot returns where a key's entry is: 32-bit FNV-1a.
func (c *cell) slot(k *stateKey) *keyUnderWay {
	h := uint32(2166136261)
	for _, b := range k {
		h = (h ^ uint32(b)) * 16777619
	}
	return &c.keys[(h^h>>16)%keySlots]
}

// classIn returns the class of guests of a jail, nil being the node's own process.
func (e *EE) classIn(j *jail.Jail) (*vm.Class, error) {
	if j == nil {
		return e.class, nil
	}
	if c := e.jailed[j]; c != nil {
		return c, nil
	}
	c, err := e.spec.Engine.NewClass(vm.ClassSpec{Name: "capsule", Imports: hostFuncs(), Outside: j})
	if err == nil {
		e.jailed[j] = c
	}
	return c, err
}

// imprison gives a new flow its place in a jail.
func (f *flow) imprison(j *jail.Jail) error {
	f.jail = j
	if j == nil {
		return nil
	}
	q, err := j.Queue()
	if err != nil {
		return err
	}
	f.cell = &cell{queue: q}
	f.cell.fd, err = f.task.NewFD(q.FD(), false)
	return err
}

// runJailed is Run for a flow in a jail.
func (f *flow) runJailed(b nodeos.Budget) nodeos.Used {
	w, c := b.Worker, f.cell
	u := nodeos.Used{}
	if d := c.queue.Cost(); d > 0 {
		f.meter.Spend(resctl.CPU, int64(d))
	}
	for f.state == flowActive && u.Packets < b.Packets && u.Fuel < fuelPerRun {
		d, ok := c.queue.Collect(&f.call)
		if !ok {
			break
		}
		f.answered(w, d)
		u.Packets++
		u.Fuel += int64(f.call.Used)
	}
	full := false
	for f.state == flowActive && f.batch.Len() > 0 && !full && c.n < len(c.under) {
		if full = !f.submit(w, f.batch.Packets()[0]); !full {
			f.batch.Drop1st(1)
		}
	}
	if f.state == flowActive {
		c.queue.Flush()
		f.checkJail(w)
	}
	f.ee.flush(w)
	if u.Packets >= b.Packets || u.Fuel >= fuelPerRun || f.batch.Len() == 0 && c.n < len(c.under) && f.in.Stats().Held > 0 {
		u.Next = nodeos.More
	}
	return u
}

// checkJail ends the flow if its process has, which nobody may have noticed otherwise.
func (f *flow) checkJail(w *nodeos.Worker) {
	if f.cell.n > 0 || len(f.groups) == 0 {
		return // there is an answer to come, which says so
	}
	if err := jail.Dead(f.groups[0].classes[0].inst); err != nil {
		f.released(w, err)
	}
}

// released ends a flow whose process is no more.
func (f *flow) released(w *nodeos.Worker, err error) {
	if f.state == flowActive {
		f.end(err, w.Now().Add(f.ee.spec.Limits.Negative))
	}
}

// submit sends p to the jail and takes it, or returns false: when something has been concluded it can be tried again.
func (f *flow) submit(w *nodeos.Worker, p *packet.Packet) bool {
	c := f.cell
	var o offsets
	cl, credit, ok := f.open(w, p, &o, nil)
	if !ok {
		return true
	}
	m := cl.manifest
	f.fill(w, p, m, credit)
	var at *keyUnderWay
	var after jail.Ticket
	if m.StateSize > 0 {
		at = c.slot(&f.key)
		if at.ticket > c.done {
			if at.key != f.key {
				return false // which of the two to remember?
			}
			after = at.ticket
		}
	}
	ticket, verdict, err := c.queue.Submit(cl.inst, f.meter, &f.call, after)
	switch {
	case err == nil && verdict == abi.Drop:
		c.under[(c.first+c.n)%len(c.under)] = submitted{p, cl}
		c.n++
		if at != nil {
			*at = keyUnderWay{f.key, ticket}
		}
		return true
	case err != nil && c.n > 0 && (errors.Is(err, errs.WouldBlock) || errors.Is(err, errs.Limit) || errors.Is(err, errs.Dead)):
		return false
	}
	f.conclude(w, p, &o, cl, credit, verdict, err)
	return true
}

// answered concludes the oldest capsule under way.
func (f *flow) answered(w *nodeos.Worker, d jail.Done) {
	c := f.cell
	x := c.under[c.first]
	c.under[c.first] = submitted{}
	c.first = (c.first + 1) % len(c.under)
	c.n--
	c.done = d.Ticket
	var o offsets
	cl, credit, ok := f.open(w, x.p, &o, x.class)
	if !ok {
		return
	}
	if m := cl.manifest; m.StateSize > 0 {
		f.key.set(m.StateSpace, false, m.AppendKey(f.keyBytes[:0], f.capsule.Data))
	}
	f.conclude(w, x.p, &o, cl, credit, d.Verdict, d.Err)
	f.journal.n = 0 // what is asked for from now on belongs to the next one
}
