// Package clock is how time and randomness enter the project: as values that are
// passed to constructors, never as calls to the time or math/rand packages.
//
// Three clocks exist. [Real] reads the machine's monotonic clock, [Warped] the same at another speed. [Virtual] stands
// still until somebody advances it; a node (or a thousand of them) that is
// driven by one Virtual clock and one seed behaves the same way twice, to the byte.
//
// A [Time] is nanoseconds since an origin that the clock chooses. It is a
// number, so that packets can carry it and schedulers can compare it without
// allocation. Only [Clock.Wall] says what the calendar says.
//
// Timers are not here: a timer belongs to a worker (package nodeos), which has the one
// timer heap. The trap to know: never read a clock per packet; a worker reads it
// once per turn and hands the value down.
package clock
