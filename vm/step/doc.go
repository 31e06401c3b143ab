// Package step runs guest code one instruction at a time, to be looked at: a third engine, beside the two of package vm, that is slow and shows everything.
//
// The debugger calls it (janos capsule debug). [New] makes a [Machine] of a [gate.Program], [Machine.Enter] begins a call, and [Machine.Step] executes one
// instruction, until the call ends, traps, or runs out of fuel or stack. Between two steps everything can be read and nothing is
// hidden: frames, operands, locals, globals, memory, fuel.
//
// It runs the module as its author wrote it, not the metered one, and charges after docs/metering.md. So it is also the test of that page: it uses the
// fuel that the engines use, to the unit, on the specification's suite and on random programs (vm/gate).
//
// The traps to know: a Machine belongs to one goroutine. A NaN's bits may differ from those that an engine computes, as the specification allows.
package step
