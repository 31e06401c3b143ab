// Package nodeosabi lets guests use the NodeOS: it is what the Java NodeOS was to Janos. A guest that was given a domain and some ports makes
// channels, domains and isolates, sends and receives packets, and so can be an execution environment, though nobody trusts it.
//
// Who calls it: package node, for domains of a node file whose execution environment is a guest, and programs that host guests without a node (package udphost).
//
// The objects and their lives:
//
//   - A [Binding] joins an engine of package vm with these calls: module janos_nodeos of sdk/abi/calls.yaml. [New]; it lives as long as the engine.
//   - A [Domain] is what guests are given to use: [OnNode] makes one of a nodeos.Domain, package udphost has its own.
//   - A [Port] says which channels a guest may open.
//   - A [Guest] is a process in a domain, begun with handles of its domain and its ports: [Binding.Start]. It ends by itself, with its domain, or by Kill.
//
// What a guest makes belongs to the domain that it names, which pays for it before it is made; it ends with that domain, and with the isolate that made it. Isolates that a guest
// makes are inside its own and end with it.
//
// The way of a packet to a process: the host's task (on the worker, in the domain's turn) copies it from its frame to a slot of the channel's [Queue]; receive copies it
// to the guest's window, on the goroutine of the process. Out it goes the other way. The side of the host takes no lock and waits for nobody. For a handler
// (isolate_serve) the task evaluates it at once, from the frame.
//
// Traps: a channel holds as many packets in its queue as its quota says, and as many frames besides. Guests go by the clock of the engine: give nodes the same.
package nodeosabi
