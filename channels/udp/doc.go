// Package udp is the link driver for overlays: a UDP socket is a link to all who can be reached by UDP. It needs no
// privileges.
//
// The base layer is UDP: a packet is the payload of one datagram. On reception Anno.Src and Anno.SrcPort are the sender; Anno.Dst stays
// empty, so that a packet which is sent on is not sent to its receiver again. To send, Anno.Dst and Anno.DstPort say where to (an out-channel
// fills them in); the source is the socket's own address.
//
// A link is opened as driver "udp" with the local address as device, such as 10.0.0.1:3322, [::]:3322 (which also carries IPv4) or 127.0.0.1:0
// (any free port, see [Link.Local]). Up to 256 datagrams, in up to 64 messages, travel with a system call. Of such a batch, datagrams of one length to
// one address pass the kernel as one (UDP_SEGMENT); a shorter one may end a run. The kernel joins what comes from one sender likewise
// (UDP_GRO), and the link takes it apart. Datagrams to one address stay in order; those to different ones may overtake each other. What the kernel
// refuses of this is in the link's notes, and the link works without. The host's stack has the address, so claims
// do nothing: what no channel wants is dropped by the node.
//
// # Bundles
//
// Datagrams of different lengths cannot be joined to a run, and each costs what the kernel takes for a datagram. With bundles=true a
// datagram carries as many packets to one address as come together in a turn and fit, and bundles that another one follows are filled up
// to the MTU if they are at least half full, so that they form runs: to eight neighbours in turn, with packets of 64 to 1,400 bytes in turn, that takes
// a quarter of the time, and up to twice the bytes on the wire where packets are just longer than half a bundle. Both ends must have the
// option: nothing is negotiated, for whoever does not know bundles must not get any, not even a question. Such a link takes nothing
// else, and drops and counts what is not a bundle. A lost datagram is several lost packets. The format, all numbers big-endian:
//
//	0      'J' 'B'         for bundle
//	2      1               version
//	3      0               reserved
//	4      length, 2 bytes of the packet that follows, 0 to 65501
//	6      packet
//	       length, packet  and so on; at least one
//	       filler          one byte, or ffff and what comes behind; ignored, sent as zero
//
// A length that goes beyond the end makes the whole datagram invalid. A link's MTU is 6 bytes less with bundles.
//
// # Options
//
//	mtu       the most bytes of a datagram (default 1472, an Ethernet's less IP and UDP headers)
//	gso, gro  true (default) or false: whether to ask for the joining of sent and received datagrams
//	bundles   true or false (default): several packets in one datagram
//
// Traps: a link that joins has 2 MiB of buffers, of which the host gives memory only for what is used. A run that the socket has no room for
// may count as one drop.
package udp
