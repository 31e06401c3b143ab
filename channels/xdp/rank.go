package xdp

// Rank is the driver's place in the order of degradation: it is only used where it is named.
const Rank = 0
