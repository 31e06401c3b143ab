package vm

import (
	"context"
	"errors"
	"slices"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

type linearMemory = experimental.LinearMemory

// DefaultBudget is the fuel of an evaluation whose Call does not say.
const DefaultBudget = 100_000

// instanceOverhead is what an instance costs besides its memory and its call stack: the
// engine's tables and objects, and its first call stack.
const instanceOverhead = 24 << 10

// Instance is a code with memory in an isolate. It is used by the isolate's goroutine only.
type Instance struct {
	iso  *Isolate
	code *Code
	Data any // for the caller's host functions

	// Of the present life, which ends with a fault:
	*body         // nil: a new life has to begin
	charged int64 // linear memory, bytes
	fixed   bool  // what it costs besides is charged
	refused bool  // a growth was refused during this evaluation

	ctx callContext
	taping
	sampling
	exit    exit
	binds   []bound           // what its imports are; nil: what the class says
	landed  [MaxPassed]Handle // of a message that its process waits for
	proc    *process          // that runs it, or nil
	ends    uint32            // flags of the isolate that end what runs
	owned   bool              // made by Instantiate: the caller closes it
	stack   [2]uint64
	running bool
	closed  bool
	lives   uint64
	outside OutsideInstance // where it runs; nil: here
	views   []View          // of its memory, during a call from outside
}

// Call is what goes into an evaluation and what comes out. It is made to be reused.
type Call struct {
	In     abi.In // Captured, Fuel and StateFound are set by Evaluate
	Window []byte // class-specific bytes of the capsule, copied in; at most In.Length, what does not fit the guest's window stays outside
	State  []byte // stored value under the declared key, nil for none; copied in
	Budget uint64 // most fuel; 0: DefaultBudget

	// Results, valid until the next evaluation in the same instance. After an error only Used is.
	Used    uint64  // fuel
	Out     abi.Out // checked
	Payload []byte  // the visible part of what is to be sent: a view of the window. If Out.Length is longer, the rest is the capsule's own tail
	Put     []byte  // value to store if Out.StateAct is abi.StateWrite: a view
}

// Instantiate makes an instance of code, debiting its memory before. Several instances, of
// several codes, may be in one isolate. The instance keeps what it needs of code; if that has been released the error is errs.Dead.
func (i *Isolate) Instantiate(code *Code) (*Instance, error) {
	switch {
	case code.e != i.e:
		return nil, errs.New(errs.Invalid, "vm: isolate %s: the code belongs to another engine", i.spec.Name)
	case code.Class().process:
		return nil, errs.New(errs.Invalid, "vm: isolate %s: %s is a class of processes: start it", i.spec.Name, code.Class().name)
	}
	if err := i.enter(true); err != nil {
		return nil, err
	}
	in, err := i.instantiate(code)
	if err != nil {
		i.leave()
		return nil, err
	}
	in.owned = true
	return in, nil
}

// instantiate makes an instance that ends with the isolate.
func (i *Isolate) instantiate(code *Code) (*Instance, error) {
	if code.entry.outside != nil {
		return i.instantiateOutside(code)
	}
	binds, err := i.resolve(code)
	if err != nil {
		return nil, err
	}
	in := &Instance{iso: i, code: code, ends: flagExit | flagHalt, binds: binds}
	in.ctx = callContext{Context: context.Background(), in: in}
	in.sampler = code.Class().sampler
	i.e.mu.Lock()
	if code.released {
		i.e.mu.Unlock()
		return nil, errs.New(errs.Dead, "vm: isolate %s: the code has been released", i.spec.Name)
	}
	code.entry.refs++
	i.e.mu.Unlock()
	if err := in.begin(int(code.entry.best.Load())); err != nil {
		i.e.drop(code.entry, false)
		return nil, err
	}
	i.mu.Lock()
	i.instances = append(i.instances, in)
	i.mu.Unlock()
	return in, nil
}

// Isolate returns the isolate that in is in.
func (in *Instance) Isolate() *Isolate { return in.iso }

// Code returns the code that in runs.
func (in *Instance) Code() *Code { return in.code }

// Lives returns how often in began in fresh memory.
func (in *Instance) Lives() uint64 { return in.lives }

// Memory returns a view of n bytes of guest memory at addr, or false if they do not exist. It is
// meant for host functions; the view ends when they return.
func (in *Instance) Memory(addr, n uint32) ([]byte, bool) {
	if in.body == nil {
		return in.view(addr, n)
	}
	if uint64(addr)+uint64(n) > uint64(in.mem.n) {
		return nil, false
	}
	if in.tape != nil {
		in.tape.view(addr, n)
	}
	return in.mem.buf[addr : uint64(addr)+uint64(n) : uint64(addr)+uint64(n)], true
}

// begin starts a life in a tier.
func (in *Instance) begin(t int) error {
	iso, ent := in.iso, in.code.entry
	if err := in.takeFixed(); err != nil {
		return err
	}
	in.refused = false
	if b := iso.e.pooled(ent, t); b != nil {
		if err := iso.take(useLinear, int64(b.mem.n)); err != nil {
			iso.e.closeBody(b)
			in.end()
			return err
		}
		in.body, in.charged, b.mem.in = b, int64(b.mem.n), in
	} else if b, err := in.newBody(t); err == nil {
		in.body = b
	} else {
		in.end()
		return err
	}
	in.lives++
	return nil
}

// end ends a life and gives everything back.
func (in *Instance) end() {
	if b := in.body; b != nil {
		in.body = nil
		in.iso.e.closeBody(b)
	}
	in.repay()
}

// retire ends a life that was not killed: where it can be restored, its body is kept for the next instance of the same code.
func (in *Instance) retire() {
	ent := in.code.entry
	if b := in.body; b != nil && !ent.key.class.process && b.restore(ent) && in.iso.e.pool(ent, b) {
		in.body = nil
	}
	in.end()
}

// repay returns what is charged for a life.
func (in *Instance) repay() {
	in.iso.giveBack(useLinear, in.charged)
	in.charged = 0
	if in.fixed {
		in.fixed = false
		in.iso.giveBack(useEngine, instanceOverhead)
		in.iso.giveBack(useStack, in.code.entry.stack())
		in.iso.giveBack(useTable, in.code.entry.table())
	}
}

// takeFixed debits what an instance costs besides its linear memory.
func (in *Instance) takeFixed() error {
	iso, ent := in.iso, in.code.entry
	n := ent.fixed()
	if err := iso.take(useEngine, n); err != nil {
		return err
	}
	in.fixed = true
	for u, part := range [numUses]int64{useStack: ent.stack(), useTable: ent.table()} {
		iso.held[useEngine].Add(-part)
		iso.held[u].Add(part)
	}
	return nil
}

// move continues in another tier, with the same memory and globals. For the guest
// nothing happens.
func (in *Instance) move(t int) {
	ent := in.code.entry
	if ent.mod.SegmentState {
		return // it has state that cannot be read: it stays until its life ends
	}
	old, charged, fixed := in.body, in.charged, in.fixed
	in.body, in.charged, in.fixed = nil, 0, false
	err := in.begin(t)
	if err == nil {
		in.lives--
		if more := uint32(old.mem.n-in.mem.n) >> 16; more > 0 {
			if _, ok := in.mod.Memory().Grow(more); !ok {
				in.end()
				err = errs.Limit
			}
		}
	}
	if err != nil { // There is not enough memory for two: stay.
		in.body, in.charged, in.fixed, in.refused = old, charged, fixed, false
		return
	}
	copy(in.mem.buf[:in.mem.n], old.mem.buf[:old.mem.n])
	for _, g := range ent.mod.Mutable {
		name := gate.GlobalName(g)
		in.mod.ExportedGlobal(name).(api.MutableGlobal).Set(old.mod.ExportedGlobal(name).Get())
	}
	in.used, in.written = true, uint32(len(in.window))
	now, nowCharged := in.body, in.charged
	in.body, in.charged, in.fixed = old, charged, fixed
	in.end()
	in.body, in.charged, in.fixed = now, nowCharged, true
}

// Evaluate runs the guest once. It takes the budget from meter, which may be nil, before, and returns what was
// not used; it reads c's first fields and sets the others. It does not block and does not allocate unless it fails. Errors:
// a *Fault; errs.Limit if the meter or the memory limit refuses; errs.Invalid for a Call that is wrong. A window
// shorter than the manifest asks for gives abi.Error without running the guest.
func (in *Instance) Evaluate(meter *resctl.Meter, c *Call) (abi.Verdict, error) {
	if meter == nil {
		return in.evaluate(nil, c)
	}
	return in.evaluate(meter, c)
}

// evaluate is Evaluate for whoever pays, nil for nobody.
func (in *Instance) evaluate(by payer, c *Call) (abi.Verdict, error) {
	if in.outside != nil {
		return in.evaluateOutside(by, c)
	}
	c.Used = 0
	ent := in.code.entry
	switch {
	case in.closed || in.running:
		return abi.Error, errs.New(errs.Dead, "vm: isolate %s: the instance is closed or running", in.iso.spec.Name)
	case uint64(len(c.Window)) > uint64(c.In.Length) || len(c.State) > int(ent.manifest.StateSize):
		return abi.Error, errs.New(errs.Invalid, "vm: window of %d bytes for a length of %d, state of %d bytes, declared are %d",
			len(c.Window), c.In.Length, len(c.State), ent.manifest.StateSize)
	case in.iso.flags.Load() != 0:
		return abi.Error, in.stopped()
	case ent.element != nil:
		return abi.Error, errs.New(errs.Invalid, "vm: isolate %s: %s is an element", in.iso.spec.Name, ent.manifest.Name)
	}
	captured := min(len(c.Window), int(ent.manifest.WindowSize))
	if captured < int(ent.manifest.WindowMin) {
		return abi.Error, nil
	}
	if err := in.ready(); err != nil {
		return abi.Error, err
	}
	budget := c.Budget
	if budget == 0 {
		budget = DefaultBudget
	}
	budget = min(budget, 1<<40)
	meter, metered := by.(*resctl.Meter)
	if metered {
		if err := meter.Hold(resctl.Fuel, int64(budget)); err != nil {
			return abi.Error, err
		}
	} else if by != nil {
		if err := by.Take(resctl.Fuel, int64(budget)); err != nil {
			return abi.Error, err
		}
	}
	if in.faulted || in.tape != nil || ent.wanted.Load() > 0 {
		in.listen(ent)
	}
	fresh := !in.used
	in.fill(c, captured, budget)
	left, err := in.run(budget)
	c.Used = budget - left
	if metered {
		meter.Settle(resctl.Fuel, int64(budget), int64(c.Used))
	} else if by != nil && left > 0 {
		by.Return(resctl.Fuel, int64(left))
	}
	if in.tier != compiled {
		in.iso.e.count(ent, c.Used)
	}
	var verdict abi.Verdict
	if err == nil {
		verdict, err = in.collect(c, captured)
	}
	if err != nil || in.tape != nil {
		in.keep(c, fresh, verdict, err)
	}
	if err != nil {
		in.endLife(err)
	}
	return verdict, err
}

// endLife ends the life that had a fault. Its body waits in the pool where it can be restored, which costs a small part of what a new one does: guests cannot
// make garbage by faults.
func (in *Instance) endLife(err error) {
	var f *Fault
	if errors.As(err, &f) && in.body != nil {
		switch f.Reason {
		case OutOfFuel, OutOfStack, Unreachable, Bounds, Divide, Conversion, IndirectCall, BadOutput:
			in.retire()
			return
		}
	}
	in.end()
}

// stopped returns why nothing may run in the isolate, or nil.
func (in *Instance) stopped() error {
	switch f := in.iso.flags.Load(); {
	case f == 0:
		return nil
	case f&in.ends == 0:
		return errs.New(errs.WouldBlock, "vm: isolate %s is suspended", in.iso.spec.Name)
	}
	in.exit = exit{why: exitKilled}
	return in.fault(nil, 0)
}

// ready sees to a living instance in the best tier.
func (in *Instance) ready() error {
	best := int(in.code.entry.best.Load())
	if b := in.body; b != nil {
		if b.tier == best && !in.iso.spec.Fresh {
			return nil
		}
		if in.iso.spec.Fresh && b.used {
			if b.tier == best && b.restore(in.code.entry) {
				in.lives++
			} else {
				in.end()
			}
		}
	}
	if in.body == nil {
		return in.begin(best)
	}
	if in.tier != best {
		in.move(best)
	}
	return nil
}

// fill writes block, window and state.
func (in *Instance) fill(c *Call, captured int, budget uint64) {
	block := (*[abi.BlockSize]byte)(in.block)
	c.In.Captured, c.In.Fuel, c.In.StateFound = uint32(captured), budget, 0
	if c.State != nil {
		c.In.StateFound = 1
	}
	c.In.Put(block[:])
	c.In.Preset(block[:])
	if n := int(in.code.entry.manifest.StateSize); n > 0 {
		state := block[abi.BlockStateOff : abi.BlockStateOff+n]
		if k := copy(state, c.State); k < n {
			clear(state[k:])
		}
	}
	copy(in.window, c.Window[:captured])
	in.used, in.written = true, max(in.written, uint32(captured))
}

// run calls the guest and returns what is left of the budget. The charge that could not be met counts as used.
func (in *Instance) run(budget uint64) (left uint64, err error) {
	return in.call(in.fn, in.carries, budget)
}

// call is run for a function that the module exports; carries says that it takes the fuel and returns what is left.
func (in *Instance) call(fn api.Function, carries bool, budget uint64) (left uint64, err error) {
	if in.sampler != nil {
		return in.callSampled(fn, carries, budget)
	}
	return in.callGuest(fn, carries, budget)
}

// callSampled is call with what the class's sampler wants.
func (in *Instance) callSampled(fn api.Function, carries bool, budget uint64) (uint64, error) {
	left, err := in.callGuest(fn, carries, in.portion(budget))
	if in.exit.why == exitFuel {
		in.hidden = 0
	}
	left = in.rest(left)
	var f *Fault
	if errors.As(err, &f) {
		f.Fuel = budget - left
	}
	return left, err
}

func (in *Instance) callGuest(fn api.Function, carries bool, budget uint64) (left uint64, err error) {
	in.exit = exit{}
	in.refused = false
	in.running = true
	if carries {
		in.stack[0] = budget
		err = fn.CallWithStack(&in.ctx, in.stack[:])
		left = in.stack[1]
	} else {
		in.fuel.Set(budget)
		err = fn.CallWithStack(&in.ctx, in.stack[:])
		left = in.fuel.Get()
	}
	in.running = false
	if err == nil {
		return left, nil
	}
	left = 0
	if n := int64(in.fuel.Get()); n > 0 && in.exit.why != exitFuel {
		left = uint64(n)
	}
	return left, in.fault(err, budget-left)
}

// collect reads and checks what the guest asks for.
func (in *Instance) collect(c *Call, captured int) (abi.Verdict, error) {
	ent := in.code.entry
	v := abi.Verdict(uint32(in.stack[0]))
	err := errVerdict
	if v.Valid() {
		err = c.Out.Get(in.block, &c.In, ent.manifest.WindowSize, ent.manifest.StateSize > 0, uint32(in.mem.n))
	}
	if err != nil {
		return abi.Error, &Fault{Reason: BadOutput, Code: ent.key.id, Class: ent.manifest.Name, Fuel: c.Used, Func: -1, Offset: -1, Err: err}
	}
	n := c.Out.Length
	if c.In.Captured < c.In.Length {
		n = min(n, uint32(captured))
	}
	c.Payload = in.window[:n:n]
	c.Put = nil
	if c.Out.StateAct == abi.StateWrite {
		end := abi.BlockStateOff + int(ent.manifest.StateSize)
		c.Put = in.block[abi.BlockStateOff:end:end]
	}
	return v, nil
}

var errVerdict = errs.New(errs.Invalid, "evaluate returned a number that is no verdict")

// EmitBytes returns the bytes of an emit of the last evaluation: a view of guest memory.
func (in *Instance) EmitBytes(e *abi.Emit) []byte {
	if in.outside != nil {
		return in.outside.EmitBytes(e)
	}
	b, _ := in.Memory(e.Offset, e.Length)
	return b
}

// Close ends the instance and returns its memory. Closing twice is fine; it refuses with errs.WouldBlock from inside an evaluation.
func (in *Instance) Close() error {
	if in.closed {
		return nil
	}
	if in.running {
		return errs.New(errs.WouldBlock, "vm: isolate %s: closed from inside an evaluation: kill it, and close it afterwards", in.iso.spec.Name)
	}
	in.discard()
	if in.owned {
		in.iso.leave()
	}
	return nil
}

// discard ends the instance.
func (in *Instance) discard() {
	i := in.iso
	in.closed = true
	if in.outside != nil {
		in.outside.Close()
	}
	in.retire()
	i.e.drop(in.code.entry, false)
	i.mu.Lock()
	defer i.mu.Unlock()
	if n := slices.Index(i.instances, in); n >= 0 {
		i.instances = slices.Delete(i.instances, n, n+1)
	}
}
