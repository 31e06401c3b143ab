// Package routing finds the neighbours of a node and the routes to all others. It is what makes the nodes of a
// network, and not its operator, notice that a router has died.
//
// A [Router] is a small link-state protocol that runs in a domain of its own, on that domain's home worker, with
// nothing but in-channels, out-channels, timers and one task of package nodeos. On each of its links it
// broadcasts a hello; two nodes that hear each other and say so are adjacent. Each node floods what it is adjacent
// to and which IP prefixes are attached to it, and each computes the shortest paths over what it has
// heard. The result is a [Table]: it never changes, is swapped whole, and is read on the packet path without a lock and
// without allocation. Execution environments look next hops up in it, [Router.Subscribe] tells them of a new one, and
// the sink in package kroute copies its prefixes into the kernel, so that ordinary IP takes the same ways.
//
// # Messages
//
// Messages are UDP datagrams to port [Port], sent to the link's broadcast address (255.255.255.255, or ff02::1 where the
// link has no IPv4 address) so that no address has to be resolved first, with a hop limit of 255: what arrives with less has
// crossed a router and is dropped (RFC 5082). On links whose frames begin at UDP they go to the configured peers. They
// have a magic number in front, which is the in-channel's key, so that capsules and hellos can share a socket there. No message is longer than
// [MaxMessage], which fits the smallest MTU that a link may have. There are three:
//
//	hello    who I am, my addresses here, whom I hear, and a digest of my database
//	update   pieces of the database ([LSA]), each with sequence number and remaining lifetime
//	summary  names and sequence numbers of all pieces in a range
//
// Nothing is acknowledged. Where two digests differ and stay different, both sides send summaries and then what the
// other lacks; that repairs every loss, and it is also how a new neighbour gets the whole database.
//
// # Bounds
//
// Neighbours of a link, fragments of a node, pieces of the database and the work per second are bounded; see the
// constants and [Spec]. Messages are not authenticated: whoever may put frames on a link
// can lie about the network, as with ARP. It cannot make a node use more than the bounds.
//
// # Traps
//
// Two nodes with one address fight for it: each sees the other's pieces under its own name. Both report it as an event.
// Metrics must be at least 1, or paths could loop. A host (Spec.Host) is reached, but nothing is routed through it.
package routing
