// Package node makes a whole node from a node file: links, element graph, execution
// environments, routing, accounts. It is what `janos node run` runs and what package lab
// puts into every namespace, or many of into one process.
//
// A [Spec] is inert: [Load] reads it from YAML and reports every error with its place, [Spec.Check] checks
// one that a program filled in. [Start] makes a live [Node] of it, in this order: workers, links, the
// EE with its domains, routing, the graph that joins them, local protocols. [Node.Close] undoes it in
// reverse and leaves nothing behind.
//
// A running node takes another Spec with [Node.Reload], which leaves alone what both have and goes back when a part cannot be had. [Node.Try]
// and [Node.ReloadFor] put a change on trial: it is undone unless [Node.Confirm] comes in time. One lock (Node.change) makes these, the reopening of links whose
// interface comes back, and Close wait for each other; it is held while system calls are made, so no worker may wait for it. What others
// read meanwhile ([Node.Spec], [Node.Graph], [Node.LinkStates]) is under a second one, held for moments.
//
// The data plane is a configuration in Click's language. Where the file has none, [Spec.GraphText]
// generates it from the links and EEs; it can be printed, edited and given back as `graph:`.
//
// Events of all layers are gathered in an [EventLog], one JSON object a line, stamped with the node's clock.
package node
