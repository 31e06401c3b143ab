package ants

import (
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/sdk/abi"
)

// dest is where a copy of a capsule, or a new one, goes.
type dest struct {
	hop    Hop
	routed bool // there is a hop
	local  bool // it is this node
	ttl    uint32
	share  uint64
	credit uint32
}

// dest finds the way: to a neighbour directly, else by route; to zero stands for dst. ttl is what is left,
// own what the guest asked for.
func (e *EE) dest(to, dst NodeAddr, ttl uint32, own, share uint16) dest {
	d := dest{ttl: ttl, share: uint64(share)}
	if own > 0 {
		d.ttl = min(ttl, uint32(own))
	}
	if to == 0 {
		to = dst
	}
	if to == e.spec.Addr {
		d.local = true
		return d
	}
	if to != dst {
		d.hop, d.routed = e.spec.Router.Neighbour(to)
	}
	if !d.routed {
		d.hop, d.routed = e.spec.Router.NextHop(to)
	}
	return d
}

// divide shares the credit among what leaves the node. The sum never exceeds it.
func divide(ds []dest, credit uint32) {
	sum, n := uint64(0), uint32(0)
	for i := range ds {
		if !ds[i].local {
			sum += ds[i].share
			n++
		}
	}
	for i := range ds {
		d := &ds[i]
		switch {
		case d.local:
		case sum > 0:
			d.credit = uint32(uint64(credit) * d.share / sum)
		default:
			d.credit = credit / n
			credit -= d.credit
			n--
		}
	}
}

// act sends copies and new capsules and delivers here, as the guest said. credit is what is left of the capsule's. It
// takes p.
func (f *flow) act(w *nodeos.Worker, p *packet.Packet, o *offsets, cl *class, credit uint32, verdict abi.Verdict) {
	e, c, out := f.ee, &f.capsule, &f.call.Out
	dst := NodeAddr(out.Dst)
	if dst == 0 {
		dst = c.Dst
	}
	n := 0
	if verdict != abi.Drop {
		n = int(out.NumOutputs)
		for i := range out.Outputs[:n] {
			x := &out.Outputs[i]
			f.dests[i] = e.dest(NodeAddr(x.To), dst, c.TTL, x.TTL, x.Share)
		}
	}
	if verdict == abi.Forward && n == 0 {
		f.dests[0] = e.dest(0, dst, c.TTL, 0, 0)
		n = 1
	}
	emits := int(out.NumEmits)
	for i := range out.Emits[:emits] {
		x := &out.Emits[i]
		f.dests[n+i] = e.dest(0, NodeAddr(x.Dst), c.TTL, x.TTL, x.Share)
	}
	divide(f.dests[:n+emits], credit)
	for i := range out.Emits[:emits] {
		f.emitOne(w, cl, &out.Emits[i], &f.dests[n+i])
	}
	if n == 0 && verdict != abi.Deliver {
		w.Cache().Free(p)
		return
	}

	// What is sent is the window, followed by the part of the capsule that the guest did not see.
	if !w.Cache().Unshare(p) || !resize(p, o, int(out.Length)) {
		e.drop(w, p, DropNoMemory)
		return
	}
	copy(p.Data()[o.header+HeaderLen:], f.call.Payload)
	// Now, so that all copies have the credit option.
	if !rewrite(p, o, dst, c.Prev, c.TTL, credit) {
		e.drop(w, p, DropNoMemory)
		return
	}
	local := verdict == abi.Deliver
	last := -1 // the copy that p itself will be
	for i := range f.dests[:n] {
		d := &f.dests[i]
		if d.local {
			local = true // there is one application on the port, it gets one copy
			continue
		}
		if !f.mayLeave(w, d, p.Len()) {
			continue
		}
		if last >= 0 {
			f.sendCopy(w, p, o, cl, dst, &f.dests[last])
		}
		last = i
	}
	if local && last >= 0 {
		if q := w.Cache().Copy(p, f.domain.Owner()); q != nil {
			f.deliver(w, q, cl)
		} else {
			e.drops[DropNoMemory]++
		}
	}
	switch {
	case last >= 0:
		d := &f.dests[last]
		rewrite(p, o, dst, e.spec.Addr, d.ttl-1, d.credit)
		f.sendOn(w, p, cl, &d.hop)
	case local:
		f.deliver(w, p, cl)
	default:
		w.Cache().Free(p)
	}
}

// mayLeave checks what a copy of n bytes needs to leave this node, and counts what it lacks.
func (f *flow) mayLeave(w *nodeos.Worker, d *dest, n int) bool {
	e := f.ee
	switch {
	case !d.routed:
		e.drops[DropNoRoute]++
		e.refuse(w, &f.capsule, errs.Unreachable, 0)
		return false
	case d.ttl == 0:
		e.drops[DropTTL]++
		return false
	case d.credit == 0:
		e.drops[DropCredit]++
		return false
	}
	if port := e.portOf(d.hop.Link); port != nil && n > port.spec.MTU {
		e.drops[DropTooBig]++
		e.refuse(w, &f.capsule, errs.TooBig, uint32(port.spec.MTU))
		return false
	}
	return true
}

func (f *flow) sendCopy(w *nodeos.Worker, p *packet.Packet, o *offsets, cl *class, dst NodeAddr, d *dest) {
	q := w.Cache().Copy(p, f.domain.Owner())
	if q == nil {
		f.ee.drops[DropNoMemory]++
		return
	}
	rewrite(q, o, dst, f.ee.spec.Addr, d.ttl-1, d.credit)
	f.sendOn(w, q, cl, &d.hop)
}

func (f *flow) sendOn(w *nodeos.Worker, p *packet.Packet, cl *class, h *Hop) {
	if f.ee.send(w, p, h, f) {
		f.ee.counts.Forwarded++
		f.counts.Forwarded++
		cl.counts.Forwarded++
	}
}

// emitOne sends a new capsule of the same group. Its source is this node, for here it came into being; ports
// and trace id are those of the capsule that made it.
func (f *flow) emitOne(w *nodeos.Worker, cl *class, x *abi.Emit, d *dest) {
	e, from := f.ee, &f.capsule
	if int(x.Class) >= len(cl.group.classes) || x.Dst == 0 {
		e.drops[DropBadEmit]++
		return
	}
	c := Capsule{
		Method: cl.group.classes[x.Class].method, Src: e.spec.Addr, Dst: NodeAddr(x.Dst), Prev: e.spec.Addr, TTL: d.ttl,
		HasPorts: from.HasPorts, SrcPort: from.SrcPort, DstPort: from.DstPort, HasTrace: from.HasTrace, Trace: from.Trace,
		HasCredit: true, Credit: Credit{Count: d.credit}, Data: cl.inst.EmitBytes(x),
	}
	if !d.local {
		if !f.mayLeave(w, d, c.Overhead()+len(c.Data)) {
			return
		}
		c.TTL--
	}
	p := w.Cache().Alloc(f.domain.Owner())
	if p == nil || !c.Encode(p) {
		if p != nil {
			w.Cache().Free(p)
		}
		e.drops[DropNoMemory]++
		return
	}
	p.Anno.Time = w.Now()
	e.counts.Emitted++
	f.counts.Emitted++
	cl.counts.Emitted++
	if d.local {
		f.deliver(w, p, cl)
		return
	}
	f.sendOn(w, p, cl, &d.hop)
}

// deliver gives p to the application on its port. It takes p.
func (f *flow) deliver(w *nodeos.Worker, p *packet.Packet, cl *class) {
	if f.ee.toApp(w, p, f.capsule.DstPort) {
		f.ee.counts.Delivered++
		f.counts.Delivered++
		cl.counts.Delivered++
	}
}
