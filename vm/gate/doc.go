// Package gate stands between bytes from the network and a WebAssembly engine.
//
// [Check] takes the bytes of a module that nobody vouches for and either refuses them with an [*Error],
// which says where, which limit and what to do, or returns a [Module]: a canonical
// re-encoding of the same program with metering written into it. Engines are fed from
// Module.Wasm only; no byte of the original reaches them.
//
// The way through the gate:
//
//  1. decode (reader.go, module.go): every count is compared with the bytes that remain
//     before anything is allocated, so that memory is bounded by the size of the input
//  2. limits (limits.go): whatever made an engine slow or large has a number
//  3. validate (validate.go): the type rules of the WebAssembly specification, in full, because
//     the rewriting relies on them; what is measured here is the cost of each region, the
//     operand stack, and who calls whom (callgraph.go)
//  4. rewrite (rewrite.go): fuel, call depth and bulk lengths are charged and checked before
//     the act, in globals that have no index a guest could have written
//
// What is accepted: WebAssembly 1.0 with sign extension, mutable globals, bulk memory, saturating
// conversions and multiple values. Vectors, threads, exceptions, tail calls and reference types are refused
// by name, together with the compiler flag that avoids them.
//
// Metering by region: backward branches go to loop heads only, so everything outside inner loops
// runs at most once per entry of its region. The cost of a region (the dearer arm of each if) is
// charged at its head, before any of it runs. The charge is an upper bound, and the same on every
// engine; budgets are therefore part of what a program means. The price list is in cost.go, and [Version] changes with
// it.
//
// Check holds no state, and may be called from any goroutine. The trap to know: a Module is shared by
// everything that runs it and must not be written to.
package gate
