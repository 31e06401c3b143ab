package clock

import "math/rand/v2"

// Rand is a source of pseudo-random numbers. It is not safe for concurrent use:
// every node, worker or link makes its own with NewRand.
type Rand = rand.Rand

// NewRand returns a generator (PCG) that is determined by seed and stream. Give every
// consumer its own stream number, so that adding one does not disturb the others.
// It must not be used for keys or nonces.
func NewRand(seed, stream uint64) *Rand { return rand.New(rand.NewPCG(seed, stream)) }
