package vm

import (
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero/api"
)

// The way of a process:
//
//  1. Isolate.Start makes its instance and its goroutine
//  2. the goroutine waits until the processors (see processors) give it one, and calls the guest
//  3. metered code that is out of fuel calls grant: it counts the time, looks at what the isolate was told to do, takes another
//     quantum of fuel from the account, and lets others have the processor that are due
//  4. a kernel call that has to wait calls park: the processor goes to others until what it waits for is there, or the isolate ends
//  5. when the guest returns, traps or is ended, the goroutine calls the guest's goodbye if there is one, and leaves the
//     isolate, which is torn down
//
// Only its goroutine touches the fields of a process, but those that the processors' lock guards. Everybody else sets a flag of the isolate and
// pokes it.

// ExportRun is the function that a process begins with. What it returns is its exit code.
const ExportRun = "run"

// ExportExiting is a function without parameters and results that a process may export. It is called when the process has returned or was asked
// to exit, with ExitFuel; not after a fault, nor when the isolate is halted or killed. Where run was left in the
// middle, what it had on its call stack stays in use.
const ExportExiting = "exiting"

// ExitFuel is the most fuel that a process's goodbye may use.
const ExitFuel = 1_000_000

// Bounds of a quantum, in units of fuel. A unit takes 0.1 to 0.3 ns in compiled code.
const (
	DefaultQuantum = 50_000
	MinQuantum     = 20_000
	MaxQuantum     = 100_000
)

// What a process is charged besides what every instance is charged. The interpreter nests calls on the goroutine's stack, which grows in powers of two: with
// 16,384 slots taken as deeply as they may be it was measured to be 4 MiB. Compiled code has a stack of its own, which is the instance's.
const (
	processBytes     = 24 << 10 // the goroutine, and what belongs to it
	interpretedSlots = 256      // for each slot of the code's call stack, in the interpreter
)

// StartSpec says how a process begins. The zero value is good.
type StartSpec struct {
	Args    []byte        // the guest may read them; not copied, and not changed until the isolate is terminated
	Fuel    uint64        // most fuel in its life; 0: as much as the account gives
	Time    time.Duration // most processor time in its life, measured at the ends of quanta; 0: no limit
	Quantum int64         // fuel that it gets at a time; 0: DefaultQuantum
}

// process is a guest with a goroutine of its own.
type process struct {
	iso    *Isolate
	in     *Instance
	spec   StartSpec
	wake   chan struct{} // poked when something changed that it may wait for
	waiter waiter

	// Guarded by the processors' lock:
	tree    *runTree
	entity  *resctl.Entity
	queued  bool
	running bool

	cost    int64  // bytes charged besides its instance
	hold    uint64 // fuel taken from the account in its life
	limit   uint64 // most
	time    time.Duration
	since   clock.Time // when its time was last counted
	onGrant func()     // for tests: called at the end of each quantum
}

// Start begins the isolate's process: code, of a class of processes, on a goroutine of its own. It may be called once. Errors are
// errs.Exists if there was one, errs.Dead if the isolate ends, errs.Invalid, and those of Instantiate. What goes wrong afterwards is in
// Status. The process keeps what it needs of code.
func (i *Isolate) Start(code *Code, spec StartSpec) error { return i.start(code, spec, nil) }

func (i *Isolate) start(code *Code, spec StartSpec, onGrant func()) error {
	switch {
	case code.e != i.e:
		return errs.New(errs.Invalid, "vm: isolate %s: the code belongs to another engine", i.spec.Name)
	case !code.Class().process:
		return errs.New(errs.Invalid, "vm: isolate %s: %s is not a class of processes: instantiate it", i.spec.Name, code.Class().name)
	case spec.Quantum == 0:
		spec.Quantum = DefaultQuantum
	case onGrant == nil && (spec.Quantum < MinQuantum || spec.Quantum > MaxQuantum):
		return errs.New(errs.Invalid, "vm: isolate %s: a quantum of %d units, want %d to %d", i.spec.Name, spec.Quantum, MinQuantum, MaxQuantum)
	}
	p := &process{iso: i, spec: spec, wake: make(chan struct{}, 1), limit: spec.Fuel, onGrant: onGrant}
	if p.limit == 0 {
		p.limit = 1 << 62
	}
	p.waiter.poke = p.poke
	if err := i.adopt(p); err != nil {
		return err
	}
	p.cost = processBytes + int64(len(spec.Args))
	if code.entry.best.Load() == interpreted {
		p.cost += interpretedSlots * int64(code.entry.mod.Stack)
	}
	err := i.take(useStack, p.cost)
	if err == nil {
		if p.in, err = i.instantiate(code); err != nil {
			i.giveBack(useStack, p.cost)
		}
	}
	if err == nil {
		p.in.proc = p
		if err = i.e.procs.join(p); err == nil {
			go p.main()
			return nil
		}
		p.in.discard()
		i.giveBack(useStack, p.cost)
	}
	i.orphan()
	return err
}

// adopt makes p the isolate's process and counts it in.
func (i *Isolate) adopt(p *process) error {
	l := &i.life
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case i.flags.Load()&(flagExit|flagHalt) != 0:
		return errs.New(errs.Dead, "vm: isolate %s is closed or killed", i.spec.Name)
	case l.proc != nil:
		return errs.New(errs.Exists, "vm: isolate %s has its process: it can be started once", i.spec.Name)
	}
	l.proc = p
	l.users++
	if l.status.State == New {
		l.status.State, l.begun = Started, true
		l.deliver()
	}
	return nil
}

// orphan undoes adopt where the process could not be made.
func (i *Isolate) orphan() {
	l := &i.life
	l.mu.Lock()
	l.proc = nil
	l.users--
	i.finish()
}

// inProcess reports whether a process is in the isolate.
func (i *Isolate) inProcess() bool {
	l := &i.life
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proc != nil && !l.torn
}

// poke has the process look around.
func (p *process) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// main is the goroutine.
func (p *process) main() {
	i, in := p.iso, p.in
	var result int32
	var err *Fault
	if fn := in.mod.ExportedFunction(gate.ExportStart); fn != nil { // as much of the process as the rest
		_, err = p.call(fn, nil)
	}
	if err == nil {
		result, err = p.call(in.fn, in.stack[:])
	}
	switch {
	case err == nil:
		i.die(flagExit, ImplicitExit, result, nil)
	case err.Reason != Killed:
		i.die(flagExit, UncaughtTrap, 0, err)
	}
	if fn := in.mod.ExportedFunction(ExportExiting); fn != nil && (err == nil || err.Reason == Killed) {
		// Whatever comes of it, the cause of the end is known, unless it is halted meanwhile.
		in.ends = flagHalt
		p.limit = min(p.limit, p.hold-p.left()+ExitFuel)
		p.call(fn, nil)
	}
	if n := p.left(); n > 0 && i.spec.Account != nil {
		i.spec.Account.Return(resctl.Fuel, int64(n))
	}
	i.endChildren()
	i.e.procs.quit(p)
	in.discard()
	i.giveBack(useStack, p.cost)
	i.leave()
}

// left is the fuel that was taken and has not been used.
func (p *process) left() uint64 { return uint64(max(0, int64(p.in.fuel.Get()))) }

// call runs a function of the guest to its end.
func (p *process) call(fn api.Function, stack []uint64) (int32, *Fault) {
	in := p.in
	in.exit = exit{}
	if !p.acquire() {
		in.exit.why = exitKilled
		return 0, in.fault(nil, 0)
	}
	in.refused, in.running = false, true
	err := fn.CallWithStack(&in.ctx, stack)
	in.running = false
	if p.running {
		p.iso.e.procs.release(p, p.account())
	}
	if err != nil {
		return 0, in.fault(err, p.hold-p.left())
	}
	if len(stack) == 0 {
		return 0, nil
	}
	return int32(uint32(stack[0])), nil
}

// stopped reports whether the isolate was told what ends the process.
func (p *process) stopped() bool { return p.iso.flags.Load()&p.in.ends != 0 }

// account counts the time since the last time.
func (p *process) account() time.Duration {
	now := p.iso.e.spec.Clock.Now()
	used := now.Sub(p.since)
	p.since = now
	p.time += used
	if a := p.iso.spec.Account; a != nil && used > 0 {
		a.Spend(resctl.CPU, int64(used))
	}
	return used
}

// grant is called when the guest is out of fuel. It returns why the guest ends, or exitNone when it has fuel again.
func (p *process) grant() exitReason {
	if p.onGrant != nil {
		p.onGrant()
	}
	in := p.in
	used := p.account()
	if !p.iso.e.procs.turn(p, used) {
		return exitKilled
	}
	debt := uint64(max(1, -int64(in.fuel.Get())))
	if p.spec.Time > 0 && p.time > p.spec.Time || p.hold+debt > p.limit {
		return exitFuel
	}
	ask := min(max(uint64(p.spec.Quantum), debt), p.limit-p.hold)
	ask, why := p.take(ask, debt)
	if why != exitNone {
		return why
	}
	p.hold += ask
	in.fuel.Set(ask - debt)
	return exitNone
}

// take takes fuel from the account: as much as is asked or, near a limit, less. Where a limit of a window refuses it waits for the
// next window.
func (p *process) take(ask, need uint64) (uint64, exitReason) {
	a := p.iso.spec.Account
	if a == nil {
		return ask, exitNone
	}
	for {
		err := a.Take(resctl.Fuel, int64(ask))
		if err == nil {
			return ask, exitNone
		}
		refusal, ok := err.(*resctl.Refusal)
		if !ok {
			return 0, exitFuel // the account is closed
		}
		if room := uint64(max(0, refusal.Limit-refusal.Use)); room >= need && room < ask {
			ask = room
			continue
		}
		for a.Path() != refusal.Account {
			a = a.Parent()
		}
		end := a.WindowEnd(resctl.Fuel)
		if a = p.iso.spec.Account; end == clock.Never || uint64(refusal.Limit) < need {
			return 0, exitFuel
		}
		if !p.sleep(end) {
			return 0, exitKilled
		}
		ask = max(need, uint64(p.spec.Quantum))
	}
}

// sleep parks the process until the given time. It returns false if it is to end.
func (p *process) sleep(until clock.Time) bool {
	clk := p.iso.e.spec.Clock
	var over atomic.Bool
	t := time.AfterFunc(until.Sub(clk.Now()), func() {
		over.Store(true)
		p.poke()
	})
	defer t.Stop()
	return p.park(&over)
}

// park gives the processor up until ready is set by somebody who then pokes the process. It returns false if the process
// is to end; what it has waited for may then be there nevertheless.
func (p *process) park(ready *atomic.Bool) bool {
	p.iso.e.procs.release(p, p.account())
	for !ready.Load() {
		if p.stopped() {
			return false
		}
		<-p.wake
	}
	return p.acquire()
}

// acquire waits for a processor, and for the end of a suspension. It returns false, without a processor, if the process is to end.
func (p *process) acquire() bool {
	ok := p.iso.e.procs.acquire(p)
	p.since = p.iso.e.spec.Clock.Now()
	return ok
}

// attend is called at the end of a kernel call when the isolate was told something. It does not return if that is to end.
func (in *Instance) attend() {
	p := in.proc
	if p != nil && in.iso.flags.Load()&in.ends == 0 {
		used := p.account()
		if p.iso.e.procs.turn(p, used) {
			return
		}
	}
	if in.iso.flags.Load()&in.ends != 0 {
		in.exit.why = exitKilled
		panic(&in.exit)
	}
}
