package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	Force   bool // see Env
	Quick   bool // two rounds, short measurements: shows that it works, and nothing more
	Clock   clock.Clock
	Program string // version of the program that measures, for the report

	// Progress is told what is done next; nil: nobody wants to know.
	Progress func(format string, args ...any)

	smoke bool // tests: one round, no warming up

	// watch begins to look at what others do with the machine, and end says which share of it they had since; nil: it is looked up.
	watch func() (end func() float64)
}

// watchMachine is what watch is by default.
func watchMachine() (end func() float64) {
	u := readUsage()
	return func() float64 {
		others, stolen := readUsage().since(u)
		return others + stolen
	}
}

// Run measures the scenarios, interleaved, and blocks until it is done or ctx ends. A scenario that the machine lacks something
// for is in the report as skipped; one that fails ends the run with an error.
func Run(ctx context.Context, list []Scenario, o Options) (*Report, error) {
	if o.Clock == nil || len(list) == 0 {
		return nil, errs.New(errs.Invalid, "bench: nothing to run, or no clock")
	}
	if o.Reps == 0 {
		o.Reps = MinReps
		if o.Quick {
			o.Reps = quickReps
		}
	}
	if o.Time == 0 {
		o.Time = DefaultTime
		if o.Quick {
			o.Time = quickTime
		}
	}
	if !o.smoke && !o.Quick && (o.Reps < MinReps) || o.Reps < 1 || o.Reps > MaxReps {
		return nil, errs.New(errs.Invalid, "bench: %d repetitions, want %d to %d", o.Reps, MinReps, MaxReps)
	}
	if o.Time < time.Millisecond || o.Time > time.Minute {
		return nil, errs.New(errs.Invalid, "bench: %v for a measurement, want 1ms to 1m", o.Time)
	}
	if (o.In == "") != (o.Out == "") {
		return nil, errs.New(errs.Invalid, "bench: --in and --out are given together")
	}
	if o.In != "" && !slices.ContainsFunc(list, func(s Scenario) bool { return s.Given }) {
		return nil, errs.New(errs.Invalid, "bench: --in and --out are for packet-l2fwd and xdp-l2fwd: name one of them, or leave the interfaces out")
	}
	if o.watch == nil {
		o.watch = watchMachine
	}
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	env := &Env{Context: ctx, Clock: o.Clock, Seed: o.Seed, Time: o.Time, In: o.In, Out: o.Out, To: o.To, Click: o.Click, Force: o.Force, Quick: o.Quick || o.smoke}
	m := fingerprint()
	rep := &Report{Schema: Schema, Program: o.Program, Started: o.Clock.Wall().UTC().Truncate(time.Second), Rounds: o.Reps, Seed: o.Seed, Quick: o.Quick}
	before := readUsage()

	type open struct {
		scenario Scenario
		trial    Trial
		rec      *recorder
		skipped  error
		again    int     // measurements that were thrown away because others disturbed them
		kept     int     // that were kept although others did
		worst    float64 // share of the machine that others had in one of those
	}
	trials := make([]*open, len(list))
	var err error
	for i, s := range list {
		if err = ctx.Err(); err != nil {
			break
		}
		o.Progress("opening %s", s.Name)
		t := &open{scenario: s, rec: newRecorder()}
		t.rec.memory, t.rec.quick = s.Tier == "memory", o.Quick
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
		yr := newRound(env, yards, warm)
		if err := yr.PerOp("yardstick", func(n int) error { sink += yardstick(n); return nil }); err != nil {
			return nil, err
		}
		yr.keep()
		yard := yr.now["yardstick"]
		for _, t := range trials {
			for t.trial != nil { // until the round is kept
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if warm {
					o.Progress("warming up: %s", t.scenario.Name)
				} else {
					o.Progress("round %d of %d: %s", n+1, o.Reps, t.scenario.Name)
				}
				r, end := newRound(env, t.rec, warm), o.watch()
				if err := t.trial.Measure(r); err != nil {
					return nil, fmt.Errorf("%s: %w", t.scenario.Name, err)
				}
				if disturbed := end(); disturbed > shared && !warm {
					if !env.Quick && t.again < (o.Reps+1)/2 { // where it goes on like that, time does not help
						t.again++
						continue
					}
					t.kept++
					t.rec.disturbed = true
					t.worst = max(t.worst, disturbed)
				}
				r.keep()
				if !warm {
					t.rec.yards = append(t.rec.yards, yard)
				}
				break
			}
		}
	}
	m.Others, m.Stolen = readUsage().since(before)
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
		if t.again > 0 || t.kept > 0 {
			res.Notes = append(res.Notes, fmt.Sprintf("Measured again because others had more than %.0f %% of the machine: %d; kept although they had: %d of %d, at most %.0f %%.",
				100*shared, t.again, t.kept, o.Reps, 100*t.worst))
		}
		if t.skipped != nil {
			res.Skipped = t.skipped.Error()
		}
		rep.Results = append(rep.Results, res)
	}
	return rep, err
}

// sink keeps the compiler from leaving out what nobody reads.
var sink uint32
