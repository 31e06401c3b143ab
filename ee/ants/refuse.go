package ants

import (
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// refuse tells the node where a capsule was injected that it could not be sent on. There are no errors about errors, and
// no more than the limit in a second.
func (e *EE) refuse(w *nodeos.Worker, c *Capsule, kind errs.Kind, limit uint32) {
	if !e.errorRate.take(1, w.Now()) {
		return
	}
	r := ErrorReport{Method: c.Method, Node: e.spec.Addr, Dst: c.Dst, Kind: kind, Limit: limit}
	if c.HasTrace {
		r.Trace = c.Trace
	}
	if c.Src == e.spec.Addr {
		e.reported(&r)
		return
	}
	h, ok := e.spec.Router.NextHop(c.Src)
	if !ok {
		return
	}
	p := w.Cache().Alloc(e.domain.Owner())
	if p == nil {
		e.drops[DropNoMemory]++
		return
	}
	var body [errorLen]byte
	m := Capsule{Method: MethodError, Src: e.spec.Addr, Dst: c.Src, Prev: e.spec.Addr, TTL: DefaultTTL, Data: r.put(body[:0])}
	if !m.Encode(p) {
		e.drop(w, p, DropNoMemory)
		return
	}
	if e.send(w, p, &h, nil) {
		e.counts.ErrorsSent++
	}
}

// errorIn takes an error capsule: it is for this node, or on its way. It takes p.
func (e *EE) errorIn(w *nodeos.Worker, p *packet.Packet, c *Capsule) {
	var r ErrorReport
	if r.decode(c.Data) != nil {
		e.drop(w, p, DropMalformed)
		return
	}
	if c.Dst == e.spec.Addr {
		e.reported(&r)
		w.Cache().Free(p)
		return
	}
	if c.TTL == 0 {
		e.drop(w, p, DropTTL)
		return
	}
	h, ok := e.spec.Router.NextHop(c.Dst)
	if !ok {
		e.drop(w, p, DropNoRoute)
		return
	}
	o, err := parseANEP(p.Data())
	if err != nil || !e.errorRate.take(1, w.Now()) || !w.Cache().Charge(p, e.domain.Owner()) || !w.Cache().Unshare(p) ||
		!rewrite(p, &o, c.Dst, e.spec.Addr, c.TTL-1, c.TTL) {
		e.drop(w, p, DropNoMemory)
		return
	}
	if e.send(w, p, &h, nil) {
		e.counts.ErrorsPassed++
	}
}

// reported hears that a capsule of this node was refused somewhere.
func (e *EE) reported(r *ErrorReport) {
	e.counts.ErrorsIn++
	if !e.eventRate.take(1, e.home.Now()) {
		e.skipped++
		return
	}
	e.emit(Event{Kind: ErrorReceived, Method: r.Method.String(), Peer: r.Node, Reason: r.Kind.Error(), Bytes: int(r.Limit)})
}
