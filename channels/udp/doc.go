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
// Datagrams of different lengths cannot be joined to a run, and each costs what the kernel takes for a datagram. So two ends that both know bundles
// put as many packets to one address as come together in a turn and fit into one datagram, where packets are of different lengths or cannot form
// runs; bundles that another one follows are filled up to the MTU if they are at least half full, so that they form runs: to eight neighbours in turn, with packets
// of 64 to 1,400 bytes in turn, that takes a quarter of the time, and up to twice the bytes on the wire where packets are just longer than half a bundle. A lost datagram is
// several lost packets. What is too long for a bundle is a datagram. The format, all numbers big-endian:
//
//	0      'J' 'B'         for bundle
//	2      2               version
//	3      0               kind
//	4      key, 8 bytes    that of the receiver
//	12     length, 2 bytes of the packet that follows, 0 to 65493
//	14     packet
//	       length, packet  and so on; at least one packet, at most 128
//	       filler          one byte, or ffff and what comes behind; ignored, sent as zero
//
// A datagram whose lengths go beyond its end is a packet, as are all that are of no kind by their first bytes and their length.
//
// Nobody gets bundles who has not said that he takes them. A link that would use them sends a question, 20 bytes, and packets alone until there is an answer, 20 bytes too:
//
//	0      'J' 'B' 2 1     or 2 2 for the answer
//	4      question        8 bytes, other ones each time
//	12     0               or the key of who answers, 8 bytes
//
// An answer is believed if it comes from where the question went to. A link asks an address once a second, three times, and then every 30 s, as long as there are packets
// for which bundles would help; every 10 s where it is agreed, and without an answer for 35 s it is not any more. The key is a secret of the receiver's socket: what
// begins like a bundle is not taken for one unless its sender has been answered. A bundle with another key is dropped and counted, and its sender told, which makes him ask
// anew at once; so does a receiver that was started again, with another key:
//
//	0      'J' 'B' 2 3
//	4      key             8 bytes, of the bundle that was dropped
//
// A link says at most 100 of these in 100 ms, never more bytes than it was told, and remembers some thousand addresses. To other programs questions are
// datagrams like any: bundles=false keeps a link from sending them, and from taking any datagram for something else than a packet.
//
// With bundles=true, at both ends, all is bundles and nothing is asked. These have version 1 and no key: the first length is at 4. Such a
// link takes nothing else, and drops and counts what is not a bundle. Its MTU is 6 bytes less.
//
// # Options
//
//	mtu       the most bytes of a datagram (default 1472, an Ethernet's less IP and UDP headers)
//	gso, gro  true (default) or false: whether to ask for the joining of sent and received datagrams
//	bundles   auto (default): with who agrees; true: always, at both ends; false: never
//
// Traps: a link that joins has 2 MiB of buffers, of which the host gives memory only for what is used. A run that the socket has no room for
// may count as one drop.
package udp
