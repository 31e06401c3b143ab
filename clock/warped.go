package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// Warped is the machine's clock at a speed that can be changed: at speed 2 an hour passes in half of one. Its calendar begins with the machine's and goes
// at the same speed. Use NewWarped.
type Warped struct {
	real *Real
	mu   sync.Mutex // of SetSpeed
	now  atomic.Pointer[warp]
}

// warp is when the speed was changed last.
type warp struct {
	real, warped Time
	wall         time.Time // at warped
	speed        float64
}

// NewWarped returns a clock that starts at (nearly) zero, at speed 1.
func NewWarped() *Warped {
	w := &Warped{real: NewReal()}
	w.now.Store(&warp{wall: w.real.start.Round(0), speed: 1})
	return w
}

func (k *warp) at(real Time) Time {
	if k.speed == 1 {
		return k.warped + real - k.real
	}
	return k.warped + Time(float64(real-k.real)*k.speed)
}

// Now implements Clock.
func (w *Warped) Now() Time { return w.now.Load().at(w.real.Now()) }

// Wall implements Clock.
func (w *Warped) Wall() time.Time {
	k := w.now.Load()
	return k.wall.Add(k.at(w.real.Now()).Sub(k.warped))
}

// Speed returns how fast the clock goes.
func (w *Warped) Speed() float64 { return w.now.Load().speed }

// SetSpeed makes the clock go so fast from now on; speeds that are not above zero change nothing. Whoever sleeps by the clock sleeps as long as it meant
// to before.
func (w *Warped) SetSpeed(speed float64) {
	if !(speed > 0) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k, real := w.now.Load(), w.real.Now()
	t := k.at(real)
	w.now.Store(&warp{real: real, warped: t, wall: k.wall.Add(t.Sub(k.warped)), speed: speed})
}

// Span returns how long d of this clock takes, rounded up.
func (w *Warped) Span(d time.Duration) time.Duration {
	speed := w.Speed()
	if speed == 1 {
		return d
	}
	v := float64(d)/speed + 1
	if v > 1<<62 {
		return 1 << 62
	}
	return time.Duration(v)
}
