// Package click runs element graphs: small packet-processing elements, connected as a text in
// the Click language says.
//
// Who calls it: a node's control side makes routers of configurations, cmd/click is a front end
// for one of them, execution environments register elements of their own and appear
// in graphs beside the standard ones (packages click/elements/...).
//
// The life of a router. [Parse] turns text into an inert [GraphSpec]. [New] looks the classes up,
// configures all elements, counts and checks the ports, decides which connections push and which pull,
// initializes the elements and starts it on a worker of its domain; every error of a phase is
// reported before New gives up. Then the router is one nodeos Runnable that runs Click's
// ticket scheduler over its tasks within the budget it is given, and sleeps when no task
// has work. [Router.Close], or the end of the domain, stops it and frees what its
// elements hold.
//
// Elements handle batches. Push gives a batch's packets away and gets the batch back empty; Pull fills
// a batch that the caller brings. A run of the graph allocates nothing: batches
// for intermediate use come from the thread's stack ([Thread.Scratch]), since graphs may have circles and
// an element may be entered again before it has returned.
//
// A router may have several threads, one for each of several workers ([Env].Threads). An element is run by one of them, which is decided
// before it starts (threads.go); handlers, replacements and the control side stop all of them meanwhile (gate.go).
//
// Traps. Everything in an element runs on its thread's worker, except Configure and Initialize, which run before
// it starts; so elements need no locks, and nobody else may touch them. Handlers are called
// through [Router.Read] and [Router.Write], which go to the first worker; elements use ReadHandler and WriteHandler, code that runs
// there already ReadHere and WriteHere. Elements of a class that allows it may get more packets at once than their source's burst ([Merging]). A packet that an element does not pass on must be
// freed and counted. Packets may share frames: an element that writes calls Unshare first.
package click
