// Package kroute copies the routes that package routing computes into the kernel's table, so that ordinary IP packets, which
// the kernel forwards, take the same ways as capsules and move with them when a router dies. The daemon opens one Sink for a
// node that shares its interfaces with the host.
//
// A [Sink] has a goroutine of its own, off the workers. It is told of new tables by routing's Watch, always acts on the
// latest, and skips those between. A prefix whose way changes is replaced in one step: there is no moment without a
// route. Changes of interfaces make it look again, because the kernel silently drops the IPv4 routes of an
// interface that goes down.
//
// The routes are marked with a protocol number of our own ([DefaultProtocol]; "ip route show proto 167"), by which Open finds
// and removes what a run that was killed left behind, and by which everybody else's routes are told apart: they are
// never changed. Where one of the same prefix and metric exists, ours is not installed, and Status says so.
//
// Traps: two sinks in one namespace need two protocol numbers, or each removes the other's routes. Prefixes attached
// to the node itself are left to the kernel. Forwarding (net.ipv4.ip_forward) is switched on by whoever sets up the host.
// The package is for Linux.
package kroute
