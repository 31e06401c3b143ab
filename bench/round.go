package bench

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/janos-os/janos/errs"
)

// recorder gathers what one trial measures over all rounds.
type recorder struct {
	order     []string
	rows      map[string]*row
	counts    map[string]int // operations of PerOp, fixed by the first round
	notes     []string
	quick     bool // nothing is publishable
	disturbed bool // nothing by the clock is publishable
	memory    bool // figures may be compared with the yardstick
	yards     []float64
	bounded   map[string]bool
}

type row struct {
	unit    string
	samples []float64
}

func newRecorder() *recorder {
	return &recorder{rows: map[string]*row{}, counts: map[string]int{}, bounded: map[string]bool{}}
}

// allocsSuffix makes the name of a metric that of the allocations beside it.
const allocsSuffix = " allocs"

// Round is one measurement of one trial.
type Round struct {
	env  *Env
	rec  *recorder
	warm bool // samples are not kept
	now  map[string]float64

	// What was added, until keep.
	kept  []figure
	bound map[string]bool
}

// figure is what Add was given.
type figure struct {
	name, unit string
	v          float64
}

func newRound(e *Env, rec *recorder, warm bool) *Round {
	return &Round{env: e, rec: rec, warm: warm, now: map[string]float64{}, bound: map[string]bool{}}
}

// keep enters what the round has measured; a round that is not kept has not been.
func (r *Round) keep() {
	if r.warm {
		return
	}
	for _, f := range r.kept {
		m := r.rec.rows[f.name]
		if m == nil {
			m = &row{unit: f.unit}
			r.rec.rows[f.name] = m
			r.rec.order = append(r.rec.order, f.name)
		}
		m.samples = append(m.samples, f.v)
	}
	for name := range r.bound {
		r.rec.bounded[name] = true
	}
}

// Warm reports whether this round only warms up: what it adds is not kept.
func (r *Round) Warm() bool { return r.warm }

// Add records a figure of this round.
func (r *Round) Add(name, unit string, v float64) {
	r.now[name] = v
	r.kept = append(r.kept, figure{name, unit, v})
}

// Ratio records the quotient of two figures of this round, of which a smaller one is better.
func (r *Round) Ratio(name, over, under string) error { return r.quotient(name, "x", over, under) }

// Times records the quotient of two figures of this round, of which a greater one is better: how many times the rate of another something has. Where both are
// costs, that of the other comes first.
func (r *Round) Times(name, over, under string) error { return r.quotient(name, "times", over, under) }

func (r *Round) quotient(name, unit, over, under string) error {
	a, ok := r.now[over]
	b, ok2 := r.now[under]
	if !ok || !ok2 || b == 0 {
		return errs.New(errs.Internal, "bench: ratio %q needs %q and %q, which is not 0", name, over, under)
	}
	r.Add(name, unit, a/b)
	if r.bound[over] || r.bound[under] {
		r.GeneratorBound(name)
	}
	return nil
}

// GeneratorBound marks a figure as bounded by the generator of the load.
func (r *Round) GeneratorBound(name string) {
	r.bound[name] = true
}

// Note says something about the result, once.
func (r *Round) Note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !slices.Contains(r.rec.notes, s) {
		r.rec.notes = append(r.rec.notes, s)
	}
}

// PerOp records what an operation costs: op does n of them. In the first round n is chosen so that they take
// Env.Time; it stays the same afterwards. The figure is processor time of the whole process in ns/op, and with it the allocations per
// operation as "NAME allocs".
func (r *Round) PerOp(name string, op func(n int) error) error { return r.PerUnit(name, "op", op) }

// PerUnit is PerOp with another name for the operation.
func (r *Round) PerUnit(name, unit string, op func(n int) error) error {
	n, ok := r.rec.counts[name]
	for !ok {
		n = max(n, 1)
		cost, _, err := measure(n, op)
		if err != nil {
			return err
		}
		if cost*10 >= r.env.Time || n >= math.MaxInt32 {
			n = int(max(1, min(float64(n)*float64(r.env.Time)/float64(max(cost, 1)), math.MaxInt32)))
			break
		}
		n *= 4
	}
	r.rec.counts[name] = n
	cost, allocs, err := measure(n, op)
	if err != nil {
		return err
	}
	r.Add(name, "ns/"+unit, float64(cost.Nanoseconds())/float64(n))
	// The measurement itself allocates a few times; hundredths of an allocation are noise.
	r.Add(name+allocsSuffix, "allocs/"+unit, round2(float64(allocs)/float64(n)))
	return nil
}

// measure returns processor time of the process and allocations while op runs.
func measure(n int, op func(n int) error) (time.Duration, uint64, error) {
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	t0 := processTime()
	err := op(n)
	cost := processTime() - t0
	runtime.ReadMemStats(&m1)
	return cost, m1.Mallocs - m0.Mallocs, err
}

// metrics summarizes what was recorded.
func (c *recorder) metrics() []Metric {
	var ms []Metric
	for _, name := range c.order {
		w := c.rows[name]
		m := Metric{Name: name, Unit: w.unit, Summary: summarize(w.samples), Samples: w.samples, Publishable: true}
		if c.bounded[name] {
			m.Bound, m.Publishable = "generator", false
		}
		if c.quick || c.disturbed && byClock(w.unit) {
			m.Publishable = false
		}
		if c.memory && perOp(w.unit) && len(w.samples) == len(c.yards) && slices.Min(c.yards) > 0 {
			q := make([]float64, len(w.samples))
			for i := range q {
				q[i] = w.samples[i] / c.yards[i]
			}
			s := summarize(q)
			m.Yardsticks = &s
		}
		ms = append(ms, m)
	}
	return ms
}

func round2(v float64) float64 { return math.Round(v*100) / 100 }
