package bench

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// Scenario is something that can be measured. It is inert.
type Scenario struct {
	Name   string // as on the command line
	Tier   string // "memory", "kernel", "socket": what carries the packets
	Driver string // of the links; empty: no links, or such as are made for the measurement alone
	Title  string // half a line
	Text   string // what is measured, how, and what is included
	Root   bool   // needs root and network namespaces
	Given  bool   // can measure what lies between two interfaces of the user (Options.In, Out)

	// Open prepares the scenario. It is called once in a run; the trial uses no processor time outside Measure.
	Open func(e *Env) (Trial, error)
}

// Trial is a scenario that is ready to be measured. One goroutine calls it.
type Trial interface {
	// Measure measures once and puts what it found into r, in every round the same metrics.
	Measure(r *Round) error
	// Close gives everything back. A trial that finds then that something leaked returns an error.
	Close() error
}

// Env is what a run gives to its trials.
type Env struct {
	Context context.Context // ends the run early
	Clock   clock.Clock
	Seed    uint64
	Time    time.Duration // how long one measurement of one row should take
	In, Out string        // the user's own interfaces, empty: links that are made for the run
	To      [6]byte       // with those: hardware address that frames are sent to
	Click   string        // a click program that runs graphs beside ours; empty: none
	Force   bool          // the user's own interfaces may be such as the host needs
	Quick   bool          // the run shall show that a scenario works: no effort for good figures
}

// tries is how often a search tries a rate that was not free of losses.
func (e *Env) tries() int {
	if e.Quick {
		return 1
	}
	return searchTries
}

// rand returns a generator of its own stream.
func (e *Env) rand(stream uint64) *clock.Rand { return clock.NewRand(e.Seed, stream) }

// Bounds of what Options and Env may ask for.
const (
	MinReps     = 5
	MaxReps     = 1000
	DefaultTime = 100 * time.Millisecond

	quickReps = 2
	quickTime = 20 * time.Millisecond
)

var scenarios []Scenario

func register(s Scenario) { scenarios = append(scenarios, s) }

// Scenarios returns all scenarios by tier and name.
func Scenarios() []Scenario {
	s := slices.Clone(scenarios)
	order := []string{"memory", "socket", "kernel"}
	slices.SortFunc(s, func(a, b Scenario) int {
		if d := slices.Index(order, a.Tier) - slices.Index(order, b.Tier); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return s
}

// Select returns the scenarios that names choose, each once: names of scenarios, of tiers, or "all". An unknown name
// is errs.NotFound.
func Select(names []string) ([]Scenario, error) {
	var list errs.List
	all := Scenarios()
	chosen := make(map[string]bool)
	for _, n := range names {
		found := false
		for _, s := range all {
			if n == "all" || n == s.Tier || n == s.Name {
				chosen[s.Name], found = true, true
			}
		}
		if !found {
			list.Add(errs.New(errs.NotFound, "no scenario or tier is called %q (janos bench list)", n))
		}
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(s Scenario) bool { return !chosen[s.Name] }), nil
}
