// Package packet is the link driver for Linux interfaces by AF_PACKET sockets.
//
// A link owns a receive ring mapped from the kernel, a socket to send by, a socket filter and a small program at the
// interface's tc ingress. The interface stays the host's: its addresses, routes and stack work on, and
// share the traffic with the node by the rules of the node's channels.
//
// # Claims
//
// A packet socket is a tap: the host's stack sees what it sees. So that a packet goes to its channel or to the host, and never to both
// or neither, one program decides. It is the socket filter, made of the rules by [demux.Tables]. It runs first;
// what no rule claims is not even copied to the ring. It leaves its verdict in a per-CPU cell, and the program at tc ingress, which
// the kernel runs next for the same packet on the same CPU, takes the verdict from the cell, resets it, and drops
// the packet for the host if it is claimed. A key more or less, of a shape with more than a few keys, is one update of a map that the filter looks at; other changes
// replace the filter. Each packet is judged by the old rules or by the new ones, at both places.
//
// The verdict is written for each packet by a living socket only. When the process dies, even by kill -9, the socket is gone, nobody writes
// verdicts, and the ingress program lets everything pass; it does so also where its attachment outlives the process
// (clsact filters do, tcx links do not). [Sweep] removes such remains, and opening a link does it
// for its interface. Programs that others attached are never touched.
//
// # Rates
//
// The filter holds channels to their rates: a packet that comes too fast is dropped before it is copied, and counted as Limited in the channel's statistics. A
// super-frame counts as many packets as the kernel says it stands for. What a channel may hold (its quota) is checked by the node, behind the ring, which the channels of a link have in
// common: one that is flooded within its rate, or without one, takes the ring's room from its neighbours. Driver xdp checks that too. A node's cells (see nodeos.Cells) take 2 MiB.
//
// # Offloads
//
// Frames from programs on the same machine have unfinished checksums, and may be super-frames of up to 64 KiB that a network card
// would cut up. The ring asks for the kernel's description of both (PACKET_VNET_HDR); the driver completes checksums
// and does the cutting, so that channels see what a wire would carry. A rule is judged by the kernel on the super-frame, and
// by the node on each frame cut from it: keys beyond the transport header should not be used with TCP.
// VLAN tags that were taken out are put back.
//
// # Latency
//
// By default the ring has a slot per frame (TPACKET_V2) and wakes the worker at once. With latency=normal it is a ring in blocks (TPACKET_V3), which costs least per
// packet, but hands frames over only when a block is full or at the next tick of a timer of a millisecond, the kernel's least. Measured on a veth pair (Linux 6.18, 2
// virtual CPUs under load, medians): through a node and back 1,000 us with blocks and 14 us with slots; generating, forwarding and counting a frame of 64 bytes on one
// processor 2,130 ns with blocks and 2,190 with slots, all of the difference in what wakes the worker.
// Smaller blocks would not help: a block must hold a super-frame of 64 KiB, and the timer waits for the block, not for its size.
//
// A block is closed with whatever it holds, so frames that come one at a time take one each: a ring has at least as many blocks as it
// has frames, up to 64 (8 MiB), which is how many milliseconds the worker may be late before such frames are lost. Slots hold LinkSpec.Ring frames however they come.
//
// # Several workers
//
// With LinkSpec.Workers each of these workers has a ring and a socket to send by. The kernel gives all frames of a flow, in both of its
// directions, to one ring (PACKET_FANOUT_HASH over addresses, protocol and ports; fragments by addresses), so a flow's order is
// kept; what is not IP goes to the first worker. All rings have the same filter. While rules are replaced, one ring
// may have the new ones before another has; still each packet is judged once, for the node and the host alike.
//
// # Options
//
//	latency   low (default) or normal
//	promisc   true: take frames for other hardware addresses too
//	bypass    true: send past the interface's queueing discipline
//	claims    strict: fail when the host cannot be kept from claimed packets;
//	          auto (default): work without, and say so in the link's notes
//
// A link needs CAP_NET_RAW, and CAP_BPF and CAP_NET_ADMIN for claims; elsewhere than Linux it is errs.NotSupported.
package packet
