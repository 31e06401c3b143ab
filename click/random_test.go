package click

import "testing"

// TestAdditive compares with numbers that random(3) of glibc 2.36 returned.
func TestAdditive(t *testing.T) {
	for seed, want := range map[uint32][]uint32{
		0: {1804289383, 846930886},
		1: {1804289383, 846930886, 1681692777, 1714636915, 1957747793, 424238335, 719885386, 1649760492},
		7: {1045618677, 1863967299, 1272579899, 461085871, 21961325, 1105564443, 2138782586, 68574097},
	} {
		a := newAdditive(seed)
		for i, w := range want {
			if v := a.draw(); v != w {
				t.Errorf("seed %d, draw %d: %d, want %d", seed, i, v, w)
			}
		}
	}
}

func TestRandomBelow(t *testing.T) {
	r := &Base{thread: &Thread{seeded: newAdditive(1)}}
	for _, n := range []uint32{1, 2, 3, 1000, 1<<30 + 1, 1 << 31} {
		for range 100 {
			if v := r.RandomBelow(n); v >= n {
				t.Fatalf("%d of %d", v, n)
			}
		}
	}
	r.thread.seeded = newAdditive(1)
	if v := r.RandomBelow(64511); v != 54202 {
		t.Errorf("%d, want 54202", v)
	}
}
