package linkmodel

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
// Frames leave in the order in which they were offered, also across a change of the impairment: a shorter delay does not let a
// frame overtake those under way.
type Lane struct {
	im   Impairment
	rand *clock.Rand
	free clock.Time       // when the sender has sent everything it accepted
	last clock.Time       // latest arrival promised so far
	ends Fifo[clock.Time] // when the frames that wait or are being sent will have been sent, ascending
}

// NewLane returns a lane with the impairment im, whose losses are determined by r. The lane owns r. im need not pass
// Impairment.Check, whose limits are those of laboratories; what must hold is that no number is negative.
func NewLane(im Impairment, r *clock.Rand) *Lane {
	return &Lane{im: im, rand: r}
}

// Set changes the impairment for frames that are offered from now on.
func (l *Lane) Set(im Impairment) { l.im = im }

// Impairment returns what the lane does to frames now.
func (l *Lane) Impairment() Impairment { return l.im }

// Reset forgets all frames that were offered, as when the link went down and lost them: the next one finds the line free. The
// random numbers go on.
func (l *Lane) Reset() {
	for l.ends.Len() > 0 {
		l.ends.Pop()
	}
	l.free, l.last = 0, 0
}

// Sending returns how many frames wait or are being sent at time now, which must not be before that of the last call.
func (l *Lane) Sending(now clock.Time) int {
	for l.ends.Len() > 0 && *l.ends.At(0) <= now {
		l.ends.Pop()
	}
	return l.ends.Len()
}

// Offer hands a frame of size bytes to the lane at time now, which must not be before that of the last call. For a
// frame that is carried it returns when it arrives. It does not allocate once the queue has been at its longest.
func (l *Lane) Offer(now clock.Time, size int) (arrival clock.Time, v Verdict) {
	sent := now
	if l.im.Rate > 0 {
		limit := l.im.Queue
		if limit == 0 {
			limit = DefaultQueue
		}
		if l.Sending(now) > limit { // one is being sent, limit are waiting
			return 0, QueueFull
		}
		l.free = max(l.free, now).Add(sendTime(size, l.im.Rate))
		l.ends.Push(l.free)
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
