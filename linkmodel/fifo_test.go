package linkmodel

import (
	"testing"

	"github.com/janos-os/janos/clock"
)

// TestFifo compares the ring with a slice over random pushes and pops, so that it grows while it is wrapped around.
func TestFifo(t *testing.T) {
	r := clock.NewRand(1, 1)
	var q Fifo[*int]
	var want []int
	longest, grown := 0, 0
	for i := range 20_000 {
		// More pushes than pops in one phase, the other way round in the next.
		if push := r.IntN(10) < 3+4*(i/1000%2); push || len(want) == 0 {
			before := len(q.ring)
			wrapped := q.head > 0
			q.Push(&i)
			want = append(want, i)
			if wrapped && len(q.ring) > before {
				grown++
			}
		} else {
			if got := q.Pop(); *got != want[0] {
				t.Fatalf("step %d: popped %d, want %d", i, *got, want[0])
			}
			want = want[1:]
		}
		longest = max(longest, len(want))
		if q.Len() != len(want) {
			t.Fatalf("step %d: %d entries, want %d", i, q.Len(), len(want))
		}
		for k, v := range want {
			if **q.At(k) != v {
				t.Fatalf("step %d: entry %d is %d, want %d", i, k, **q.At(k), v)
			}
		}
	}
	if longest <= 64 || grown == 0 {
		t.Fatalf("longest %d, grown while wrapped %d times: the test does not reach what it is for", longest, grown)
	}
	for q.Len() > 0 {
		q.Pop()
	}
	for i, p := range q.ring {
		if p != nil {
			t.Fatalf("slot %d still refers to what was popped", i)
		}
	}
}
