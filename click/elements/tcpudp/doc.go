// Package tcpudp has the elements for TCP and UDP over IPv4: checks and checksums. Importing it registers their classes; each
// element lives as long as its router. Packets come with a marked network header, which CheckIPHeader and MarkIPHeader do.
//
// Trap: a checksum covers the whole segment or datagram. Fragments, and packets that have been cut short, can be neither checked nor given one.
package tcpudp
