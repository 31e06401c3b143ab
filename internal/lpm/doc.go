// Package lpm has a table of prefixes, IPv4 and IPv6, that finds the longest one which contains an address. The routing elements of
// package click and the routes and neighbours of package channels/host stand on it.
//
// One goroutine at a time changes a [Table]; lookups take no lock, allocate nothing, and may run on any number of workers meanwhile.
// Each change becomes visible at once: a lookup finds the table as it was before the change or as it is after it. A change
// costs about a microsecond, whatever the number of prefixes; memory is about 100 bytes for each.
//
// The table is a tree with one byte of the address for each level, and levels in which nothing branches left out. A node knows the
// prefixes that end in its byte (lengths 8d+1 to 8d+8 at depth d) and answers from a list with one entry for every run of byte values that
// have the same answer. It is replaced whole when it changes, so that readers need no lock:
//
//	root -- byte 0 --> node --+-- byte 1 --> node ...
//	                          +-- byte 1 --> node at depth 3 (bytes 1 and 2 are part of its path)
package lpm
