package bench

import "encoding/binary"

// yardstick does n times what every program that handles packets does at least: it copies a 64-byte array into a ring of 1,024, sets
// its first byte, and sums its first ten big-endian words. The time of one is the unit in which figures of different
// machines can be compared.
func yardstick(n int) uint32 {
	var from [64]byte
	for i := range from {
		from[i] = byte(i)
	}
	ring := new([1024][64]byte)
	sum := uint32(0)
	for i := range n {
		p := &ring[i&1023]
		*p = from
		p[0] = byte(i)
		for k := 0; k < 20; k += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[k:]))
		}
	}
	return sum
}
