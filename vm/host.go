package vm

import (
	"context"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero/api"
)

// HostFunc is a function that guests may import. Its parameters are i32, but for those of Wide, and its result is i32.
//
// Call runs on the goroutine of the evaluation, inside it. stack holds the arguments, each i32 truncated to 32
// bits, and takes the result in its first place, which is truncated too. It must check every
// argument (see Instance.Memory), must not block, must not keep stack or views of memory, must not call the
// instance or its isolate other than by the methods that say so, and reports errors as numbers of its ABI.
// It always completes: a kill takes effect when it returns.
type HostFunc struct {
	Module, Name string
	Params       int
	Wide         uint32 // bit k: parameter k is an i64
	Result       bool
	Fuel         uint32 // price, charged before the call
	Call         func(in *Instance, stack []uint64)
	Spans        []Span // what it uses of the guest's memory; for classes that run outside

	index  int // in Class.all
	params []api.ValueType
	fn     api.GoModuleFunc
}

// ClassSpec says what guests of a class may be.
type ClassSpec struct {
	Name    string
	Limits  gate.Limits // zero: gate.HandlerLimits(), ElementLimits() or CarrierLimits()
	Imports []HostFunc
	// Process makes it a class of processes, for Isolate.Start: they export ExportRun, and perhaps ExportExiting, and need no records. Otherwise it
	// is one of handlers: guests that export evaluate and the records of the ABI.
	Process bool
	// Begin, of a class of processes, names the function that they export instead of ExportRun: without parameters and results, its exit code is 0.
	Begin string
	// Element makes it a class of graph elements, for Isolate.NewElement: guests that export evaluate and the records of package sdk/abi/elem.
	Element bool
	// Outside runs the guests; nil: the engine does.
	Outside Outside
	Sampler *Sampler // of handlers; nil: nobody looks
}

// Class is a kind of guest code. It is immutable and safe for concurrent use.
type Class struct {
	e         *Engine
	name      string
	process   bool
	element   bool
	outside   Outside
	config    gate.Config
	functions map[string][]HostFunc // by module
	all       []HostFunc
	sampler   *Sampler
}

// Name returns the name.
func (c *Class) Name() string { return c.name }

// Gate returns what the gate accepts in the class; it is the caller's.
func (c *Class) Gate() *gate.Config {
	g := c.config
	return &g
}

// NewClass makes a class.
func (e *Engine) NewClass(spec ClassSpec) (*Class, error) {
	c := &Class{e: e, name: spec.Name, outside: spec.Outside, config: gate.Config{Limits: spec.Limits, Exports: handlerExports, HostMemory: true}}
	if spec.Process {
		c.process = true
		c.config.Resume, c.config.Exports, c.config.Optional, c.config.CallStart = true, processExports, processOptional, true
		if spec.Begin != "" {
			c.config.Exports = []gate.Export{{Name: spec.Begin}}
		}
	}
	if spec.Element {
		if spec.Process {
			return nil, errs.New(errs.Invalid, "vm: class %s: of processes, or of elements", spec.Name)
		}
		c.element, c.config.Optional = true, elementOptional
	}
	if !spec.Process {
		c.config.Enter = abi.ExportEvaluate
	}
	if spec.Limits == (gate.Limits{}) {
		switch {
		case spec.Process:
			c.config.Limits = gate.CarrierLimits()
		case spec.Element:
			c.config.Limits = gate.ElementLimits()
		default:
			c.config.Limits = gate.HandlerLimits()
		}
	}
	if s := c.config.Limits.Stack; s == 0 || s > gate.HandlerLimits().Stack {
		return nil, errs.New(errs.Invalid, "vm: class %s: %d slots of stack, want 1 to %d, which the interpreter can nest", spec.Name, s, gate.HandlerLimits().Stack)
	}
	if c.config.Limits.Start && !spec.Process {
		return nil, errs.New(errs.Invalid, "vm: class %s: start functions are run in processes only", spec.Name)
	}
	if spec.Outside != nil && (spec.Process || spec.Element) {
		return nil, errs.New(errs.NotSupported, "vm: class %s: processes and elements run inside only", spec.Name)
	}
	if s := spec.Sampler; s != nil {
		if s.Every == 0 || s.Look == nil || spec.Process || spec.Element || spec.Outside != nil {
			return nil, errs.New(errs.Invalid, "vm: class %s: a sampler is of handlers that run inside, looks every 1 unit or more, and has a function", spec.Name)
		}
		c.sampler = s
		sampled(&c.config)
	}
	c.functions = map[string][]HostFunc{}
	seen := map[[2]string]bool{}
	for _, f := range spec.Imports {
		if f.Call == nil || f.Module == "" || f.Module == gate.OutModule || f.Params < 0 || f.Params > 16 || seen[[2]string{f.Module, f.Name}] {
			return nil, errs.New(errs.Invalid, "vm: class %s: host function %q.%q is declared twice or incompletely", spec.Name, f.Module, f.Name)
		}
		for _, s := range f.Spans {
			if s.Addr < 0 || s.Addr >= f.Params || s.Len < 0 || s.Len >= f.Params || s.Max > MaxSpan {
				return nil, errs.New(errs.Invalid, "vm: class %s: host function %q.%q: a span of arguments that it does not have, or of more than %d bytes",
					spec.Name, f.Module, f.Name, MaxSpan)
			}
		}
		seen[[2]string{f.Module, f.Name}] = true
		imp := gate.Import{Module: f.Module, Name: f.Name, Fuel: f.Fuel}
		for k := range f.Params {
			wasm, ours := api.ValueTypeI32, gate.I32
			if f.Wide>>k&1 == 1 {
				wasm, ours = api.ValueTypeI64, gate.I64
			}
			f.params = append(f.params, wasm)
			imp.Sig.Params = append(imp.Sig.Params, ours)
		}
		if f.Result {
			imp.Sig.Results = []gate.Type{gate.I32}
		}
		f.index = len(c.all)
		f.fn = shim(f)
		c.all = append(c.all, f)
		c.config.Imports = append(c.config.Imports, imp)
		c.functions[f.Module] = append(c.functions[f.Module], f)
	}
	return c, nil
}

// callContext is how a host function finds its instance: it is the context of every call into the guest. It is never cancelled.
type callContext struct {
	context.Context
	in *Instance
}

// Value implements context.Context; there are none.
func (c *callContext) Value(any) any { return nil }

// shim is the border between guest and kernel, the red line: arguments are cut to their width, the
// call completes whatever happens, and a kill that came meanwhile takes effect afterwards.
func shim(f HostFunc) api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		in := ctx.(*callContext).in
		for i := range f.Params {
			if f.Wide>>i&1 == 0 {
				stack[i] = uint64(uint32(stack[i]))
			}
		}
		if in.tape != nil {
			in.tape.before(&f, stack)
		}
		if in.binds == nil {
			f.Call(in, stack)
		} else {
			in.binds[f.index].call(in, stack)
		}
		if f.Result {
			stack[0] = uint64(uint32(stack[0]))
		}
		if in.tape != nil {
			in.tape.after(in, &f, stack)
		}
		if in.iso.flags.Load() != 0 {
			in.attend()
		}
	}
}

// Under these names metered code imports leave.
const (
	meterModule = gate.OutModule
	meterOut    = gate.OutName
)

// leave is called by metered code that is out of fuel or stack. It returns only to a process that got more fuel.
func leave(ctx context.Context, _ api.Module, stack []uint64) {
	in := ctx.(*callContext).in
	outOfStack, at := gate.Place(uint32(stack[0]))
	switch {
	case outOfStack:
		in.exit.why = exitStack
	case in.proc != nil:
		if in.exit.why = in.proc.grant(); in.exit.why == exitNone {
			return
		}
	case in.sampler != nil && in.look(at):
		return
	default:
		in.exit.why = exitFuel
	}
	in.exit.offset = at
	panic(&in.exit)
}

// exit is the value with which host functions leave a guest. Every instance has one, so
// that leaving needs no memory of ours.
type exit struct {
	why    exitReason
	offset int
}

type exitReason uint8

const (
	exitNone exitReason = iota
	exitFuel
	exitStack
	exitKilled
)

// Error implements error.
func (e *exit) Error() string { return "left by the host" }
