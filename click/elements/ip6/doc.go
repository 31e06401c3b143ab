// Package ip6 has the elements for IPv6: checks, forwarding, lookup, encapsulation, errors. Importing it registers their classes; each
// element lives as long as its router. Neighbour discovery is in package ethernet.
//
// The elements of a path expect a packet whose network header is marked, which CheckIP6Header and MarkIP6Header do. The destination annotation
// is the one that elements for IPv4 use; it holds an address of either version.
//
// Trap: the annotations of a packet are not its header. Lookups use the destination annotation, which CheckIP6Header and
// GetIP6Address set and a route's gateway replaces.
package ip6
