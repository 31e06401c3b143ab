// Package ip has the elements for IPv4: checks, forwarding, lookup, filters, fragments, encapsulation.
// Importing it registers their classes. The elements of a path expect a packet whose network header is marked, which
// CheckIPHeader and MarkIPHeader do, and which begins with that header where they change its length.
//
// Trap: the annotations of a packet are not its header. Lookups use the destination annotation, which
// CheckIPHeader sets and a route's gateway replaces.
package ip
