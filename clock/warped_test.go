package clock

import (
	"testing"
	"time"
)

func TestWarpedGoesAtItsSpeed(t *testing.T) {
	w, r := NewWarped(), NewReal()
	for _, speed := range []float64{1, 1e6, 0.5, 1e6} {
		w.SetSpeed(speed)
		if w.Speed() != speed {
			t.Fatalf("speed %v, want %v", w.Speed(), speed)
		}
		w0, c0, r0 := w.Now(), w.Wall(), r.Now()
		for r.Now().Sub(r0) < time.Millisecond {
		}
		lower := r.Now().Sub(r0) // the warped clock is read after it, so it has gone at least so far
		got, wall := w.Now().Sub(w0), w.Wall().Sub(c0)
		if least := time.Duration(float64(lower) * speed * 0.999); got < least || wall < least {
			t.Errorf("speed %v: %v passed and %v of the calendar, while at least %v of real time did", speed, got, wall, lower)
		}
	}
	w.SetSpeed(-1)
	w.SetSpeed(0)
	if w.Speed() != 1e6 {
		t.Errorf("a speed that is not above zero was taken: %v", w.Speed())
	}
	if d := w.Span(time.Second); d < time.Microsecond || d > 2*time.Microsecond {
		t.Errorf("a second at speed 1e6 takes %v", d)
	}
}
