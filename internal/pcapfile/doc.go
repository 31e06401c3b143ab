// Package pcapfile reads capture files in the formats pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng). The
// capsule tools and the driver channels/pcap use it. What the packets contain is for others to decode.
//
// A [Reader] is made on a file and asked for packets until io.EOF. It needs no closing; the file is the caller's.
//
// It does not believe the lengths that a file states: a reader holds one buffer of [MaxPacket] bytes and up to 4096 descriptions of
// interfaces, whatever the file says. gopacket's readers allocate what they are told and divide by what they read, so only
// its writers are used.
package pcapfile
