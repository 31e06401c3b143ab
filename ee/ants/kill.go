package ants

import (
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm"
)

// Kill is the record of an evaluation that ended in a fault.
type Kill struct {
	Time     clock.Time `json:"time_ns"`
	Node     NodeAddr   `json:"node"`
	Domain   string     `json:"domain"`
	Protocol string     `json:"protocol"`
	Class    string     `json:"class"`
	Method   MethodID   `json:"method"`
	Kind     errs.Kind  `json:"kind"`
	Reason   string     `json:"reason"`
	Fuel     uint64     `json:"fuel"`
	Func     int        `json:"func"`   // function index in the module, -1 if unknown
	Offset   int        `json:"offset"` // byte offset in the module, -1 if unknown
	Src      NodeAddr   `json:"src"`
	Prev     NodeAddr   `json:"prev"`
}

// kill records a fault.
func (e *EE) kill(f *flow, cl *class, x *vm.Fault, c *Capsule) {
	k := Kill{
		Time: e.home.Now(), Node: e.spec.Addr, Domain: f.domain.Path(), Protocol: f.name, Class: cl.name, Method: cl.method,
		Kind: x.Reason.Kind(), Reason: x.Reason.String(), Fuel: x.Fuel, Func: x.Func, Offset: x.Offset, Src: c.Src, Prev: c.Prev,
	}
	e.killTotal++
	if len(e.kills) < cap(e.kills) {
		e.kills = append(e.kills, k)
	} else {
		e.kills[e.killNext] = k
		e.killNext = (e.killNext + 1) % len(e.kills)
	}
	if !e.eventRate.take(1, k.Time) {
		e.skipped++
		return
	}
	e.emit(Event{Kind: CapsuleKilled, Domain: k.Domain, Protocol: k.Protocol, Class: k.Class, Method: k.Method.String(), Peer: k.Src,
		Reason: k.Reason, Fuel: k.Fuel, Func: k.Func, Offset: k.Offset, Skipped: e.skipped})
	e.spec.Log.Warn("capsule killed", "address", k.Node.String(), "protocol", k.Protocol, "class", k.Class, "reason", k.Reason, "fuel", k.Fuel,
		"func", k.Func, "offset", k.Offset, "src", k.Src.String(), "skipped", e.skipped)
	e.skipped = 0
}

// Kills returns the latest kills, the oldest first, and how many there were ever.
func (e *EE) Kills() (ks []Kill, total uint64, err error) {
	err = e.call(func() {
		ks = append(ks, e.kills[e.killNext:]...)
		ks = append(ks, e.kills[:e.killNext]...)
		total = e.killTotal
	})
	return ks, total, err
}

// Recordings returns the evaluations that were recorded last, see [vm.Engine.Recordings], and how many are wanted still.
func (e *EE) Recordings() ([]*vm.Recording, int) {
	return e.spec.Engine.Recordings(), e.spec.Engine.Wanted()
}

// Record has the next n evaluations of a module recorded, see [vm.Engine.Record].
func (e *EE) Record(id vm.CodeID, n int) error { return e.spec.Engine.Record(id, n) }
