// Package packet is the memory of packets: frames, the views on them that are called
// packets, and batches.
//
// A frame is a fixed piece of one region that the node maps at start; a table by frame number holds
// how many packets share it, who is charged for it and where it is. A [Packet] is a
// view of a frame: head, length, header offsets, annotations. [Cache.Clone]
// makes another view of the same frame; writing to a frame that is shared requires [Cache.Unshare],
// which copies. The packets are one array too, so after [NewPool] nothing is allocated.
//
//	frame  |<-- headroom -->|<------ data ------>|<-- tailroom -->|
//	       0              head                tail             FrameSize
//
// The rules that everybody follows:
//
//   - One owner at a time. Passing a *Packet or a *Batch to a function that says it takes them
//     ends the caller's right to touch them. Dropping is [Cache.Free], an explicit act.
//   - Frames belong to the pool; an [Owner] (a domain) is charged for each frame it has, once, however
//     many packets view it. The charge begins with [Cache.Alloc] or [Cache.Charge] and is refused
//     before the act. No reference crosses owners: [Cache.Charge] copies a shared frame.
//   - Every worker has a [Cache]; all its methods belong to that worker's goroutine. A frame
//     freed by another worker goes home in batches.
//   - A domain that dies leaves its packets wherever they are; [Pool.Sweep] finds them in the
//     table. It may run only when no worker can still touch them (package nodeos waits for that). What a link
//     keeps until it is sent is marked [Sending], and left to the link.
package packet
