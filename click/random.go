package click

import "github.com/janos-os/janos/clock"

// additive is the generator behind random(3) of the GNU C library in its default size: an additive feedback of 31 words, filled by a
// congruential generator (Park and Miller's). Click draws from it on Linux, so that a configuration with RandomSeed makes the same choices here.
type additive struct {
	state [31]uint32
	at    int // of the oldest word
}

// newAdditive returns a generator that yields what random yields after srandom(seed).
func newAdditive(seed uint32) *additive {
	a := &additive{at: 3}
	word := int32(max(seed, 1)) // the library treats 0 as 1
	for i := range a.state {
		a.state[i] = uint32(word)
		next := 16807 * int64(word) % 0x7fffffff
		if next < 0 {
			next += 0x7fffffff
		}
		word = int32(next)
	}
	for range 310 {
		a.draw()
	}
	return a
}

// draw returns the next number below 1<<31.
func (a *additive) draw() uint32 {
	v := a.state[a.at] + a.state[(a.at+28)%31]
	a.state[a.at] = v
	a.at = (a.at + 1) % 31
	return v >> 1
}

// RandomBelow returns a random number from 0 to n-1, for n from 1 to 1<<31. After RandomSeed these are the numbers that Click draws. On the element's thread.
func (e *Base) RandomBelow(n uint32) uint32 {
	t := e.thread
	if t.seeded == nil {
		return t.rand.Uint32N(n)
	}
	part := uint32(1<<31) / n
	for {
		if v := t.seeded.draw() / part; v < n {
			return v
		}
	}
}

// Rand returns the source of random numbers of the element's thread. On that thread or in Initialize.
func (e *Base) Rand() *clock.Rand { return e.thread.rand }

// Reseed makes the random numbers start again from a seed, and those of further threads from the numbers after it. In Configure, or on the router's first thread.
func (r *Router) Reseed(seed uint64) {
	r.thread.alone(false, func() {
		for i, t := range r.threads {
			*t.rand = *clock.NewRand(seed+uint64(i), 0)
			t.seeded = newAdditive(uint32(seed) + uint32(i))
		}
	})
}
