package vm

import (
	"fmt"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// Outside runs the guests of a class somewhere else than in this process; package vm/jail does, in processes without rights. A class
// that has one is used as any other: its codes are loaded by Engine.Load, its instances are made by
// Isolate.Instantiate and evaluated by Instance.Evaluate, with the same results, fuel and faults. It differs in this: a method may fail with
// errs.Dead because the process is gone, after which instances and codes are dead too; an instance is charged the most memory that it declares
// as long as it lives; imports cannot be renamed or interposed; a host function sees only what its Spans name.
type Outside interface {
	// Load passes a module of the class through the gate there. Any goroutine may call it; it may take milliseconds.
	Load(code []byte, class *Class) (OutsideCode, error)
}

// OutsideCode is a module that was loaded outside.
type OutsideCode interface {
	Manifest() *abi.Manifest
	Info() Info
	// Instantiate makes an instance that runs what is evaluated in in.
	Instantiate(in *Instance) (OutsideInstance, error)
	// Release gives the code back. Instances of it live on.
	Release()
}

// OutsideInstance is the guest behind an Instance. One goroutine uses it at a time.
type OutsideInstance interface {
	// Evaluate is Instance.Evaluate after its checks.
	Evaluate(meter *resctl.Meter, c *Call) (abi.Verdict, error)
	// EmitBytes is Instance.EmitBytes.
	EmitBytes(e *abi.Emit) []byte
	Close()
}

// Span names the arguments of a host function by which the guest gives it bytes of its memory. Outside, these are all that Instance.Memory
// finds during the call: it is a copy, and what is written is copied back afterwards.
type Span struct {
	Addr, Len int    // which arguments are the address and the number of bytes
	Max       uint32 // most bytes that the function looks at or writes; at most MaxSpan
	Write     bool   // the function writes there
}

// MaxSpan is the most bytes that a call from outside may name at one place.
const MaxSpan = 1024

// View is a piece of guest memory that a call from outside may use.
type View struct {
	Addr uint32
	Data []byte
}

// Spec returns what the class was made of, but for its Outside.
func (c *Class) Spec() ClassSpec {
	return ClassSpec{Name: c.name, Limits: c.config.Limits, Imports: c.all, Process: c.process}
}

// loadOutside is load for a class whose guests run outside.
func (e *Engine) loadOutside(code []byte, key codeKey, c *Code) (*Code, error) {
	start := e.spec.Clock.Now()
	oc, err := key.class.outside.Load(code, key.class)
	if c.account != nil {
		c.account.Spend(resctl.CPU, int64(e.spec.Clock.Now().Sub(start)))
	}
	if err == nil {
		if err = c.charge(oc.Info().Charge); err != nil {
			oc.Release()
		}
	}
	if err != nil {
		c.refund()
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outside++
	c.entry = &entry{key: key, refs: 1, manifest: oc.Manifest(), outside: oc}
	return c, nil
}

// instantiateOutside is instantiate for such a class.
func (i *Isolate) instantiateOutside(code *Code) (*Instance, error) {
	if i.imports != nil {
		return nil, errs.New(errs.NotSupported, "vm: isolate %s: its imports are not those of the class, which runs outside: run it inside", i.spec.Name)
	}
	info := code.entry.outside.Info()
	in := &Instance{iso: i, code: code, ends: flagExit | flagHalt}
	n := max(info.Instance, instanceOverhead) + info.MemoryMax
	if err := i.take(useLinear, n); err != nil {
		return nil, err
	}
	in.charged = n
	var err error
	if in.outside, err = code.entry.outside.Instantiate(in); err != nil {
		in.repay()
		return nil, err
	}
	in.lives = 1
	i.e.mu.Lock()
	code.entry.refs++
	i.e.mu.Unlock()
	i.mu.Lock()
	i.instances = append(i.instances, in)
	i.mu.Unlock()
	return in, nil
}

// Outside returns the guest behind in, or nil if it runs here.
func (in *Instance) Outside() OutsideInstance { return in.outside }

// Admit makes the checks with which an evaluation begins, for those who evaluate in batches outside. It fails as Evaluate does. A verdict other than
// abi.Drop means that there is nothing to run.
func (in *Instance) Admit(c *Call) (abi.Verdict, error) {
	m := in.code.entry.manifest
	flags := in.iso.flags.Load()
	switch {
	case in.closed || in.running:
		return abi.Error, errs.New(errs.Dead, "vm: isolate %s: the instance is closed or running", in.iso.spec.Name)
	case uint64(len(c.Window)) > uint64(c.In.Length) || len(c.State) > int(m.StateSize):
		return abi.Error, errs.New(errs.Invalid, "vm: window of %d bytes for a length of %d, state of %d bytes, declared are %d",
			len(c.Window), c.In.Length, len(c.State), m.StateSize)
	case flags&in.ends != 0:
		return abi.Error, &Fault{Reason: Killed, Code: in.code.entry.key.id, Class: m.Name, Func: -1, Offset: -1, Err: in.iso.Killed()}
	case flags != 0:
		return abi.Error, errs.New(errs.WouldBlock, "vm: isolate %s is suspended", in.iso.spec.Name)
	case min(len(c.Window), int(m.WindowSize)) < int(m.WindowMin):
		return abi.Error, nil
	}
	return abi.Drop, nil
}

// evaluateOutside is evaluate for an instance outside.
func (in *Instance) evaluateOutside(by payer, c *Call) (abi.Verdict, error) {
	c.Used = 0
	if v, err := in.Admit(c); v != abi.Drop {
		return v, err
	}
	meter, ok := by.(*resctl.Meter)
	if !ok && by != nil {
		return abi.Error, errs.New(errs.NotSupported, "vm: isolate %s: what runs outside is evaluated by those who have a meter only", in.iso.spec.Name)
	}
	in.running = true
	defer func() { in.running = false }()
	return in.outside.Evaluate(meter, c)
}

// ServeHost makes a call that the guest outside asks for: function fn of its class, counted as ClassSpec.Imports has them. stack has at least as many places as
// the function has parameters, and one for the result. Nothing but views is visible to the function. A panic in it is an error.
func (in *Instance) ServeHost(fn int, stack []uint64, views []View) (err error) {
	class := in.code.Class()
	if fn < 0 || fn >= len(class.all) || len(stack) < max(1, class.all[fn].Params) {
		return errs.New(errs.Invalid, "vm: class %s: a call from outside of function %d with %d arguments", class.name, fn, len(stack))
	}
	f := &class.all[fn]
	in.views = views
	defer func() {
		in.views = nil
		if r := recover(); r != nil {
			err = errs.New(errs.Internal, "vm: host function %s.%s: %s", f.Module, f.Name, fmt.Sprint(r))
		}
	}()
	for k := range f.Params {
		stack[k] = uint64(uint32(stack[k]))
	}
	f.Call(in, stack)
	if f.Result {
		stack[0] = uint64(uint32(stack[0]))
	}
	return nil
}

// view is Memory during a call from outside.
func (in *Instance) view(addr, n uint32) ([]byte, bool) {
	for _, v := range in.views {
		if off := uint64(addr) - uint64(v.Addr); addr >= v.Addr && off+uint64(n) <= uint64(len(v.Data)) {
			return v.Data[off : off+uint64(n) : off+uint64(n)], true
		}
	}
	return nil, false
}

// Fresh reports whether every evaluation begins in fresh memory, as IsolateSpec says.
func (i *Isolate) Fresh() bool { return i.spec.Fresh }
