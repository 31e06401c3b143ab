// Package icmp has the elements for ICMP version 4: errors and echo replies. Importing it registers their classes; each
// element lives as long as its router.
//
// Trap: ICMPError must be asked before a packet is changed. It quotes the packet that is pushed to it.
package icmp
