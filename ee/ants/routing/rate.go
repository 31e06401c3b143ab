package routing

import (
	"time"

	"github.com/janos-os/janos/clock"
)

// rate bounds how often something is done for others: one act in each interval, and burst more at once. The zero value
// of a rateState is full.
type rate struct {
	every time.Duration
	burst int
}

// Rates of one link. A network of a thousand nodes that is switched on, or one in which many things change, stays far below
// them; what an attacker sends beyond them is not looked at. What honest nodes lose by it is repaired by summaries.
var (
	messageRate   = rate{every: time.Second / 2000, burst: 1000} // messages taken in
	pieceRate     = rate{every: time.Second / 500, burst: DefaultMaxPieces}
	adjacencyRate = rate{every: time.Second / 10, burst: 2 * MaxNeighbours} // neighbours taken into use
)

// rateState is when the next act would be on time if there were no burst.
type rateState struct{ next clock.Time }

// allow reports whether an act may be done now, and counts it.
func (s *rateState) allow(r rate, now clock.Time) bool {
	t := max(s.next, now)
	if t.Sub(now) > r.every*time.Duration(r.burst) {
		return false
	}
	s.next = t.Add(r.every)
	return true
}
