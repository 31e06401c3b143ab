// Package vm runs code that came from the network: WebAssembly in isolates, metered and contained.
//
// Who calls it: execution environments (ee/ants and others) and, later, graph elements. The package knows
// no packets and no networks; addresses in the ABI are numbers to it, and what a guest may call is
// given by the caller.
//
// The objects and their lives:
//
//   - An [Engine] is one per node: the interpreter, the compiler, the cache of code, and the processors of processes. [NewEngine], [Engine.Close].
//   - A [Class] is a kind of guest code: limits, and the host functions it may import. [Engine.NewClass];
//     it lives as long as its engine.
//   - A [Code] is a module that came through the gate (package vm/gate), shared by all who loaded the
//     same bytes in the same class. [Engine.Load], [Code.Release].
//   - An [Isolate] is a place where guests of one principal run: an account, limits, a table of handles, and a life with
//     states and events ([State], [Cause], [Event]). [Engine.NewIsolate] or, inside another, [Isolate.NewChild]; [Isolate.Close], or Exit, Halt and Kill.
//   - An [Instance] is a Code with memory in an isolate, for the caller to evaluate. [Isolate.Instantiate], [Instance.Close], or with its isolate.
//   - A process is a guest with a goroutine of its own, at most one in an isolate. [Isolate.Start]; it ends its isolate when it ends.
//   - A [Link] carries messages of bytes and handles, between processes by rendezvous or a queue, and to a [Handler]. A [Segment] is bytes
//     that several isolates share; a [Service] is an instance that other isolates may visit.
//
// The way of an evaluation ([Instance.Evaluate]): the budget is taken from the caller's meter; the block and
// the window (package sdk/abi) are filled in the guest's memory; the guest runs; what it
// asks for is checked and returned; what it did not use goes back to the meter. Nothing is allocated unless it faults. A
// fault is a [*Fault]: it says why and where, leaves no outputs, and the next evaluation begins
// in fresh memory. The way of a process is described in process.go.
//
// Both engines run the same metered module, so results, fuel and faults are the same on both. In
// [ModeAuto] code of handlers starts in the interpreter and moves to the compiler, between two
// evaluations, with memory and globals, once one background goroutine has compiled it. Code of processes is compiled by Load.
//
// Ending: to be told to end sets a flag. Whoever is inside sees it when a kernel call ends or a quantum of fuel, and leaves; a kernel call that waits
// is woken. The last to leave gives everything back: children first, then instances, handles, links and the account. A
// kernel call that was entered completes.
//
// Traps to know. One goroutine may be inside an instance at a time; the package sees to that for processes and services, the caller for
// instances. A guest in compiled code cannot be pre-empted, and a garbage collection waits for it: budgets and quanta are the
// bound, so keep them small. Slices in a [Call] after an evaluation are views
// of guest memory and end with the next one. [Engine.Load] may take a third of a second for hostile
// modules when it compiles, some milliseconds otherwise: call it off the packet path. Processes run in real time: under a virtual clock use handlers.
package vm
