// Package linkmodel says what one direction of a link does to frames: how long it takes to send them, how many may wait, which
// are lost and when the others arrive. It is the one model of links of the project, because two of them would differ.
//
// An [Impairment] is the description. A [Lane] decides for every frame, from the time and its own random numbers alone, whether
// and when it arrives; it touches no frame and no clock. So the same lane serves the Click element Link, the wire between
// network namespaces (package lab/wire) and the wires of a network in one process (package lab/nodes). They keep the frames that
// are under way themselves, those of the laboratory in a [Fifo].
//
// Life of a lane: NewLane, Offer for every frame, Set when the link changes, Reset when it went down and lost everything.
// Traps: a lane is not safe for concurrent use, and neither is the source of random numbers it was given; a lost frame has taken
// its time on the line, since it was lost behind it.
package linkmodel
