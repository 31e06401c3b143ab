package decide

import "unsafe"

// together is how many packets walk side by side, and apart is how few go on one by one.
const (
	together = 32
	apart    = 3
)

// crowd is packets that walk side by side: at each step the outcomes of all of them are counted, and the crowd divides only if they
// differ. Neither has the processor to guess outcomes, nor does a load wait for the one before.
type crowd struct {
	at  [numBases][together]unsafe.Pointer
	who [together]uint8 // groups are ranges of it
	to  [together]uint8 // where packets are in the caller's results
	n   int
}

// part is packets of a crowd that are at the same step.
type part struct {
	step   int32
	lo, hi uint8
}

// add takes in a packet of which all bytes that any step looks at are within its frame: for every base, Program.need bytes from its place on, which is
// not below zero if a step looks there, as no offset of a step is. That is what makes the loads safe.
func (c *crowd) add(frame []byte, data, mac, network, transport, result int) {
	start, n := unsafe.Pointer(unsafe.SliceData(frame)), c.n&(together-1)
	c.at[Data][n] = unsafe.Add(start, data)
	c.at[MAC][n] = unsafe.Add(start, max(mac, 0))
	c.at[Network][n] = unsafe.Add(start, max(network, 0))
	c.at[Transport][n] = unsafe.Add(start, max(transport, 0))
	c.who[n], c.to[n] = uint8(n), uint8(result)
	c.n++
}

// walkAll finds the results for all of c, and leaves it empty.
func (p *Program) walkAll(c *crowd, results []uint16) {
	var later [together]part
	parts := 0
	here := part{p.start, 0, uint8(c.n)}
	for {
		who := c.who[here.lo:here.hi]
		i := here.step
		for i >= 0 && len(who) > apart {
			s := &p.steps[i]
			var yes int
			if len(who) == c.n {
				yes = s.countAll(c.at[s.base&3][:c.n])
			} else {
				yes = s.count(&c.at[s.base&3], who)
			}
			switch yes {
			case 0:
				i = s.no
				continue
			case len(who):
				i = s.yes
				continue
			}
			s.divide(&c.at[s.base&3], who)
			// The smaller part waits, so that never many do.
			a, b := part{s.yes, here.lo, here.lo + uint8(yes)}, part{s.no, here.lo + uint8(yes), here.hi}
			if yes < len(who)-yes {
				a, b = b, a
			}
			later[parts&(together-1)] = b
			parts++
			here, i = a, a.step
			who = c.who[here.lo:here.hi]
		}
		for _, k := range who {
			r := i
			if r >= 0 {
				r = p.walk(c, int(k), r)
			}
			results[c.to[k&(together-1)]] = uint16(^r)
		}
		if parts == 0 {
			break
		}
		parts--
		here = later[parts&(together-1)]
	}
	c.n = 0
}

// count returns for how many packets a test holds.
//
//go:noinline
func (s *step) count(at *[together]unsafe.Pointer, who []uint8) (n int) {
	mask, value, off := s.mask, s.value, int(s.off)
	for _, k := range who {
		n += bit(*(*uint32)(unsafe.Add(at[k&(together-1)], off))&mask == value)
	}
	return n
}

// countAll is count for a whole crowd.
//
//go:noinline
func (s *step) countAll(at []unsafe.Pointer) (n int) {
	mask, value, off := s.mask, s.value, int(s.off)
	for _, d := range at {
		n += bit(*(*uint32)(unsafe.Add(d, off))&mask == value)
	}
	return n
}

// divide puts those for which a test holds before the others.
//
//go:noinline
func (s *step) divide(at *[together]unsafe.Pointer, who []uint8) {
	var no [together]uint8
	mask, value, off := s.mask, s.value, int(s.off)
	yes := 0
	for n, k := range who {
		is := bit(*(*uint32)(unsafe.Add(at[k&(together-1)], off))&mask == value)
		no[(n-yes)&(together-1)] = k
		who[yes] = k
		yes += is
	}
	copy(who[yes:], no[:])
}

// bit is 1 for true, without a jump.
func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// walk takes packet k from step i to its end, which is below zero.
func (p *Program) walk(c *crowd, k int, i int32) int32 {
	k &= together - 1
	for i >= 0 {
		s := &p.steps[i]
		if *(*uint32)(unsafe.Add(c.at[s.base&3][k], s.off))&s.mask == s.value {
			i = s.yes
		} else {
			i = s.no
		}
	}
	return i
}

// matchAll finds the results for all of c.
func (t *table) matchAll(c *crowd, results []uint16) {
	for k := range c.n {
		best := len(t.then) - 1
		for i := range t.shapes {
			s := &t.shapes[i]
			if s.first >= best {
				break
			}
			best = min(best, s.rule(c, k))
		}
		if t.rest != nil {
			best = min(best, int(^t.rest.walk(c, k, t.rest.start)))
		}
		results[c.to[k&(together-1)]] = t.then[best]
	}
	c.n = 0
}

// rule returns the first rule of a shape for packet k, or a large number.
func (s *shape) rule(c *crowd, k int) int {
	var values [maxWords]uint32
	h := uint64(0)
	k &= together - 1
	for i, w := range s.words {
		v := *(*uint32)(unsafe.Add(c.at[w.base&3][k], w.off)) & w.mask
		values[i&(maxWords-1)] = v
		h = mix(h, v)
	}
	n := len(s.words)
	for at := s.at(h); ; {
		e := s.slots[at : at+1+n]
		same := uint32(0)
		for i, v := range e[1:] {
			same |= v ^ values[i&(maxWords-1)]
		}
		if e[0] == 0 {
			return maxNodes
		}
		if same == 0 {
			return int(e[0]) - 1
		}
		if at += len(e); at == len(s.slots) {
			at = 0
		}
	}
}
