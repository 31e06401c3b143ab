package udp

// Rank is the driver's place in the order of degradation: the last.
const Rank = 30

// DefaultMTU is the largest payload of a datagram over IPv4 on an Ethernet.
const DefaultMTU = 1472
