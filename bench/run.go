package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// Options says how to measure. The zero value, with a clock, is good.
type Options struct {
	Reps    int           // rounds that count; 0: MinReps
	Time    time.Duration // of one measurement of one row; 0: DefaultTime
	Seed    uint64
	In, Out string // see Env
	To      [6]byte
	Click   string
	Clock   clock.Clock
	Program string // version of the program that measures, for the report

	// Progress is told what is done next; nil: nobody wants to know.
	Progress func(format string, args ...any)

	smoke bool // tests: one round, no warming up
}

// Run measures the scenarios, interleaved, and blocks until it is done or ctx ends. A scenario that the machine lacks something
// for is in the report as skipped; one that fails ends the run with an error.
func Run(ctx context.Context, list []Scenario, o Options) (*Report, error) {
	if o.Clock == nil || len(list) == 0 {
		return nil, errs.New(errs.Invalid, "bench: nothing to run, or no clock")
	}
	if o.Reps == 0 {
		o.Reps = MinReps
	}
	if o.Time == 0 {
		o.Time = DefaultTime
	}
	if !o.smoke && (o.Reps < MinReps || o.Reps > MaxReps) {
		return nil, errs.New(errs.Invalid, "bench: %d repetitions, want %d to %d", o.Reps, MinReps, MaxReps)
	}
	if o.Time < time.Millisecond || o.Time > time.Minute {
		return nil, errs.New(errs.Invalid, "bench: %v for a measurement, want 1ms to 1m", o.Time)
	}
	if (o.In == "") != (o.Out == "") {
		return nil, errs.New(errs.Invalid, "bench: --in and --out are given together")
	}
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	env := &Env{Context: ctx, Clock: o.Clock, Seed: o.Seed, Time: o.Time, In: o.In, Out: o.Out, To: o.To, Click: o.Click}
	m := fingerprint()
	rep := &Report{Schema: Schema, Program: o.Program, Started: o.Clock.Wall().UTC().Truncate(time.Second), Rounds: o.Reps, Seed: o.Seed}
	before := readUsage()

	type open struct {
		scenario Scenario
		trial    Trial
		rec      *recorder
		skipped  error
	}
	trials := make([]*open, len(list))
	var err error
	for i, s := range list {
		if err = ctx.Err(); err != nil {
			break
		}
		o.Progress("opening %s", s.Name)
		t := &open{scenario: s, rec: newRecorder()}
		t.rec.memory = s.Tier == "memory"
		if t.trial, t.skipped = s.Open(env); t.skipped != nil {
			t.trial = nil
			switch errs.KindOf(t.skipped) {
			case errs.NotSupported, errs.Permission:
			default:
				err = fmt.Errorf("%s: %w", s.Name, t.skipped)
			}
		}
		trials[i] = t
		if err != nil {
			break
		}
	}
	defer func() { // what an error left open
		for _, t := range trials {
			if t != nil && t.trial != nil {
				_ = t.trial.Close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}

	yards := newRecorder()
	first := -1
	if o.smoke {
		first = 0
	}
	for n := first; n < o.Reps; n++ {
		warm := n < 0
		yr := &Round{env: env, rec: yards, warm: warm, now: map[string]float64{}}
		if err := yr.PerOp("yardstick", func(n int) error { sink += yardstick(n); return nil }); err != nil {
			return nil, err
		}
		yard := yr.now["yardstick"]
		for _, t := range trials {
			if t.trial == nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if warm {
				o.Progress("warming up: %s", t.scenario.Name)
			} else {
				o.Progress("round %d of %d: %s", n+1, o.Reps, t.scenario.Name)
			}
			if err := t.trial.Measure(&Round{env: env, rec: t.rec, warm: warm, now: map[string]float64{}}); err != nil {
				return nil, fmt.Errorf("%s: %w", t.scenario.Name, err)
			}
			if !warm {
				t.rec.yards = append(t.rec.yards, yard)
			}
		}
	}
	m.since(before)
	m.Yardstick = yards.metrics()[0]
	for _, t := range trials {
		if t.trial != nil {
			trial := t.trial
			t.trial = nil
			if cerr := trial.Close(); cerr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", t.scenario.Name, cerr))
			}
		}
		res := Result{Scenario: t.scenario.Name, Tier: t.scenario.Tier, Driver: t.scenario.Driver, Machine: m, Notes: append([]string{t.scenario.Text}, t.rec.notes...), Metrics: t.rec.metrics()}
		if t.skipped != nil {
			res.Skipped = t.skipped.Error()
		}
		rep.Results = append(rep.Results, res)
	}
	return rep, err
}

// sink keeps the compiler from leaving out what nobody reads.
var sink uint32
