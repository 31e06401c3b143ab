// Package ants is the ANTS execution environment: capsules, small packets that name the code which forwards
// them, run at every node on their way; a node that does not know the code asks the node before it.
//
// A [Protocol] is a set of code groups, a [Group] a set of capsule classes that are loaded together, a [Class] a
// WebAssembly module of the guest ABI (package sdk/abi). All are named by fingerprints of their code, so names are checked and not
// trusted. The formats on the wire are in docs/wire-ants.md, and in the files anep.go, capsule.go and message.go.
//
// An [EE] is one per node, made by [New] in a domain of its own; node assembly and the element ANTS call it.
// Packets come in by [EE.Input] and leave by a [Port] for each link; [EE.Bind] joins both to channels where there is no
// element graph. [EE.Register] makes a protocol known, [EE.Attach] gives capsules to an application, [EE.Send] and
// [EE.Inject] send them, [EE.Probe] measures. [EE.Stats], [EE.Kills] and the [EventSink] say what happened.
//
// Every protocol has a domain (package nodeos) below the EE's, with an account, a bounded queue, an isolate
// (package vm) and soft state. The domain is made before the first byte of unknown code is asked for, and pays for the
// loading. It ends when the load fails, when it has made too many faults (Limits.Strikes: 32 within 10 s; enough for a
// protocol with a rare defect to live on, and few enough that an attack by faults ends in milliseconds), when nobody uses it, or
// when somebody terminates it; then everything it held goes back, and for a time its methods are refused without a domain.
//
// What a capsule may cause is bounded by its TTL along a path and by its credit in all: an evaluation costs one unit of credit, copies
// share the rest, and a capsule that brings none is given as much as its TTL would let one copy use.
//
// All of an EE runs on its domain's home worker. Traps: methods with a *nodeos.Worker parameter are for that
// worker, all others must not be called from a worker. A capsule that is delivered ends; a class that wants to go on as
// well lists outputs. Capsules of other protocols share nothing, not even time: each has its own turn.
package ants
