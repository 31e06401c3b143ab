// Package traffic is ordinary traffic for laboratory networks: what the hosts' own stacks exchange beside
// the capsules, measured at both ends. Package lab runs each kind as a process in a node's namespace
// (`janos lab traffic ...`), so that nothing but the kernel's stack and the network is between the ends.
//
// There are four kinds: ICMP echo, a UDP stream with numbered datagrams, a TCP transfer whose contents both ends hash, and a
// session, a TCP connection that says a line and waits for the echo, as somebody typing would. A server
// prints "ready" when it listens, and every kind prints one JSON object when it ends.
//
// All of them end by themselves: counts and times are bounded by their options, and a context ends them
// early with what they have.
package traffic
