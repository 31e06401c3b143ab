// Package rewrite has the elements that translate addresses and ports (NAT, RFC 3022): the rewriters for TCP and UDP, for addresses, for pings
// and for ICMP errors, the mappers and shared patterns that they take orders from, and the helper for FTP. Importing it registers
// their classes.
//
// A rewriter holds flows. A flow is a pair of mappings, one for each direction, and is found by what a packet of either direction says about itself
// (addresses, ports, protocol). A packet that belongs to no flow is for the INPUTSPEC of its input to decide, which usually makes a new flow;
// from then on the table decides. Flows end when they have not been used for a time that depends on their protocol and state, when a
// newer flow needs their place in a full table, or by a handler.
//
// The life of a rewriter: Configure reads the input specifications, Initialize finds the set of flows that it shares a capacity with, Inherit takes
// the whole table of its predecessor at a hot swap.
//
// Traps. Packets must have their network header marked. A packet of a known flow leaves by the output that the flow was made with,
// whatever input it came in by. Second and later fragments have no ports: reassemble before a rewriter that needs them.
package rewrite
