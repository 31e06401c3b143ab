package demux

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// answer looks a key up as the generated program does.
func (f *fixed) answer(g *group, key []uint64) (id uint32, age uint64, ok bool) {
	some := g.table.key(0)
	for i := range key {
		if !slices.Contains(f.vary, i) && key[i] != some[i] {
			return 0, 0, false
		}
	}
	e := f.data[f.index(key)<<f.shift:][:1<<f.shift]
	for k, i := range f.vary {
		if binary.NativeEndian.Uint64(e[8*k:]) != littleWord(key[i]) {
			return 0, 0, false
		}
	}
	return binary.NativeEndian.Uint32(e[f.id():]), binary.NativeEndian.Uint64(e[f.age():]), true
}

// TestFixed makes tables of random keys, of which some words are the same in all, and asks for what is there and what is nearly there.
func TestFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 77))
	for round := range 400 {
		words, n := 1+r.IntN(maxWords), 1+r.IntN(16)
		if round%20 == 0 {
			n = 200
		}
		g := &group{table: table{words: words}, shape: make([]piece, words), version: uint64(round + 1)}
		wide := r.Uint64()
		has := map[[maxWords]uint64]uint32{}
		var keys [][]uint64
		for id := range uint32(n) {
			key := make([]uint64, words)
			for i := range key {
				if wide>>i&1 != 0 || i == words-1 {
					key[i] = r.Uint64() & []uint64{0xff, 0xffff << 48, 1<<64 - 1}[r.IntN(3)]
				} else {
					key[i] = 0x0800 << 48
				}
			}
			var k [maxWords]uint64
			copy(k[:], key)
			if _, twice := has[k]; !twice {
				has[k] = id
				keys = append(keys, key)
			}
			g.table.add(key, id, uint64(id)*3)
		}
		least := 1 + r.IntN(fixedLeast)
		f := newFixed(g, least)
		if (f == nil) != (len(has) < least) {
			t.Fatalf("%d keys: table %v", len(has), f != nil)
		}
		if f == nil {
			continue
		}
		for range 300 {
			key := slices.Clone(keys[r.IntN(len(keys))])
			switch r.IntN(4) {
			case 0:
				key[r.IntN(words)] ^= 1 << r.IntN(64)
			case 1:
				for i := range key {
					key[i] = 0
				}
			case 2:
				for i := range key {
					key[i] = r.Uint64()
				}
			}
			var k [maxWords]uint64
			copy(k[:], key)
			want, there := has[k]
			if id, age, ok := f.answer(g, key); ok != there || ok && (id != want || age != uint64(want)*3) {
				t.Fatalf("round %d: key %x is rule %d of age %d, %v; want %d, %v", round, key, id, age, ok, want, there)
			}
		}
	}
}
