// Package demux decides which channel a packet belongs to.
//
// A channel names the packets it wants by a protocol string ([Protocol], such as eth0/ether/ip/udp), by
// an address of the string's topmost protocol ([Address], such as 10.0.0.1:5000) and by a key ([Key]), a set of
// (offset, value, mask) tuples over the payload of the topmost protocol. The three together with a
// number are a [Rule]. [Compile] makes a [Program] of all rules of one link.
//
// A program walks a packet's headers once, following header lengths (IP options, IPv6 extension headers,
// up to two VLAN tags), and then looks from the innermost header that some rule names outwards. Keys with
// the same mask shape share a hash table, so the cost grows with the number of shapes, not of rules.
//
// When several rules match, the one with the longest protocol string gets the packet, then the one with the
// most bits in address and key, then the older one (lower Age, and among equals lower ID). A packet goes to one rule only.
//
// Package nodeos makes a program of the one before whenever the channels of a link change ([Program.With], [Program.Without]) and swaps it in; the old
// one stays usable by whoever still reads it, for a program never changes. Drivers that share an interface with the
// host have the kernel decide by the same rules: [Tables] keep the keys in maps and write the program that asks them, for XDP, tc and sockets.
//
// What a lookup costs: every mask shape of the chains of layers that a packet has asks a small bit filter, and the first table whose filter says yes is looked up. In Go eight shapes of
// 512 keys cost about 1.6 times one key (tens of nanoseconds more), in the kernel about 40 ns more than one key, which costs 7. A key more costs a copy of its group in Go and a
// map update in the kernel; while a shape has few keys, the kernel gets another program instead.
//
// Traps:
//   - A fragment other than the first has no transport header. It matches rules that end at IP and
//     whose key is empty, and rules below; never udp or tcp.
//   - A packet whose length fields are larger than what arrived matches only rules below the header that lies.
//   - [Program.Match] pulls a matched packet to the payload and cuts link padding off its end. The headers
//     stay in the headroom and are found by their offsets; a packet without a match is not touched.
//   - On a link whose base is UDP a packet begins at the UDP payload and the socket fixes the local
//     address, so rules there must leave it empty.
//
// The package also has what the way out needs: [PushEther], [PushIPv4], [PushIPv6], [PushUDP] and the Internet checksum.
package demux
