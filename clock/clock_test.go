package clock

import (
	"testing"
	"time"
)

func TestVirtualMovesOnlyForward(t *testing.T) {
	v := NewVirtual(time.Unix(1000, 0))
	if v.Now() != 0 || !v.Wall().Equal(time.Unix(1000, 0)) {
		t.Fatalf("start: now %d wall %v", v.Now(), v.Wall())
	}
	v.AdvanceTo(5)
	v.AdvanceTo(3)
	v.Advance(-time.Second)
	if v.Now() != 5 {
		t.Fatalf("now = %d after moving to 5 and back, want 5", v.Now())
	}
	v.Advance(time.Second)
	if got, want := v.Wall(), time.Unix(1001, 5); !got.Equal(want) {
		t.Fatalf("wall = %v, want %v", got, want)
	}
}

func TestAddSaturates(t *testing.T) {
	if got := (Never - 5).Add(time.Second); got != Never {
		t.Fatalf("near the end plus a second = %d, want Never", got)
	}
	if got := Time(10).Add(-4); got != 6 {
		t.Fatalf("10-4 = %d", got)
	}
}

func TestRealIsMonotonic(t *testing.T) {
	r := NewReal()
	a := r.Now()
	for range 1000 {
		b := r.Now()
		if b < a {
			t.Fatalf("clock went back: %d after %d", b, a)
		}
		a = b
	}
}

func TestRandIsSeeded(t *testing.T) {
	a, b, c := NewRand(1, 2), NewRand(1, 2), NewRand(1, 3)
	same := true
	for range 64 {
		x, y, z := a.Uint64(), b.Uint64(), c.Uint64()
		if x != y {
			t.Fatal("same seed and stream differ")
		}
		same = same && x == z
	}
	if same {
		t.Fatal("different streams agree")
	}
}
