// Package host knows what the host's kernel knows about the interfaces that a node shares with it: their state and addresses, routes and
// neighbours, IPv4 and IPv6. It follows all of it by rtnetlink, so that FRR, BIRD, NetworkManager and "ip" work on a router as they do without us
// and the data plane moves with them. Elements of package click (LinuxIPLookup, HostNeighbor), the daemon, and cut-through channels
// (type [Cut]) use it.
//
// [Follow] makes a [Table] from the network namespace of the calling thread: it subscribes, then dumps, and returns when the
// table is complete. From then on a goroutine of its own applies each change as the kernel announces it. Where announcements
// were lost (the socket's buffer overflowed), and after events of which the kernel says only a part (an interface that goes down
// takes its IPv4 routes along in silence), everything is dumped again beside the running announcements and compared; nothing is
// emptied meanwhile. Close ends it. [New] makes a table that nobody follows for, which the caller fills: simulated nodes, tests.
//
// Lookups ([Table.Lookup], [Route.Next], [Table.Neighbor]) may be made on any worker; they take no lock and allocate nothing.
//
// What is followed of the kernel's rules: the tables local and main, or one other instead (that of a VRF). Policy rules
// are not evaluated: Status counts them. Of routes for one prefix the lowest metric wins, as in the kernel; routes with a
// type of service are ignored and counted. Of several next hops one is chosen by a hash of the flow, in proportion to the weights, among
// those whose interface is up. Next-hop objects and their groups are resolved. Encapsulation (MPLS, SRv6) is not: such next
// hops are ignored and counted.
//
// Traps: entering many routes at once (a BGP session that starts) is applied as fast as the kernel announces it, about 10 us for each
// route; a change behind a hundred thousand others waits for them. The kernel sees no traffic of ours, so neighbours
// age: whoever uses a Neighbor's address says so by [Neighbor.Use], and the table makes the kernel confirm it again.
package host
