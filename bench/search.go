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
	searchMore    = 1.1 // times what a generator reached that is said to offer more
	searchUrges   = 4   // how often a generator is asked for more, where it did not reach a rate
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

// search finds the loss-free rate. try tries a rate, beginning at from (0: searchLeast). tries is how often a rate is tried that was not clean or not reached. What
// counts is the rate that was reached: where the generator falls short of what it is asked for, it is asked for more, and it is the limit only if
// it could not offer more than what was clean.
func search(from float64, tries int, try func(rate float64) (point, error)) (f finding, err error) {
	most := 0.0 // that was offered when something was lost
	// attempt says whether a rate is clean, and what was reached then.
	attempt := func(want float64) (clean bool, reached float64, err error) {
		for range tries {
			p, err := try(want)
			f.trials++
			if err != nil {
				return false, 0, err
			}
			if !p.clean { // whatever the generator offered in place of the rate
				most = max(most, p.reached)
				continue
			}
			clean, reached = true, max(reached, min(p.reached, want))
			f.rate = max(f.rate, reached)
			if reached >= searchReached*want {
				break
			}
		}
		return clean, reached, nil
	}
	lo, hi, short := 0.0, math.Inf(1), 0.0
	want := min(max(from, searchLeast), searchMost)
	for lo == 0 || math.IsInf(hi, 1) {
		clean, reached, err := attempt(want)
		switch {
		case err != nil:
			return f, err
		case clean:
			// All that could be offered was delivered, and asking for twice as much as before did not make it more.
			if stuck := reached < searchReached*want && reached < searchMore*short; stuck || want >= searchMost {
				f.bound = true
				return f, nil
			}
			if reached < searchReached*want {
				short = reached
			}
			lo, want = want, min(2*want, searchMost)
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
		clean, _, err := attempt(want)
		switch {
		case err != nil:
			return f, err
		case clean:
			lo = want
		default:
			hi = want
		}
	}
	f.bound = most <= f.rate
	return f, nil
}

// excess is what was delivered when more than the loss-free rate was offered.
type excess struct {
	goodput float64 // packets per second
	bound   bool    // the generator could not offer as much as was wanted, and what it offered was delivered: goodput is at least this
}

// overload offers a rate, or asks the generator for more than that until it reaches it. A generator that was too slow, but offered more than was delivered, has shown
// what the device delivers when it is offered that much; at the rate it may be less, so that is a bound all the same.
func overload(rate float64, try func(rate float64) (reached, delivered float64, err error)) (x excess, err error) {
	want := rate
	for range searchUrges {
		reached, delivered, err := try(want)
		if err != nil {
			return x, err
		}
		x = excess{goodput: delivered, bound: reached < searchReached*rate}
		if !x.bound || reached <= 0 {
			break
		}
		want = min(want*min(rate/reached, searchMore), 2*rate)
	}
	return x, nil
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
// the way at the rates that matter. More than a fifth would be more than the kernel leaves to real-time threads without a break, twice over (sched_rt_runtime_us).
func trialTime(e *Env) time.Duration {
	return min(max(e.Time/2, time.Millisecond), 200*time.Millisecond)
}
