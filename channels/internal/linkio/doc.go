// Package linkio has what link drivers have in common: the counters of a link, what a link is asked for and how it notes
// tags; and, on Linux, the outbox with which drivers of sockets send many packets in one system call. The drivers own these things
// as parts of their links, with the links' life and rules.
package linkio
