// Package wire is the cable of a laboratory network: it carries frames between two interfaces and gives every direction a delay, a
// loss, a rate and a queue, because the kernels that laboratories run on often have no netem.
//
// What happens to a frame is decided by package linkmodel; this package moves the frames. [Config] and [Stats] describe the links
// of a wire in any form; on Linux [Wire] is the real thing: a loop in one thread that moves frames between pairs of
// packet sockets. `janos lab wire` runs it as a process of its own in a network namespace of its own ([Main]), controlled over its
// standard input.
//
// Life of a wire: a [Config] is read, sockets are opened, "ready" is written, frames are carried until standard input ends.
// Traps: a wire carries whole frames, so offloads have to be off at the ends (package lab does that); loss and delay apply to
// everything, ARP included; a frame that arrives when the interface at the other end is down is counted as undelivered.
package wire
