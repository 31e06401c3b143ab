package wire

import (
	"math"
	"math/bits"
	"time"

	"github.com/janos-os/janos/clock"
)

// Verdict says what becomes of a frame.
type Verdict uint8

const (
	Carried   Verdict = 0 // arrives at the time that Offer returned
	Lost      Verdict = 1 // lost by chance
	QueueFull Verdict = 2 // too many frames were waiting for the rate
)

// Lane is one direction of a link. It is not safe for concurrent use.
//
// Frames leave in the order in which they were offered, also across a change of the impairment.
type Lane struct {
	im    Impairment
	rand  *clock.Rand
	free  clock.Time // when the sender has sent everything it accepted
	last  clock.Time // latest arrival promised so far
	ends  []clock.Time
	first int // ends[first:] are the times at which waiting frames will have been sent, ascending
}

// NewLane returns a lane with the impairment im, whose losses are determined by r. The lane owns r.
func NewLane(im Impairment, r *clock.Rand) *Lane {
	return &Lane{im: im, rand: r}
}

// Set changes the impairment for frames that are offered from now on.
func (l *Lane) Set(im Impairment) { l.im = im }

// Offer hands a frame of size bytes to the lane at time now, which must not be before that of the last call. For a
// frame that is carried it returns when it arrives.
func (l *Lane) Offer(now clock.Time, size int) (arrival clock.Time, v Verdict) {
	sent := now
	if l.im.Rate > 0 {
		for l.first < len(l.ends) && l.ends[l.first] <= now {
			l.first++
		}
		if l.first == len(l.ends) {
			l.ends, l.first = l.ends[:0], 0
		}
		limit := l.im.Queue
		if limit == 0 {
			limit = DefaultQueue
		}
		if len(l.ends)-l.first > limit { // one is being sent, limit are waiting
			return 0, QueueFull
		}
		l.free = max(l.free, now).Add(sendTime(size, l.im.Rate))
		if l.first > 0 && len(l.ends) == cap(l.ends) {
			n := copy(l.ends, l.ends[l.first:])
			l.ends, l.first = l.ends[:n], 0
		}
		l.ends = append(l.ends, l.free)
		sent = l.free
	}
	// The dice are thrown for every frame that was sent, so that the losses of a run depend on the frames and the
	// seed, and a lost frame takes its time on the line like any other.
	if l.im.Loss > 0 && l.rand.Float64() < l.im.Loss {
		return 0, Lost
	}
	l.last = max(l.last, sent.Add(l.im.Delay))
	return l.last, Carried
}

// sendTime returns how long size bytes take at rate r.
func sendTime(size int, r BitRate) time.Duration {
	hi, lo := bits.Mul64(uint64(size)*8, 1e9)
	if hi >= uint64(r) {
		return math.MaxInt64
	}
	ns, _ := bits.Div64(hi, lo, uint64(r))
	return time.Duration(min(ns, math.MaxInt64))
}
