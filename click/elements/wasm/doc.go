// Package wasm has the element that runs other people's code in a graph: Wasm(FILE, ...) is a WebAssembly module with inputs and outputs, metered and
// contained by package vm. Importing it registers the class.
//
// Who calls it: routers, through the registry. A daemon gives its graphs the engine that it has, as an [Env] under the name [Key] in click.Env.Values;
// without one, elements share an engine for each node, which ends with the last of them.
//
// The way of a batch: its fuel is taken from the domain's meter, the module runs once for each packet, what it did not use goes back, and only then
// do the packets leave, sorted by output, since a graph may come back to the element. What a fault costs: the packet, and the module's memory, which is
// made anew and configured again; and the element itself, if faults come too often. What the module may do is written in docs/abi-elements.md.
//
// Trap: a module's memory is its state. It is lost by a fault, and by a replacement of the graph unless KEEP is set.
package wasm
