// Package socket has the elements that reach other programs and the host's own stack: sockets for UDP, TCP, UNIX and raw IP, multicast, and the
// host's virtual interfaces. Importing it registers their classes, on Linux; each element lives as long as its router, its descriptors may go
// on with an element of the same name after a hot swap.
//
// Sockets belong to the host: elements open them only where click.Env.Host says that the graph speaks for the process.
//
// Trap: a worker cannot wait. What a socket does not take at once is held, up to 256 packets; what comes on top is dropped and counted. Where
// a worker has no poll set, as under simulated time, sockets are looked at every ten milliseconds of that time.
package socket
