// Package pcap is the link driver for capture files: what a file has arrives at the link, and what the link sends is recorded. It
// needs no privileges and runs everywhere, also on stepped nodes, where the same files give the same run.
//
// A link is opened as driver "pcap", always by that name. Options:
//
//	in      a capture to read, in the formats pcap or pcapng, of Ethernet frames; "-" is the standard input, on Linux
//	out     a file to write, replaced if it is there, in the format pcapng if its name ends in .pcapng and in pcap otherwise, with nanoseconds
//	speed   asfast (default): a frame follows the other; real: as far apart as their times say
//	delay   from the first channel on the link to the first frame (default 100ms)
//	mac     own hardware address: frames to others' are left out. Without it the link has one that is made of its name, and
//	        takes all frames as its own
//	addr    own addresses with prefix lengths
//	mtu     (default 1500)
//
// At least one of in and out is needed. Reading begins when a channel claims something on the link, so that nothing is read for nobody;
// delay is for further channels to be opened. Anno.Time of a frame is the time of the first one's arrival plus what lies between them in the
// capture, whatever the speed; a frame that is earlier than the first is taken as of its time. When the file ends, or is malformed, the
// link stays open and says so in its notes.
//
// The standard input may be a pipe, as in "tcpdump -w - | janos node run FILE". A goroutine reads it, at most 256 frames ahead of the link, so
// that the worker never waits; the writer does when channels are slower. Its errors are in the notes, since nothing is read before Open returns. One link of a process can have it, and
// none on a stepped node.
//
// Traps: with speed=asfast a channel can get more than it has room for, which it counts as dropped; the link itself waits for packet
// memory and loses nothing. Frames that a capture has cut arrive as they are in the file. Frames that are longer than a packet, shorter
// than an Ethernet header or of another link layer count in RxDrops. Files are read and written by the worker, which waits for the disk where the
// host has not read ahead; other than regular files are refused by name.
package pcap
