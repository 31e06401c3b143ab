package nodeos

import (
	"time"

	"github.com/janos-os/janos/errs"
)

// Bounds of InChanSpec.Rate and Burst.
const (
	MaxRate  = 1000000000
	MaxBurst = 1 << 20
)

// pace turns a rate into the interval between packets and the time by which a packet may come too early. Intervals are whole nanoseconds, rounded up, so that
// the rate is never more than the one asked for. Without a rate both are 0.
func (s *InChanSpec) pace() (interval, tolerance time.Duration, err error) {
	switch {
	case s.Rate < 0 || s.Rate > MaxRate:
		return 0, 0, errs.New(errs.Invalid, "in-channel %s: rate of %d packets per second, want 1 to %d, or 0 for no limit", s.Protocol, s.Rate, MaxRate)
	case s.Burst < 0 || s.Burst > MaxBurst:
		return 0, 0, errs.New(errs.Invalid, "in-channel %s: burst of %d packets, want 1 to %d, or 0 for those of 10 ms", s.Protocol, s.Burst, MaxBurst)
	case s.Rate == 0 && s.Burst > 0:
		return 0, 0, errs.New(errs.Invalid, "in-channel %s: burst of %d packets without a rate", s.Protocol, s.Burst)
	case s.Rate == 0:
		return 0, 0, nil
	}
	burst := s.Burst
	if burst == 0 {
		burst = max(s.Rate/100, 1)
	}
	interval = (time.Second + time.Duration(s.Rate) - 1) / time.Duration(s.Rate)
	return interval, interval * time.Duration(burst-1), nil
}

// onTime reports whether a packet that comes now keeps to c's rate, and moves the time on at which the next is due. This is the virtual scheduling
// form of the generic cell rate algorithm (ITU-T I.371, Annex A), which is a token bucket with one word of state. Programs that
// check for c use the same word.
func (c *InChan) onTime(w *Worker) bool {
	if c.interval == 0 {
		return true
	}
	word, now := &c.next, uint64(w.now)
	if s := c.cell.Load(); s != nil {
		word, now = s.Next, now+uint64(s.skew)
	}
	for {
		due := word.Load()
		at := max(due, now)
		if at > now+uint64(c.tolerance) {
			return false
		}
		if word.CompareAndSwap(due, at+uint64(c.interval)) {
			return true
		}
	}
}
