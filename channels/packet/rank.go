package packet

// Rank is the driver's place in the order of degradation: behind AF_XDP, which has 10, and before UDP.
const Rank = 20
