package vm

import (
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// What host functions of the caller's need where they wait, or do work whose price depends on their arguments.

// Waits reports whether a host function that was called by in may wait: in runs a process. Handlers never wait.
func (in *Instance) Waits() bool { return in.proc != nil }

// Poke has the process of in look again at what it waits for, see Wait. It may be called from any goroutine, also after the end; it does not block, and it
// allocates nothing. Of a handler it does nothing.
func (in *Instance) Poke() {
	if p := in.proc; p != nil {
		p.poke()
	}
}

// Wait is for host functions: it gives the processor up until ready is set by somebody who then calls Poke. Guest memory does not change meanwhile. Errors are
// errs.Timeout when it is past until (clock.Never: wait for ever), errs.WouldBlock for handlers, and errs.Dead when the isolate is to end: the host function
// then undoes what has to be undone and returns, whatever it returns.
func (in *Instance) Wait(ready *atomic.Bool, until clock.Time) error {
	p := in.proc
	if p == nil {
		return errs.New(errs.WouldBlock, "vm: isolate %s: a handler would have to wait", in.iso.spec.Name)
	}
	clk := in.iso.e.spec.Clock
	var over atomic.Bool
	if until != clock.Never {
		t := time.AfterFunc(until.Sub(clk.Now()), func() {
			over.Store(true)
			p.poke()
		})
		defer t.Stop()
	}
	p.iso.e.procs.release(p, p.account())
	for !ready.Load() && !over.Load() {
		if p.stopped() {
			return errs.New(errs.Dead, "vm: isolate %s ends", in.iso.spec.Name)
		}
		<-p.wake
	}
	switch {
	case !p.acquire():
		return errs.New(errs.Dead, "vm: isolate %s ends", in.iso.spec.Name)
	case !ready.Load():
		return errs.New(errs.Timeout, "vm: isolate %s: waited in vain", in.iso.spec.Name)
	}
	return nil
}

// Charge is for host functions: it takes fuel for work whose amount only they know, beside HostFunc.Fuel. What a process does not have it owes, and pays from
// its next quantum; a handler is left with none.
func (in *Instance) Charge(fuel uint64) {
	have := int64(in.fuel.Get())
	left := have - int64(min(fuel, 1<<40))
	if in.proc == nil {
		left = max(left, min(have, 0))
	}
	in.fuel.Set(uint64(left))
}

// Clock returns the engine's clock, by which Instance.Wait goes.
func (e *Engine) Clock() clock.Clock { return e.spec.Clock }

// Exit is for host functions: it ends the isolate, as the guest wishes (SelfExit), when the host function returns.
func (in *Instance) Exit(code int32) { in.iso.die(flagExit, SelfExit, code, nil) }
