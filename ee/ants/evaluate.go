package ants

import (
	"errors"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/jail"
)

// fuelPerRun is after how much fuel a run ends, so that one protocol does not keep the worker from the others. One
// evaluation may exceed it by its budget.
const fuelPerRun = 100_000

// Run evaluates waiting capsules: step 3.
func (f *flow) Run(b nodeos.Budget) nodeos.Used {
	w := b.Worker
	if f.state != flowActive {
		return nodeos.Used{}
	}
	if f.batch.Len() == 0 {
		f.in.Receive(&f.batch)
	}
	w.Touch(f.meter)
	if f.cell != nil {
		return f.runJailed(b)
	}
	n, fuel := 0, uint64(0)
	for _, p := range f.batch.Packets() {
		if n == b.Packets || fuel >= fuelPerRun || f.state != flowActive {
			break
		}
		fuel += f.evaluate(w, p)
		n++
	}
	f.batch.Drop1st(n)
	f.ee.flush(w)
	u := nodeos.Used{Packets: n, Fuel: int64(fuel)}
	if f.batch.Len() > 0 || n == packet.MaxBatch {
		u.Next = nodeos.More
	}
	return u
}

// evaluate runs the capsule in p, sends what comes of it, and returns the fuel used. It takes p.
func (f *flow) evaluate(w *nodeos.Worker, p *packet.Packet) uint64 {
	var o offsets
	cl, credit, ok := f.open(w, p, &o, nil)
	if !ok {
		return 0
	}
	f.fill(w, p, cl.manifest, credit)
	f.journal.n = 0
	verdict, err := cl.inst.Evaluate(f.meter, &f.call)
	f.conclude(w, p, &o, cl, credit, verdict, err)
	return f.call.Used
}

// open decodes the capsule in p and finds its class, unless that is known, and its credit. It takes p if there is nothing to evaluate.
func (f *flow) open(w *nodeos.Worker, p *packet.Packet, o *offsets, cl *class) (_ *class, credit uint32, ok bool) {
	e := f.ee
	c := &f.capsule
	var err error
	if *o, err = parseANEP(p.Data()); err == nil {
		err = c.decode(p.Data(), o)
	}
	if err != nil { // it was decoded before; only a defect of ours leads here
		e.drop(w, p, DropMalformed)
		return nil, 0, false
	}
	if cl == nil {
		cl = e.methods[c.Method].class
	}
	if cl == nil {
		e.drop(w, p, DropNoLoad)
		return nil, 0, false
	}
	credit = c.Credit.Count
	if !c.HasCredit {
		// As much as TTL lets a single copy use.
		credit = c.TTL + 1
	}
	if credit = min(credit, e.spec.Limits.MaxCredit); credit == 0 {
		e.drop(w, p, DropCredit)
		return nil, 0, false
	}
	if len(c.Data) < int(cl.manifest.WindowMin) {
		e.drop(w, p, DropShort)
		return nil, 0, false
	}
	return cl, credit, true
}

// fill makes the call of an evaluation of the capsule that is open.
func (f *flow) fill(w *nodeos.Worker, p *packet.Packet, m *abi.Manifest, credit uint32) {
	e, c, now := f.ee, &f.capsule, w.Now()
	call := &f.call
	call.In = abi.In{
		TimeNS: e.epoch + uint64(now), Random: e.rand.Uint64(), Node: uint32(e.spec.Addr), Prev: uint32(c.Prev), Src: uint32(c.Src), Dst: uint32(c.Dst),
		Length: uint32(len(c.Data)), Credit: credit, TTL: c.TTL, InLink: uint32(p.Anno.Link), Neighbours: uint32(e.spec.Router.Neighbours()),
		SrcPort: c.SrcPort, DstPort: c.DstPort,
	}
	call.Window, call.Budget, call.State = c.Data, e.spec.Budget, nil
	if m.StateSize > 0 {
		f.key.set(m.StateSpace, false, m.AppendKey(f.keyBytes[:0], c.Data))
		if v := f.store.get(&f.key, now); len(v) > 0 {
			call.State = v[:min(len(v), int(m.StateSize))]
		}
	}
}

// conclude makes what an evaluation did last, and sends what comes of it. It takes p.
func (f *flow) conclude(w *nodeos.Worker, p *packet.Packet, o *offsets, cl *class, credit uint32, verdict abi.Verdict, err error) {
	e, call := f.ee, &f.call
	e.counts.Evaluated++
	e.counts.Fuel += call.Used
	f.counts.Evaluated++
	f.counts.Fuel += call.Used
	cl.counts.Evaluated++
	cl.counts.Fuel += call.Used
	if err != nil {
		f.failed(w, p, cl, err)
		return
	}
	f.commit(w, cl.manifest)
	switch verdict {
	case abi.Forward:
		f.act(w, p, o, cl, credit-1, verdict)
	case abi.Deliver:
		f.act(w, p, o, cl, credit-1, verdict)
	case abi.Drop:
		f.counts.Dropped++
		cl.counts.Dropped++
		e.drops[DropGuest]++
		f.act(w, p, o, cl, credit-1, verdict)
	case abi.Punt:
		e.counts.Punted++
		f.counts.Punted++
		cl.counts.Punted++
		w.Cache().Free(p)
	default:
		f.counts.Errors++
		cl.counts.Errors++
		e.drop(w, p, DropGuestError)
	}
}

// failed deals with a capsule whose evaluation did not come to a verdict.
func (f *flow) failed(w *nodeos.Worker, p *packet.Packet, cl *class, err error) {
	e := f.ee
	var fault *vm.Fault
	if !errors.As(err, &fault) {
		if dead := jail.Dead(cl.inst); dead != nil {
			e.drop(w, p, DropEnded)
			f.released(w, dead)
			return
		}
		// Its account refused fuel or memory: that is no fault of this capsule.
		e.drop(w, p, DropThrottled)
		return
	}
	f.counts.Faults++
	cl.counts.Faults++
	e.kill(f, cl, fault, &f.capsule)
	e.drop(w, p, DropFault)
	now := w.Now()
	l := &e.spec.Limits
	if f.strikes == 0 || now.Sub(f.strikesAt) > l.StrikeWindow {
		f.strikes, f.strikesAt = 0, now
	}
	if f.strikes++; f.strikes >= l.Strikes {
		e.counts.Terminated++
		f.end(errs.New(errs.Refused, "%d faults within %s, the last one: %v", f.strikes, now.Sub(f.strikesAt), fault), now.Add(l.Penalty))
	}
}

// commit makes what the evaluation did to soft state last.
func (f *flow) commit(w *nodeos.Worker, m *abi.Manifest) {
	now := w.Now()
	out := &f.call.Out
	switch out.StateAct {
	case abi.StateWrite:
		if !f.store.put(&f.key, f.call.Put, f.expiry(now, out.StateLifetime), now) {
			f.ee.counts.StateRefused++
		}
	case abi.StateDelete:
		f.store.delete(&f.key)
	}
	for i := range f.journal.puts[:f.journal.n] {
		j := &f.journal.puts[i]
		if j.n == 0 {
			f.store.delete(&j.key)
		} else if !f.store.put(&j.key, j.value[:j.n], f.expiry(now, j.lifetime), now) {
			f.ee.counts.StateRefused++
		}
	}
}
