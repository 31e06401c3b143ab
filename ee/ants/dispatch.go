package ants

// The way of a capsule through a node:
//
//  1. Input      packets of a link, or of an application, which begin with the ANEP header
//  2. classify   decode, find the protocol's domain by method id alone, hand off to its bounded queue;
//                builtin classes are handled here (load.go, serve.go, refuse.go)
//  3. flow.Run   (flow.go) in the protocol's domain: evaluate (evaluate.go), copies into the pending batches of ports
//                and applications
//  4. flush      hand those off: to the queue of the port, whose frames the EE's domain pays, or to the application
//  5. Port       its task takes the queue to the out-channel or the element graph, in the name of the protocols
//
// All of it runs on the EE's home worker, so there are no locks. Between 3 and 4, and in 2, packets wait in batches
// only within one run; across runs they are in bounded queues.

import (
	"encoding/binary"

	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Input takes packets that came by a link; each begins with its ANEP header. It takes the packets and leaves b empty. It may be
// called on any worker; on the EE's own it classifies at once.
func (e *EE) Input(w *nodeos.Worker, link uint16, b *packet.Batch) {
	for _, p := range b.Packets() {
		p.Anno.Link = link
	}
	if w != e.home {
		e.inbox.HandOff(w, b)
		return
	}
	e.classify(w, b)
}

// classify is step 2.
func (e *EE) classify(w *nodeos.Worker, b *packet.Batch) {
	e.counts.Received += uint64(b.Len())
	for _, p := range b.Packets() {
		e.classifyOne(w, p)
	}
	b.Reset()
	e.flush(w)
}

func (e *EE) classifyOne(w *nodeos.Worker, p *packet.Packet) {
	c := &e.sel
	if err := c.Decode(p.Data()); err != nil {
		cause := DropMalformed
		if err == ErrANEPVersion || err == ErrANEPType || err == ErrVersion || err == ErrUnknown {
			cause = DropVersion
		}
		e.drop(w, p, cause)
		return
	}
	if m, ok := e.methods[c.Method]; ok {
		m.flow.enqueue(w, p, m.class)
		return
	}
	switch c.Method {
	case MethodDLRequest:
		e.serve(w, p, c)
		return
	case MethodDLResponse:
		e.response(w, p, c)
		return
	case MethodError:
		e.errorIn(w, p, c)
		return
	}
	if e.refused.has(c.Method, w.Now()) {
		e.drop(w, p, DropRefused)
		return
	}
	f := e.bootstrap(w, c, p.Anno.Link)
	if f == nil {
		e.drop(w, p, DropNoLoad)
		return
	}
	f.enqueue(w, p, nil)
}

// enqueue makes p wait for its hand-off to the protocol's queue. class is nil while the code is being loaded.
func (f *flow) enqueue(w *nodeos.Worker, p *packet.Packet, class *class) {
	if class == nil {
		if l := &f.ee.spec.Limits; f.waiting >= l.Waiting || f.waitingBytes+p.Len() > l.WaitingBytes {
			f.ee.drop(w, p, DropWaiting)
			return
		}
		f.waiting++
		f.waitingBytes += p.Len()
	}
	f.lastUse = w.Now()
	if f.pending.Room() == 0 {
		f.handOff(w)
	}
	if f.pending.Len() == 0 {
		f.ee.touchedFlows = append(f.ee.touchedFlows, f)
	}
	f.pending.Append(p)
}

// handOff gives what is pending to the protocol's queue.
func (f *flow) handOff(w *nodeos.Worker) {
	n := f.pending.Len()
	f.ee.drops[DropQueueFull] += uint64(n - f.in.HandOff(w, &f.pending))
}

// flush is step 4, and ends step 2.
func (e *EE) flush(w *nodeos.Worker) {
	for _, f := range e.touchedFlows {
		f.handOff(w)
	}
	e.touchedFlows = e.touchedFlows[:0]
	for _, p := range e.touchedPorts {
		p.handOff(w)
	}
	e.touchedPorts = e.touchedPorts[:0]
	for _, a := range e.touchedApps {
		a.handOff(w)
	}
	e.touchedApps = e.touchedApps[:0]
}

// send makes p, whose headers are written, wait for its hand-off to the port of a hop. f is the protocol that
// pays for sending it, or nil.
func (e *EE) send(w *nodeos.Worker, p *packet.Packet, h *Hop, f *flow) bool {
	port := e.portOf(h.Link)
	if port == nil {
		e.drop(w, p, DropNoRoute)
		return false
	}
	at := p.Anno.Time
	p.ClearHeaders()
	p.Anno = packet.Anno{Time: at, Dst: h.IP, NextHop: h.IP, DstPort: h.Port, LinkAddr: h.MAC, HasLink: h.HasMAC}
	if f != nil {
		binary.NativeEndian.PutUint32(p.Anno.User[:], f.number)
	}
	if port.pending.Room() == 0 {
		port.handOff(w)
	}
	if port.pending.Len() == 0 {
		e.touchedPorts = append(e.touchedPorts, port)
	}
	port.pending.Append(p)
	return true
}

func (e *EE) portOf(link uint16) *Port {
	if int(link) < len(e.byLink) {
		return e.byLink[link]
	}
	return nil
}
