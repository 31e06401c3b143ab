package xdp

// Rank is the driver's place in the order of degradation: the first to be tried.
const Rank = 10
