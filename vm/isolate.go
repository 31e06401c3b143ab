package vm

import (
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// IsolateSpec says what an isolate should be.
type IsolateSpec struct {
	Name    string
	Account *resctl.Account // pays memory; nil: nobody counts
	Memory  int64           // most bytes of all its instances together; 0: what the account allows
	Data    any             // for the caller's host functions, see Isolate.Data
	// Fresh makes every evaluation begin in fresh memory. A guest that then behaves differently
	// relies on memory between evaluations, which the ABI leaves open. For tests of guests.
	Fresh bool
}

// Isolate is a place where the guests of one principal run. One goroutine may be inside it, or
// any of its instances, at a time; it need not be always the same.
type Isolate struct {
	e         *Engine
	spec      IsolateSpec
	killed    atomic.Pointer[killed]
	held      int64 // memory, bytes
	instances []*Instance
	closed    bool
}

type killed struct{ reason error }

// NewIsolate makes an isolate. It costs nothing until something is instantiated in it.
func (e *Engine) NewIsolate(spec IsolateSpec) (*Isolate, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errs.New(errs.Dead, "vm: isolate %s: the engine is closed", spec.Name)
	}
	e.isolates++
	return &Isolate{e: e, spec: spec}, nil
}

// Name returns the name.
func (i *Isolate) Name() string { return i.spec.Name }

// Data returns what the spec had.
func (i *Isolate) Data() any { return i.spec.Data }

// Memory returns the bytes that its instances hold, as they are charged.
func (i *Isolate) Memory() int64 { return i.held }

// Kill makes every further evaluation end with a Fault, and the present one when it
// next leaves a host function. It does not wait, and may be called from any goroutine, more than once;
// the first reason counts. It frees nothing: Close does, by the goroutine that was inside.
func (i *Isolate) Kill(reason error) {
	if reason == nil {
		reason = errs.Dead
	}
	i.killed.CompareAndSwap(nil, &killed{reason})
}

// Killed returns the reason of the kill, or nil.
func (i *Isolate) Killed() error {
	if k := i.killed.Load(); k != nil {
		return k.reason
	}
	return nil
}

// Close closes all instances and returns everything to the account. It refuses with
// errs.WouldBlock when called from inside an evaluation. Closing twice is fine.
func (i *Isolate) Close() error {
	if i.closed {
		return nil
	}
	for _, in := range i.instances {
		if in.running {
			return errs.New(errs.WouldBlock, "vm: isolate %s: closed from inside an evaluation: kill it, and close it afterwards", i.spec.Name)
		}
	}
	i.closed = true
	for len(i.instances) > 0 {
		if err := i.instances[0].Close(); err != nil {
			return err
		}
	}
	i.e.mu.Lock()
	i.e.isolates--
	i.e.mu.Unlock()
	return nil
}

// take debits n bytes of memory before they are used.
func (i *Isolate) take(n int64) error {
	if i.spec.Memory > 0 && i.held+n > i.spec.Memory {
		return errs.New(errs.Limit, "vm: isolate %s: %d bytes more would exceed its memory limit, %d of %d are in use", i.spec.Name, n, i.held, i.spec.Memory)
	}
	if i.spec.Account != nil {
		if err := i.spec.Account.Take(resctl.Memory, n); err != nil {
			return err
		}
	}
	i.held += n
	return nil
}

func (i *Isolate) giveBack(n int64) {
	i.held -= n
	if i.spec.Account != nil {
		i.spec.Account.Return(resctl.Memory, n)
	}
}
