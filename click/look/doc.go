// Package look shows what happens in a running element graph: the way that single packets take ([Trace]), all packets at one
// place ([Capture]), and what their headers say ([Headers]). Package control offers it to `janos trace` and `janos tcpdump`; counters are
// those of click.Probe, which this package is built on.
//
// A Trace or a Capture begins when it is made and costs the graph time from then on; Close ends that. Both hold a bounded number of
// records: who does not fetch them loses the newest, and is told how many.
//
// The trap: packets are told apart by their memory. A packet that an element copies is followed as long as the copy shares the memory of the
// original; what an element makes anew begins a way of its own only if the element has no inputs.
package look
