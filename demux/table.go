package demux

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// table maps keys of a fixed number of words to rules. A lookup asks a small bit filter first, which stays in the processor's first cache
// even where the table does not, and then the slots, by open addressing. It is changed only while nobody else knows it.
//
// A row of rows is the words of a key, then age and number of a rule. Rules with equal keys all have rows, but only the oldest has a slot.
type table struct {
	words  int
	rows   []uint64
	slots  []uint32 // index+1 of a row
	shift  uint     // 64 - log2(len(slots))
	filter []uint64 // one bit for each hash, indexed by the hash's uppermost bits
	fshift uint     // 64 - log2(bits of filter)
	stale  int      // keys removed since build, whose bits are still in the filter
}

// filterBits is how many bits the filter has for each key, at least: one in 32 absent keys passes, at most.
const filterBits = 32

// hashMul are odd random numbers, by word. Drawing them at the start keeps whoever chooses keys from choosing collisions.
var hashMul = func() (m [maxWords]uint64) {
	for i := range m {
		m[i] = rand.Uint64() | 1
	}
	return m
}()

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// hash returns a sum of products, whose upper bits depend on all bits of the key. Match has it once more, without a loop.
func hash(key []uint64) (h uint64) {
	for i, w := range key {
		h += w * hashMul[i&(maxWords-1)]
	}
	return h
}

func (t *table) len() int { return len(t.rows) / (t.words + 2) }

func (t *table) key(i int) []uint64 { return t.rows[i*(t.words+2):][:t.words] }

func (t *table) rule(i int) (id uint32, age uint64) {
	r := t.rows[i*(t.words+2)+t.words:]
	return uint32(r[1]), r[0]
}

// older reports whether rule i goes before rule j.
func (t *table) older(i, j int) bool {
	a, x := t.rule(i)
	b, y := t.rule(j)
	return x < y || x == y && a < b
}

// clone returns a copy that may be changed.
func (t *table) clone() table {
	c := *t
	c.rows, c.slots, c.filter = slices.Clone(t.rows), slices.Clone(t.slots), slices.Clone(t.filter)
	return c
}

// add adds a rule. It reports whether the answer for its key is another one now.
func (t *table) add(key []uint64, id uint32, age uint64) bool {
	t.rows = append(append(t.rows, key...), age, uint64(id))
	n := t.len()
	if 2*n > len(t.slots) {
		t.build()
		won, _ := t.get(key, hash(key))
		return won == n-1
	}
	return t.enter(n - 1)
}

// enter gives row i a slot, unless an older rule has the same key.
func (t *table) enter(i int) bool {
	key := t.key(i)
	h := hash(key)
	f := h >> t.fshift
	t.filter[f/64] |= 1 << (f % 64)
	at := t.find(key, h)
	if old := t.slots[at]; old != 0 && !t.older(i, int(old-1)) {
		return false
	}
	t.slots[at] = uint32(i + 1)
	return true
}

// build makes slots and filter of the rows.
func (t *table) build() {
	size := 2
	for size < 2*t.len() {
		size *= 2
	}
	t.slots = make([]uint32, size)
	t.shift = uint(64 - bits.TrailingZeros(uint(size)))
	size = max(64, size*filterBits/2)
	t.filter = make([]uint64, size/64)
	t.fshift = uint(64 - bits.TrailingZeros(uint(size)))
	t.stale = 0
	for i := range t.len() {
		t.enter(i)
	}
}

// remove removes row i. It reports whether the answer for its key is another one now, and which row has it, if there is one.
func (t *table) remove(i int) (changed bool, heir int) {
	key := slices.Clone(t.key(i))
	at := t.find(key, hash(key))
	if t.slots[at] == uint32(i+1) {
		changed = true
		t.vacate(at)
	}
	last := t.len() - 1
	if i != last {
		if at := t.find(t.key(last), hash(t.key(last))); t.slots[at] == uint32(last+1) {
			t.slots[at] = uint32(i + 1)
		}
		size := t.words + 2
		copy(t.rows[i*size:(i+1)*size], t.rows[last*size:])
	}
	t.rows = t.rows[:last*(t.words+2)]
	heir = -1
	if changed {
		for j := range t.len() {
			if slices.Equal(t.key(j), key) && (heir < 0 || t.older(j, heir)) {
				heir = j
			}
		}
	}
	if heir >= 0 {
		t.enter(heir)
	} else if changed {
		t.stale++
	}
	if t.stale > 8+t.len()/4 {
		t.build()
	}
	return changed, heir
}

// vacate empties a slot and moves up what would not be found behind the gap.
func (t *table) vacate(at int) {
	mask := len(t.slots) - 1
	t.slots[at] = 0
	for gap := at; ; {
		at = (at + 1) & mask
		s := t.slots[at]
		if s == 0 {
			return
		}
		home := int(hash(t.key(int(s-1))) >> t.shift)
		if (at-home)&mask >= (at-gap)&mask {
			t.slots[gap], t.slots[at] = s, 0
			gap = at
		}
	}
}

// find returns the slot that holds key, or the empty one where it would be.
func (t *table) find(key []uint64, h uint64) int {
	at := int(h >> t.shift)
	for t.slots[at] != 0 && !equal(t.key(int(t.slots[at]-1)), key) {
		at = (at + 1) & (len(t.slots) - 1)
	}
	return at
}

// get finds the row of a key whose hash is h.
func (t *table) get(key []uint64, h uint64) (row int, ok bool) {
	i := t.slots[t.find(key, h)]
	return int(i) - 1, i != 0
}

func equal(a, b []uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
