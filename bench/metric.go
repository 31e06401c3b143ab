package bench

import (
	"slices"
	"strings"
)

// Summary is a figure that was taken several times.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize returns median, least and greatest of samples, of which there is at least one. The median of an even number is
// the mean of the two in the middle.
func summarize(samples []float64) Summary {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	m := s[n/2]
	if n%2 == 0 {
		m = (s[n/2-1] + m) / 2
	}
	return Summary{m, s[0], s[n-1]}
}

// Metric is one figure of a result.
type Metric struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Summary
	Samples []float64 `json:"samples"` // one of each round, in their order
	// Yardsticks is the figure as a multiple of the yardstick loop of the same round; only times in memory have it.
	Yardsticks *Summary `json:"yardsticks,omitempty"`
	// Bound is "generator" where the load and not what is measured was the limit in some round: the true value is at
	// least as good, and unknown.
	Bound       string `json:"bound,omitempty"`
	Publishable bool   `json:"publishable"`
}

// unitMore is the unit of what something costs more than something else in the same round; it may be negative.
const unitMore = "ns more/packet"

// LowerIsBetter reports whether a smaller figure of this unit is the better one.
func LowerIsBetter(unit string) bool {
	u, _, _ := strings.Cut(unit, "/")
	switch u {
	case "ns", "us", "ms", "s", "B", "allocs", "%", "frames", "lost", "x", "ns more":
		return true
	}
	return false
}

// byClock reports whether figures of a unit depend on who else uses the machine: rates and delays, but not processor time.
func byClock(unit string) bool {
	return unit == "us" || unit == "of loss-free" || strings.HasSuffix(unit, "/s")
}

// perOp reports whether a unit is a time of an operation, which the yardstick can be compared with.
func perOp(unit string) bool { return strings.HasPrefix(unit, "ns/") }
