// Package mem is the link driver for Ethernets inside one process.
//
// A [Net] holds named segments. A link is one end of a segment: what it sends arrives, in order, at every other
// end. The ends may be on one node or on different ones, on any worker, under real or virtual clocks. Frames are copied
// from the sender's packet memory into the receiver's queue and from there into the receiver's packet memory, so no frame is
// shared between nodes. Nothing is random and nothing waits: nodes that are stepped in a fixed order
// see the same frames in the same order each time.
//
// Laboratory networks in one process, the simulator and tests use it. A link is opened as driver "mem" with the segment's name
// as device (empty: the link's name), in the process's own net [Default]; a caller who wants a net of its own makes one with [NewNet],
// opens ends with [Net.Open] and adds them with nodeos.Node.AddLink. A segment exists while it has ends.
//
// Options: mac, addr (prefixes), mtu, promisc.
//
// Traps: a full queue drops, which the receiver counts in RxDrops as a network card would. Frames to another end's hardware
// address are dropped on arrival unless promisc is set, as a card's filter does.
package mem
