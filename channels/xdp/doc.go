// Package xdp is the link driver for Linux interfaces by AF_XDP sockets and an XDP program. The program decides in the kernel whose each
// packet is; the kernel writes the node's packets straight into the node's packet memory.
//
// A link owns one AF_XDP socket for each receive queue of the interface, one for each worker that sends, and a program at its XDP hook. All sockets of a node share one
// registration of its packet memory. With LinkSpec.Workers the queues are divided among these workers, so that there have to be as many; the kernel
// gives a flow to one queue. A worker without a port of the link sends by another's. The life of a [Link]: [Open] attaches the program and binds the sockets, Claim gives the program its
// rules, Attach lends the kernel frames and lets packets in, Detach closes the sockets and takes the frames back, Close removes the program.
//
// # Claims
//
// The program is generated from the rules of the node's channels by [demux.Tables]; no compiler is needed. A claimed packet is redirected to
// the socket of its queue and goes nowhere else; every other packet is passed to the host's stack, which works on as before. A key more or less of a
// mask shape that is there already is an update of a map. New shapes make a new program, which takes the place of the old one by one update of
// a program array: each packet is judged by the old rules or by the new ones.
//
// The program is attached by a BPF link, which ends with the process: after kill -9 nothing is left. An interface that has somebody else's
// XDP program already is refused with errs.Exists, and the program is left alone.
//
// # Early drop
//
// AF_XDP and the kernel's receive path starve the worker under overload if packets are copied first and dropped then. So what would not be accepted is dropped in
// the program, before it costs more. The program knows the channel of each packet and looks at the channel's cell (see nodeos.Cells), memory that all links of
// a node share with its workers:
//
//   - Packets that come faster than the channel's rate are dropped and counted as Limited in the channel's statistics.
//   - A channel has as much credit as its quota: packets on their way to it and in its queue. What would exceed it is dropped and
//     counted as Full. A channel that is flooded, or whose task does not run, costs its neighbours nothing.
//   - Each queue has a credit as well, the link's ring, so that no ring overflows: the program counts what it redirects, the worker publishes once a batch
//     what it has taken. These drops are in the link's RxDrops.
//
// The cells of a node take 2 MiB.
//
// # Cut-through channels
//
// A link is a nodeos.Cutter: what a cut-through channel takes is rewritten by the program and redirected to the interface of another link of the node, by a
// devmap, and does not come to user space. The instructions are the same for all channels. What one of them does is in an element of an array, its head; changing where
// a channel leads writes another head and stores its number in the channel's cell, so that each packet leaves by one head. Frames of which nothing is changed take a shorter way, for
// which that word of the cell is enough. Old heads are written again
// after the kernel has waited for programs that may be reading them. Counters are those of each processor, a bit rate is a token bucket whose
// clock is read only when it is empty. The tests compare the bytes with those of user space.
//
// # Modes
//
// Native XDP runs in the interface's driver; generic XDP, for drivers without it, later and dearer. By default the first that works is used, and a
// link's notes say when it is generic. Packets are copied between the interface's memory and the node's, unless zero copy is asked for: then
// the interface reads and writes the node's frames. Few drivers can; virtual Ethernets (veth) cannot, and zero copy is untested here.
//
// # Options
//
//	mode      auto (default), native or generic
//	queues    all (default), or numbers and ranges such as 0,2-3: claimed packets of other queues go to the host
//	zerocopy  false (default), auto or true
//	wakeup    true (default): the kernel says when it must be called; false for drivers whose need_wakeup is broken
//	promisc   true: take frames for other hardware addresses too
//
// # Traps
//
//   - VLAN tags that the interface takes out of frames are invisible to XDP and are lost to claimed packets. An interface that does so and has
//     VLANs is refused; where tags come without VLAN interfaces, turn it off (ethtool -K eth0 rxvlan off; on a virtual Ethernet
//     txvlan off at the other end).
//   - Sending passes by the interface's queueing discipline, and packet sockets (tcpdump) do not see claimed packets.
//   - A native program makes a virtual Ethernet's other end send without segmentation offload. Under generic XDP super-frames
//     arrive whole: those that are claimed do not fit a frame and are dropped and counted.
//   - The kernel accepts no program with frames beyond a page (MTU of about 3,400), and a frame of the node must hold
//     the MTU behind 256 bytes of headroom: 1,770 bytes with frames of 2,048.
//   - A native program's frames get to an interface only if its driver takes them: a virtual Ethernet does while its other end has a program
//     or merges packets (ethtool -K DEVICE gro on). Linux 6.3 says whether it does, and a channel stays in user space if not; before, and when that
//     changes later, the frames vanish and are counted nowhere.
//   - Frames that cut-through channels send wait in no queueing discipline, and what the interface has no room for is dropped by the kernel and is
//     in the interface's own counters at best.
//   - On virtual Ethernets and under generic XDP, packets from programs on the same machine may have unfinished checksums. A cut-through channel in the kernel
//     leaves those to user space.
//   - Attaching a native program makes some network cards restart, which takes their link down for a second or two.
//   - An interface with more receive queues than when it was opened passes the claimed packets of the new ones to the host; the link's Err
//     says so.
//
// A link needs CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, CAP_IPC_LOCK where the limit on locked memory is less than the node's packet
// memory, and Linux 5.12; elsewhere it is errs.NotSupported.
package xdp
