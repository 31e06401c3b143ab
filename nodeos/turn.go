//go:build race || !amd64

package nodeos

// turn gives the slot to whoever is at seq; turn_unsafe.go says more.
func (s *slot) turn(seq uint64) { s.seq.Store(seq) }
