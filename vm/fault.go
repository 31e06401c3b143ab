package vm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Reason says why an evaluation ended without a verdict. The numbers are stable.
type Reason uint8

// The reasons.
const (
	OutOfFuel    Reason = 1  // the budget was used up
	OutOfStack   Reason = 2  // calls nested too deeply
	OutOfMemory  Reason = 3  // it trapped after memory.grow was refused, by an account, a limit or its own declared maximum
	Unreachable  Reason = 4  // trap: unreachable, which is what abort and failed assertions compile to
	Bounds       Reason = 5  // trap: memory access out of bounds
	Divide       Reason = 6  // trap: division by zero or overflow
	Conversion   Reason = 7  // trap: conversion of a float that does not fit
	IndirectCall Reason = 8  // trap: call through the table of nothing or of another type
	BadOutput    Reason = 9  // it returned an unknown verdict, or an out field is out of its bounds
	Killed       Reason = 10 // the isolate was killed, or told to exit
	HostError    Reason = 11 // a host function broke its contract
)

var reasonNames = [...]string{OutOfFuel: "out of fuel", OutOfStack: "call depth exceeded", OutOfMemory: "out of memory", Unreachable: "unreachable executed",
	Bounds: "memory access out of bounds", Divide: "integer division by zero or overflow", Conversion: "invalid float conversion",
	IndirectCall: "bad indirect call", BadOutput: "bad output", Killed: "killed", HostError: "host function failed"}

// String returns the reason in words.
func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Kind returns the error kind of the reason.
func (r Reason) Kind() errs.Kind {
	switch r {
	case OutOfFuel:
		return errs.OutOfFuel
	case OutOfStack:
		return errs.Depth
	case OutOfMemory:
		return errs.Limit
	case BadOutput:
		return errs.Invalid
	case Killed:
		return errs.Dead
	case HostError:
		return errs.Internal
	}
	return errs.Trap
}

// Fault is the error of an evaluation that ended without a verdict. Nothing of what the guest wrote
// is visible, and its next evaluation begins in fresh memory.
type Fault struct {
	Reason Reason
	Code   CodeID
	Class  string // class name from the manifest
	Fuel   uint64 // what the evaluation used
	Func   int    // function index in the original module, -1 if unknown
	Offset int    // byte offset in the original module, -1 if unknown
	Err    error  // what is known beyond the reason, or nil
}

// Error implements error.
func (f *Fault) Error() string {
	s := fmt.Sprintf("class %s (code %v): %v", f.Class, f.Code, f.Reason)
	if f.Func >= 0 {
		s += fmt.Sprintf(" in function %d", f.Func)
	}
	if f.Offset >= 0 {
		s += fmt.Sprintf(" at module offset %#x", f.Offset)
	}
	s += fmt.Sprintf(" after %d units of fuel", f.Fuel)
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (f *Fault) Unwrap() error { return f.Err }

// Is makes a Fault match the kind of its reason.
func (f *Fault) Is(target error) bool {
	k, ok := target.(errs.Kind)
	return ok && k == f.Reason.Kind()
}

// As lets errs.KindOf find the kind.
func (f *Fault) As(target any) bool {
	k, ok := target.(*errs.Kind)
	if ok {
		*k = f.Reason.Kind()
	}
	return ok
}

// fault classifies the error of a call into the guest.
func (in *Instance) fault(err error, used uint64) *Fault {
	ent := in.code.entry
	f := &Fault{Code: ent.key.id, Class: ent.manifest.Name, Fuel: used, Func: -1, Offset: -1}
	if in.exit.why != exitNone {
		f.Offset = in.exit.offset
		switch in.exit.why {
		case exitFuel:
			f.Reason = OutOfFuel
		case exitStack:
			f.Reason = OutOfStack
		case exitKilled:
			f.Reason, f.Offset, f.Err = Killed, -1, in.iso.Killed()
		}
		if i, ok := ent.mod.FuncAt(f.Offset); ok {
			f.Func = i
		}
		return f
	}
	// wazero has one error value for each trap, which is not exported: its text is what it is known by.
	cause := errors.Unwrap(err)
	if cause == nil {
		f.Reason, f.Err = HostError, err
		return f
	}
	switch cause.Error() {
	case "unreachable":
		f.Reason = Unreachable
	case "out of bounds memory access":
		f.Reason = Bounds
	case "integer divide by zero", "integer overflow":
		f.Reason = Divide
	case "invalid conversion to integer":
		f.Reason = Conversion
	case "invalid table access", "indirect call type mismatch":
		f.Reason = IndirectCall
	default:
		f.Reason, f.Err = HostError, cause
	}
	if in.refused && f.Reason != HostError {
		f.Reason = OutOfMemory
	}
	f.Func = tracedFunc(err.Error(), ent.mod.FuncIndex)
	return f
}

// tracedFunc reads the function index from the first line of wazero's trace, which is
// ".$index(types)" or, for an exported function, ".name(types)".
func tracedFunc(text string, original func(int) int) int {
	_, trace, ok := strings.Cut(text, "wasm stack trace:\n\t")
	if !ok {
		return -1
	}
	_, num, ok := strings.Cut(trace, "$")
	if nl := strings.IndexByte(trace, '\n'); !ok || nl >= 0 && nl < strings.IndexByte(trace, '$') {
		return -1
	}
	n, digits := 0, 0
	for ; digits < len(num) && digits < 6 && num[digits] >= '0' && num[digits] <= '9'; digits++ {
		n = n*10 + int(num[digits]-'0')
	}
	if digits == 0 {
		return -1
	}
	return original(n)
}
