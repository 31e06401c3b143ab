// Package ethernet has the elements for Ethernet and ARP. Importing it registers their classes; each element lives as long as
// its router.
//
// Trap: ARPQuerier holds packets while it waits for an answer. It is bounded, and what it drops is counted by cause.
package ethernet
