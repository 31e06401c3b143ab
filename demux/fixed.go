package demux

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// fixed is a table of a group's keys without collisions, in memory that does not change while a program may look at it: a packet's words lead to one entry, which has its key
// or no key does. So it takes no call and no branch that depends on which of the keys a packet has, which processors guess wrong when keys take turns.
//
// Words that all keys have in common are compared in the instructions. An entry has the other words, then age (64 bits) and number (32) of the rule.
type fixed struct {
	mapFD  int
	off    uint32 // of the entries in the map, in bytes
	vary   []int  // words that are not the same in all keys
	mul    [maxWords]uint64
	bits   int // log2 of how many entries there are
	shift  int // log2 of an entry's bytes
	data   []byte
	forRev uint64 // version of the group
}

// fixedLeast is for how many keys a table of that sort is made. Fewer are compared one by one.
const fixedLeast = 3

// fixedTries is how often a table of one size is tried. One in seven is without collisions.
const fixedTries = 64

// newFixed makes the table of a group of least keys or more, 1 or more; elsewhere, and in the one case of a great many in which it does not find one, it returns nil.
func newFixed(g *group, least int) *fixed {
	t := &g.table
	var rows []int
	for _, s := range t.slots {
		if s != 0 {
			rows = append(rows, int(s-1))
		}
	}
	if len(rows) < least {
		return nil
	}
	f := &fixed{forRev: g.version}
	for i := range g.shape {
		for _, r := range rows[1:] {
			if t.key(r)[i] != t.key(rows[0])[i] {
				f.vary = append(f.vary, i)
				break
			}
		}
	}
	f.shift = bits.Len(uint(8*len(f.vary) + 16 - 1))
	n := len(rows)
	for f.bits = bits.Len(uint(max(n*n/4-1, n-1, 1))); 1<<f.bits <= 8*n*n; f.bits++ {
		for range fixedTries {
			for i := range f.mul {
				f.mul[i] = rand.Uint64() | 1
			}
			if f.fill(t, rows) {
				return f
			}
		}
	}
	return nil
}

// index is where a key is, if it is there.
func (f *fixed) index(key []uint64) int {
	h := uint64(0)
	for _, i := range f.vary {
		h += littleWord(key[i]) * f.mul[i]
	}
	return int(h >> (64 - f.bits))
}

// fill writes the entries, or reports that two keys are at one place.
func (f *fixed) fill(t *table, rows []int) bool {
	at := make([]int, 1<<f.bits) // row+1
	for _, r := range rows {
		i := f.index(t.key(r))
		if at[i] != 0 {
			return false
		}
		at[i] = r + 1
	}
	f.data = make([]byte, len(at)<<f.shift)
	for i, r := range at {
		e := f.data[i<<f.shift:]
		if r == 0 { // a key that leads elsewhere, so that no packet is equal
			r = rows[0] + 1
		}
		for k, w := range f.vary {
			binary.NativeEndian.PutUint64(e[8*k:], littleWord(t.key(r - 1)[w]))
		}
		id, age := t.rule(r - 1)
		binary.NativeEndian.PutUint64(e[f.age():], age)
		binary.NativeEndian.PutUint32(e[f.id():], id)
	}
	return true
}

func (f *fixed) age() int { return 8 * len(f.vary) }
func (f *fixed) id() int  { return 8*len(f.vary) + 8 }
