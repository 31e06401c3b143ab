package clock

import (
	"sync/atomic"
	"time"
)

// Time is an instant in nanoseconds since the origin of its clock. Times of
// different clocks must not be compared.
type Time int64

// Never is later than every instant a clock returns.
const Never Time = 1<<63 - 1

// Add returns t moved by d. It saturates at Never.
func (t Time) Add(d time.Duration) Time {
	s := t + Time(d)
	if d > 0 && s < t {
		return Never
	}
	return s
}

// Sub returns the time between u and t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Seconds returns t as seconds since the clock's origin, for logs and reports.
func (t Time) Seconds() float64 { return float64(t) / 1e9 }

// Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	// Now returns a monotonic instant.
	Now() Time
	// Wall returns the calendar time that belongs to Now.
	Wall() time.Time
}

// Real is the machine's monotonic clock; its origin is the moment of NewReal.
type Real struct{ start time.Time }

// NewReal returns a clock that starts at (nearly) zero.
func NewReal() *Real { return &Real{start: time.Now()} }

// Now implements Clock. It costs about 40 ns.
func (r *Real) Now() Time { return Time(time.Since(r.start)) }

// Wall implements Clock.
func (r *Real) Wall() time.Time { return time.Now() }

// Since returns the instant at which the calendar read t, for code that has to
// compare timestamps taken by the kernel with this clock.
func (r *Real) Since(t time.Time) Time { return Time(t.Sub(r.start)) }

// Virtual is a clock that moves only when told to. The zero value starts at
// zero and at the calendar's 2000-01-01 UTC.
type Virtual struct {
	now   atomic.Int64
	epoch time.Time
}

// NewVirtual returns a clock that stands at zero and whose calendar reads epoch there.
func NewVirtual(epoch time.Time) *Virtual { return &Virtual{epoch: epoch} }

// Now implements Clock.
func (v *Virtual) Now() Time { return Time(v.now.Load()) }

// Wall implements Clock.
func (v *Virtual) Wall() time.Time {
	e := v.epoch
	if e.IsZero() {
		e = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return e.Add(time.Duration(v.now.Load()))
}

// AdvanceTo moves the clock to t. A t in the past leaves it where it is, for
// time does not run backwards.
func (v *Virtual) AdvanceTo(t Time) {
	for {
		now := v.now.Load()
		if int64(t) <= now || v.now.CompareAndSwap(now, int64(t)) {
			return
		}
	}
}

// Advance moves the clock forward by d; a negative d does nothing.
func (v *Virtual) Advance(d time.Duration) {
	if d > 0 {
		v.now.Add(int64(d))
	}
}
