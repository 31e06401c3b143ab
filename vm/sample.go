package vm

import "github.com/janos-os/janos/vm/gate"

// Sampler looks at the handlers of a class while they run, for profiles. Budgets and results are what they are without; the code has the form of
// that of processes, which may go on after a charge that could not be met, and is some per cent slower.
type Sampler struct {
	Every uint64 // units of fuel from one look to the next, over all evaluations of an instance; at least 1
	// Look runs inside the evaluation, on its goroutine; offset is the place in the original module whose charge was due: the head of a
	// function's body or of a loop. It must not call the instance.
	Look func(in *Instance, offset int)
}

// sampling is what an instance has of its class's sampler.
type sampling struct {
	sampler *Sampler // nil: there is none
	hidden  uint64   // of the budget, what the guest does not have yet
	carry   uint64   // until the next look
}

// portion takes the part of a budget that the guest begins with.
func (s *sampling) portion(budget uint64) uint64 {
	if s.carry == 0 {
		s.carry = s.sampler.Every
	}
	n := min(s.carry, budget)
	s.hidden = budget - n
	s.carry -= n
	return n
}

// look is called when the portion is used up, and reports whether the guest may go on.
func (in *Instance) look(offset int) bool {
	debt := uint64(max(0, -int64(in.fuel.Get())))
	n := max(in.sampler.Every, debt)
	if n > in.hidden {
		if n = in.hidden; n < debt {
			return false
		}
	}
	in.hidden -= n
	in.carry = 0
	in.fuel.Set(n - debt)
	in.sampler.Look(in, offset)
	return true
}

// rest is what is left of a budget when left is left of the last portion.
func (s *sampling) rest(left uint64) uint64 {
	n := left + s.hidden
	s.carry += left
	s.hidden = 0
	return n
}

// sampled makes the code of a class one that can be looked at.
func sampled(c *gate.Config) { c.Resume = true }
