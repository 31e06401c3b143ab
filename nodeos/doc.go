// Package nodeos is the interface between execution environments and the machine: domains,
// workers, channels, events. It follows the NodeOS interface of the active-network
// working group (IEEE JSAC 19(3), 2001) with the dispatcher of this project beneath.
//
// A [Node] has workers and a tree of domains. A [Domain] is the unit of accounting and of
// termination: whatever runs, waits or holds packets does so for one domain, and when
// the domain ends all of it is taken back. A [Worker] is a goroutine locked to a thread that
// runs Runnables to completion, chooses among domains by hierarchical stride over the account tree
// (package resctl), and has the only timer heap and the only poll set there are.
//
//	link -> rx task -> demux -> in-channel -> task of a domain -> out-channel -> link
//	                        \-> cut-through channel -----------------------------^
//
// The life of a domain: [Domain.NewDomain] makes it (active); [Domain.Terminate], by itself,
// an ancestor or the node, makes it terminating: nothing of it starts to run any more, its
// descendants end first, every worker passes a quiescent point, frames are swept, hooks run, the account is
// closed; then it is dead and its parent is told, once.
//
// What else the NodeOS has: a bound on runs (DomainSpec.MaxRun), memory that several domains share ([MemPool]), credentials that a
// [Policy] checks at each call that creates or modifies ([Cred]), memory by the block and by the page ([Heap], [Region]), integers that stand for
// objects ([Descriptor]). docs/nodeos.md maps its terms to ours.
//
// Kinds of calls. Methods that say "on its worker" belong to the goroutine of the worker, and the
// packet path consists of those only: they never wait and never allocate. All other methods are
// for the control side, may take locks and are safe for concurrent use.
//
// The traps: a Runnable must return within its budget, for a goroutine cannot be killed, so nothing
// untrusted runs as plain Go; and code on a worker must not wait for a Go channel or a contended
// mutex, since the worker's thread is locked and a switch costs tens of microseconds.
//
// With NodeSpec.Stepped there are no goroutines: the caller drives the node with [Node.Step] under
// a clock of its own, which is how the simulator runs many nodes in one process.
package nodeos
