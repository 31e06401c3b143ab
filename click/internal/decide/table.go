package decide

import (
	"cmp"
	"math/bits"
	"slices"
)

// A long list of rules is not walked: most rules are some words that have to have some values, and many look at the same words. The rules that are, or of
// which every alternative is, such a conjunction of tests go into hashes, one for each set of words and masks that occurs (a shape). Each
// yields the first rule that the packet's words are for, and the least of those found is the one. What cannot be said by conjunctions is
// compiled to a program of its own, whose result is a rule too.

// table is such a list of rules.
type table struct {
	shapes []shape
	rest   *Program // its results are numbers of rules; nil if there is nothing that is not in a shape
	then   []uint16 // the results of rules, and of none behind them
	bounds
}

// shape is the conjunctions that look at the same words.
type shape struct {
	words []word
	first int // the least rule that is here
	bits  uint8
	slots []uint32 // each is one plus the number of a rule, or zero, and the values of its words
}

// word is what a conjunction looks at, as the machine loads it.
type word struct {
	off  int32
	base Base
	mask uint32
}

const (
	// tableNodes is how many tests a program has at least that is worth a table, and tableShare how many rules a shape must have on the average.
	tableNodes = 64
	tableShare = 4
	// maxAlternatives is how many conjunctions a rule may have.
	maxAlternatives = 32
	// maxWords is how many words a conjunction may look at, a power of two.
	maxWords = 16
)

// conjunctions returns the alternatives that a condition consists of; ok is false if it is no such thing, or there are too many.
func conjunctions(e Expr) (all [][]Test, ok bool) {
	switch e := e.(type) {
	case Test:
		return [][]Test{{e}}, true
	case Const:
		if e {
			return [][]Test{nil}, true
		}
		return nil, true
	case Or:
		for _, x := range e {
			some, ok := conjunctions(x)
			if !ok || len(all)+len(some) > maxAlternatives {
				return nil, false
			}
			all = append(all, some...)
		}
		return all, true
	case And:
		all = [][]Test{nil}
		for _, x := range e {
			some, ok := conjunctions(x)
			if !ok || len(all)*len(some) > maxAlternatives {
				return nil, false
			}
			var next [][]Test
			for _, a := range all {
				for _, b := range some {
					next = append(next, slices.Concat(a, b))
				}
			}
			all = next
		}
		return all, true
	}
	return nil, false
}

// normal sorts the tests of a conjunction and makes one of those on the same word; ok is false if it never holds.
func normal(c []Test) (_ []Test, ok bool) {
	slices.SortStableFunc(c, func(a, b Test) int { return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Off, b.Off)) })
	out := c[:0]
	for _, t := range c {
		if t.Mask == 0 {
			continue
		}
		if n := len(out) - 1; n >= 0 && out[n].Base == t.Base && out[n].Off == t.Off {
			if (out[n].Value^t.Value)&out[n].Mask&t.Mask != 0 {
				return nil, false
			}
			out[n].Mask |= t.Mask
			out[n].Value |= t.Value
			continue
		}
		out = append(out, t)
	}
	return out, true
}

// tabulate makes a table of a list of rules, or returns nil if it is not worth it.
func tabulate(rules []Rule, none int) *table {
	t := &table{bounds: unbounded()}
	type entry struct {
		rule  int
		tests []Test
	}
	shapes := map[string]int{}
	var entries [][]entry
	var rest []Rule
	tabled := 0
	for i, r := range rules {
		t.then = append(t.then, uint16(r.Then))
		all, ok := conjunctions(r.If)
		if !ok {
			rest = append(rest, Rule{If: r.If, Then: i})
			continue
		}
		var some [][]Test
		for _, c := range all {
			if c, ok := normal(c); ok {
				some = append(some, c)
			}
		}
		if slices.ContainsFunc(some, func(c []Test) bool { return len(c) > maxWords }) {
			rest = append(rest, Rule{If: r.If, Then: i})
			continue
		}
		tabled++
		for _, c := range some {
			var key []byte
			var words []word
			for _, k := range c {
				w := word{int32(k.Off), k.Base, native(k.Mask)}
				words = append(words, w)
				key = append(key, byte(k.Base), byte(k.Off>>24), byte(k.Off>>16), byte(k.Off>>8), byte(k.Off), byte(k.Mask>>24), byte(k.Mask>>16), byte(k.Mask>>8), byte(k.Mask))
			}
			s, ok := shapes[string(key)]
			if !ok {
				s = len(t.shapes)
				shapes[string(key)] = s
				t.shapes = append(t.shapes, shape{words: words, first: i})
				entries = append(entries, nil)
			}
			entries[s] = append(entries[s], entry{i, c})
		}
	}
	if tabled < tableShare*len(t.shapes) {
		return nil
	}
	t.then = append(t.then, uint16(none))
	for i := range t.shapes {
		s := &t.shapes[i]
		s.bits = uint8(bits.Len(uint(2*len(entries[i]) - 1)))
		s.slots = make([]uint32, (1+len(s.words))<<s.bits)
		values := make([]uint32, len(s.words))
		for _, e := range entries[i] {
			for k, w := range e.tests {
				values[k] = native(w.Value)
				t.include(&e.tests[k])
			}
			if at := s.find(values); s.slots[at] == 0 { // else an earlier rule has the same tests
				s.slots[at] = uint32(e.rule) + 1
				copy(s.slots[at+1:], values)
			}
		}
	}
	if len(rest) > 0 {
		var err error
		if t.rest, err = compile(rest, len(rules)); err != nil {
			return nil
		}
		for i := range t.rest.nodes {
			t.include(&t.rest.nodes[i].test)
		}
	}
	return t
}

// mix is a step of the hash, and at its last one, which takes as many bits from the top as are wanted.
func mix(h uint64, w uint32) uint64 {
	h = (h ^ uint64(w)) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

func (s *shape) at(h uint64) int {
	return int(h*0xd6e8feb86659fd93>>(64-s.bits)) * (1 + len(s.words))
}

// find returns the slot with some values, or an empty one.
func (s *shape) find(values []uint32) int {
	h := uint64(0)
	for _, w := range values {
		h = mix(h, w)
	}
	for at := s.at(h); ; {
		e := s.slots[at : at+1+len(values)]
		if e[0] == 0 || slices.Equal(e[1:], values) {
			return at
		}
		if at += len(e); at == len(s.slots) {
			at = 0
		}
	}
}

// matchShort returns the result for a packet that may lack bytes: of the shapes that it has.
func (t *table) matchShort(d *[numBases][]byte) uint16 {
	best := len(t.then) - 1
	var values [maxWords]uint32
	for i := range t.shapes {
		s := &t.shapes[i]
		if s.first >= best {
			break
		}
		ok := true
		for k, w := range s.words {
			if values[k], ok = load(d[w.base], w.off, w.mask); !ok {
				break
			}
		}
		if !ok {
			continue
		}
		if r := s.slots[s.find(values[:len(s.words)])]; r != 0 {
			best = min(best, int(r)-1)
		}
	}
	if t.rest != nil {
		best = min(best, t.rest.walkShort(d))
	}
	return t.then[best]
}
