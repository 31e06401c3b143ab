package packet

import (
	"slices"
	"testing"
)

func TestBatchKeep(t *testing.T) {
	all := make([]*Packet, MaxBatch)
	for i := range all {
		all[i] = &Packet{}
	}
	for name, keep := range map[string]func(i int) bool{
		"all":    func(int) bool { return true },
		"none":   func(int) bool { return false },
		"even":   func(i int) bool { return i%2 == 0 },
		"odd":    func(i int) bool { return i%2 == 1 },
		"first":  func(i int) bool { return i == 0 },
		"last":   func(i int) bool { return i == MaxBatch-1 },
		"middle": func(i int) bool { return i > 10 && i < 20 },
	} {
		for _, n := range []int{0, 1, 30, MaxBatch} {
			var b Batch
			var want []*Packet
			for i, p := range all[:n] {
				b.Append(p)
				if keep(i) {
					want = append(want, p)
				}
			}
			var seen []*Packet
			b.Keep(func(p *Packet) bool {
				seen = append(seen, p)
				return keep(len(seen) - 1)
			})
			if !slices.Equal(seen, all[:n]) || !slices.Equal(b.Packets(), want) {
				t.Errorf("%s of %d: saw %d, kept %d, want %d in their order", name, n, len(seen), b.Len(), len(want))
			}
		}
	}
}
