// Package demo is the project's main job as one command: it builds a laboratory network, starts a node in
// every host and router, and shows that capsules, ordinary traffic, failures and attacks go together. `janos demo` runs
// it, continuous integration too.
//
// [Run] goes through its phases in order (network, ping, multicast, trace and failure, traffic, attack, accounts, end), prints a
// report for people, and writes a [Report] for programs. Every count of capsules that the report states is checked twice: against the counters of
// the node at the other end of the link, and, where the network is quiet enough that every packet is one of the nodes', against the kernel's
// interface counters, which a process reads that shares nothing with the nodes. A mismatch is a failure like any other.
//
// The phases that count run while nothing but the nodes sends; those with ordinary traffic come later and are checked one-sidedly
// (the kernel has carried at least what the nodes say they sent).
package demo
