package bench

import (
	"fmt"
	"math"
	"time"
)

// A search for the loss-free rate, after RFC 2544 section 26.1: the highest rate at which not one frame is lost. It goes up from where it is told to
// begin by doubling, or down by halving, until it has a rate that is clean and one that is not, and then halves what is between them.
const (
	searchLeast   = 20e3 // packets per second
	searchMost    = 40e6
	searchHalving = 4   // after doubling: the result is at most a sixteenth of the greater rate too low
	searchTries   = 3   // at each rate; one that was reached and is clean is enough, for a shared machine loses packets and deadlines of its own
	searchReached = .97 // of a rate, by a generator that is said to have offered it
)

// point is one trial of a rate.
type point struct {
	reached float64 // rate that was offered
	clean   bool    // nothing was lost, came twice, was overtaken or damaged
}

// finding is the outcome of a search.
type finding struct {
	rate   float64 // highest clean rate; 0: there is none above searchLeast
	bound  bool    // the generator was the limit: the rate is at least this
	trials int
}

func (f finding) String() string {
	if f.bound {
		return fmt.Sprintf("at least %.0f packets/s, generator-bound", f.rate)
	}
	return fmt.Sprintf("%.0f packets/s", f.rate)
}

// search finds the loss-free rate of what try tries, beginning at from (0: searchLeast). tries is how often a rate is tried that was not clean or not reached.
func search(from float64, tries int, try func(rate float64) (point, error)) (f finding, err error) {
	// attempt says whether a rate is clean, and whether it is one that the generator could not reach.
	attempt := func(want float64) (clean, short bool, err error) {
		for range tries {
			p, err := try(want)
			f.trials++
			if err != nil {
				return false, false, err
			}
			if !p.clean { // whatever the generator offered in place of the rate
				continue
			}
			f.rate = max(f.rate, min(p.reached, want))
			if clean, short = true, p.reached < searchReached*want; !short {
				break
			}
		}
		return clean, short, nil
	}
	lo, hi := 0.0, math.Inf(1)
	want := min(max(from, searchLeast), searchMost)
	for lo == 0 || math.IsInf(hi, 1) {
		clean, short, err := attempt(want)
		switch {
		case err != nil:
			return f, err
		case clean && short: // all that could be offered was delivered
			f.bound = true
			return f, nil
		case clean:
			lo = want
			if want >= searchMost {
				f.bound = true
				return f, nil
			}
			want = min(2*want, searchMost)
		default:
			hi = want
			if want <= searchLeast {
				return f, nil
			}
			want = max(want/2, searchLeast)
		}
	}
	for range searchHalving {
		want := (lo + hi) / 2
		clean, short, err := attempt(want)
		switch {
		case err != nil:
			return f, err
		case clean && short:
			f.bound = true
			return f, nil
		case clean:
			lo = want
		default:
			hi = want
		}
	}
	return f, nil
}

// excess is what was delivered when more than the loss-free rate was offered.
type excess struct {
	goodput float64 // packets per second
	bound   bool    // the generator could not offer as much as was wanted, and what it offered was delivered: goodput is at least this
}

// judgeExcess decides whether the generator bounded an overload of want packets per second. A generator that was too slow for want, but offered more than
// was delivered, has shown what the device delivers when it is offered that much; the true value at want may be less, so it is bounded all the same.
func judgeExcess(want, reached, delivered float64) excess {
	return excess{goodput: delivered, bound: reached < searchReached*want}
}

// offered returns the rate of n frames in a span, in which the generator was held up for paused altogether. It is that of the rest, unless little is left
// of the span.
func offered(n int, span, paused time.Duration) float64 {
	if paused < span/4 {
		span -= paused
	}
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}

// bounded enters a rate and marks it if the generator bounded it.
func (r *Round) bounded(name, unit string, v float64, bound bool) {
	r.Add(name, unit, v)
	if bound {
		r.GeneratorBound(name)
	}
}

// trialTime is how long one trial of a search takes, half of what a row may: there are some twenty. A twentieth of a second is enough to fill every queue on
// the way at the rates that matter.
func trialTime(e *Env) time.Duration { return max(e.Time/2, time.Millisecond) }
