//go:build !race && amd64

package nodeos

import "unsafe"

// turn gives the slot to whoever is at seq. What the caller has written to the slot before is seen before, for this processor shows its stores in their
// order. What the caller reads afterwards may be read before the store is seen, other than with an atomic store, which waits for that: 8 ns
// for each packet. So the last slot of a batch needs an atomic store where somebody is asked next whether he must be woken.
func (s *slot) turn(seq uint64) { *(*uint64)(unsafe.Pointer(&s.seq)) = seq }
