package demux

import (
	"encoding/binary"
	"math/bits"
)

// table maps keys of a fixed number of words to rule numbers by open addressing. It
// is built once and then only read.
type table struct {
	words int
	keys  []uint64 // in the order of addition
	ids   []uint32

	slots []uint32 // index+1 into ids
	shift uint     // 64 - log2(len(slots))
}

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// add adds a key. Of equal keys the lowest id wins.
func (t *table) add(key []uint64, id uint32) {
	t.keys = append(t.keys, key...)
	t.ids = append(t.ids, id)
}

func (t *table) build() {
	size := 2
	for size < 2*len(t.ids) {
		size *= 2
	}
	t.slots = make([]uint32, size)
	t.shift = uint(64 - bits.TrailingZeros(uint(size)))
	for i, id := range t.ids {
		key := t.key(i)
		at := t.slot(key)
		for t.slots[at] != 0 && !equal(t.key(int(t.slots[at]-1)), key) {
			at = (at + 1) & (len(t.slots) - 1)
		}
		if old := t.slots[at]; old == 0 || t.ids[old-1] > id {
			t.slots[at] = uint32(i + 1)
		}
	}
}

func (t *table) key(i int) []uint64 { return t.keys[i*t.words : (i+1)*t.words] }

func (t *table) slot(key []uint64) int {
	h := uint64(0x9e3779b97f4a7c15)
	for _, w := range key {
		h = (h ^ w) * 0xff51afd7ed558ccd
		h ^= h >> 29
	}
	return int(h * 0x9e3779b97f4a7c15 >> t.shift)
}

func (t *table) get(key []uint64) (id uint32, ok bool) {
	for at := t.slot(key); ; at = (at + 1) & (len(t.slots) - 1) {
		i := t.slots[at]
		if i == 0 {
			return 0, false
		}
		if equal(t.key(int(i-1)), key) {
			return t.ids[i-1], true
		}
	}
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
