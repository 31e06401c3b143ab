// Package capsulecmd is the commands with which capsules are written and tried: janos capsule new, build, check and run.
// cmd/janos mounts what New returns, and adds those that talk to a node.
//
// Nothing here needs a network, privileges or a running node. Run evaluates capsules with the engine that nodes have,
// on a network of its own (type network) that exists in this process and in which time stands still but for a
// millisecond a hop; what it prints for the same input is always the same, which is what its golden tests rely on.
//
// Traps: run follows the rules of ee/ants for TTL, credit and outputs, but has no accounts, queues or code loading. A
// capture given to run is input from a stranger like any other.
package capsulecmd
