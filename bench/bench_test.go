package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm/jail"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	jail.Enter() // where this program was started as a worker
	goleak.VerifyTestMain(m)
}

func TestRegistry(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if seen[s.Name] || s.Name == "" || strings.ContainsAny(s.Name, " ,") || s.Name == "all" {
			t.Errorf("scenario %q: no name of its own", s.Name)
		}
		seen[s.Name] = true
		if s.Title == "" || len(s.Text) < 60 || s.Open == nil {
			t.Errorf("%s does not say what it measures", s.Name)
		}
		if s.Tier != "memory" && s.Tier != "socket" && s.Tier != "kernel" {
			t.Errorf("%s is of tier %q", s.Name, s.Tier)
		}
		if seen[s.Tier] {
			t.Errorf("%s has the name of a tier", s.Tier)
		}
	}
	for _, n := range []string{"packet-alloc", "graph-source-sink", "graph-queue", "graph-filter", "graph-classify", "graph-threads", "graph-start", "graph-iprouter", "lookup-100k", "handoff", "vm-evaluate",
		"vm-isolate", "vm-link", "vm-churn", "demux-scale", "resctl", "ants-evaluate", "channel-forward", "churn"} {
		if !seen[n] {
			t.Errorf("no scenario %s", n)
		}
	}
}

func TestSelect(t *testing.T) {
	names := func(ss []Scenario) (out []string) {
		for _, s := range ss {
			out = append(out, s.Name)
		}
		return out
	}
	one, err := Select([]string{"resctl", "handoff", "resctl"})
	if err != nil || strings.Join(names(one), " ") != "handoff resctl" {
		t.Errorf("%v, %v", names(one), err)
	}
	all, err := Select([]string{"all"})
	if err != nil || len(all) != len(Scenarios()) {
		t.Errorf("%d of %d, %v", len(all), len(Scenarios()), err)
	}
	tier, err := Select([]string{"memory"})
	if err != nil || len(tier) < 8 {
		t.Errorf("%v, %v", names(tier), err)
	}
	if _, err := Select([]string{"handoff", "nonsense", "rubbish"}); errs.KindOf(err) != errs.NotFound || !strings.Contains(err.Error(), "nonsense") || !strings.Contains(err.Error(), "rubbish") {
		t.Errorf("%v", err)
	}
}

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Summary
	}{
		{[]float64{3}, Summary{3, 3, 3}},
		{[]float64{5, 1, 9}, Summary{5, 1, 9}},
		{[]float64{4, 1, 2, 10}, Summary{3, 1, 10}},
		{[]float64{7, 7, 7, 7, 7}, Summary{7, 7, 7}},
	} {
		if got := summarize(c.in); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.in, got, c.want)
		}
	}
	in := []float64{3, 1, 2}
	summarize(in)
	if in[0] != 3 || in[1] != 1 || in[2] != 2 {
		t.Errorf("the order of the samples changed: %v", in)
	}
}

// scripted is a trial that reports given values.
type scripted struct {
	values  [][]float64 // of each round, warming up first
	round   int
	bounded int // the round in which the generator was the limit
	closed  *int
	fail    error
	leak    error
}

func (s *scripted) Measure(r *Round) error {
	if s.fail != nil {
		return s.fail
	}
	v := s.values[s.round]
	r.Add("a", "ns/packet", v[0])
	r.Add("b", "ns/packet", v[1])
	r.Note("driver nothing")
	if s.round == s.bounded && s.bounded > 0 {
		r.GeneratorBound("b")
	}
	s.round++
	return r.Ratio("a to b", "a", "b")
}

func (s *scripted) Close() error { *s.closed++; return s.leak }

func scenarioOf(name string, s *scripted, err error) Scenario {
	return Scenario{Name: name, Tier: "kernel", Title: "t", Text: "Text of " + name + ".", Open: func(*Env) (Trial, error) {
		if err != nil {
			return nil, err
		}
		return s, nil
	}}
}

func rounds(n int) (v [][]float64) {
	for i := range n {
		v = append(v, []float64{float64(10 + i), float64(20 + 4*i)})
	}
	return v
}

// fast is a run on a machine that nobody else uses.
func fast() Options {
	return Options{Clock: clock.NewReal(), Time: time.Millisecond, watch: func() func() float64 { return func() float64 { return 0 } }}
}

func TestRunInterleavesAndSummarizes(t *testing.T) {
	closed := 0
	a, b := &scripted{values: rounds(6), closed: &closed}, &scripted{values: rounds(6), closed: &closed, bounded: 3}
	skip := scenarioOf("skipped", nil, errs.New(errs.NotSupported, "no such card"))
	var steps []string
	o := fast()
	o.Progress = func(format string, args ...any) { steps = append(steps, format) }
	rep, err := Run(context.Background(), []Scenario{scenarioOf("one", a, nil), skip, scenarioOf("two", b, nil)}, o)
	if err != nil {
		t.Fatal(err)
	}
	if closed != 2 || a.round != 6 || b.round != 6 || len(steps) != 3+2*6 {
		t.Errorf("closed %d, rounds %d and %d, %d steps", closed, a.round, b.round, len(steps))
	}
	if len(rep.Results) != 3 || rep.Skipped() != 1 || !strings.Contains(rep.Results[1].Skipped, "no such card") {
		t.Fatalf("%+v", rep.Results)
	}
	m := rep.Results[0].Metrics
	if len(m) != 3 || m[0].Median != 13 || m[0].Min != 11 || m[0].Max != 15 || len(m[0].Samples) != 5 || !m[0].Publishable {
		t.Errorf("%+v", m)
	}
	// The ratio is the median of the rounds' ratios.
	if m[2].Unit != "x" || m[2].Samples[0] != 11.0/24 || m[2].Median != 13.0/32 {
		t.Errorf("%+v", m[2])
	}
	for i, want := range []bool{true, false, false} { // b was bounded, and so is what is computed of it
		if got := rep.Results[2].Metrics[i]; got.Publishable != want || (got.Bound == "generator") == want {
			t.Errorf("%+v, publishable %v", got, want)
		}
	}
	y := rep.Results[0].Machine.Yardstick
	if len(y.Samples) != 5 || y.Min <= 0 {
		t.Errorf("yardstick %+v", y)
	}
	var text bytes.Buffer
	if err := rep.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"at most 32.00 ns/packet, generator-bound", "skipped: no such card", "driver nothing", "Text of one."} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}

// TestRunMeasuresAgain throws disturbed rounds away, half as many as it keeps at most, and says so.
func TestRunMeasuresAgain(t *testing.T) {
	for _, c := range []struct {
		disturbed   func(n int) bool // of measurement n, warming up first
		quick       bool
		measured    int
		first, last float64
		note        string
	}{
		{func(n int) bool { return false }, false, 6, 11, 15, ""},
		{func(n int) bool { return n == 0 || n == 1 || n == 3 }, false, 8, 12, 17, "had more than 10 % of the machine: 2; kept although they had: 0 of 5, at most 0 %"},
		{func(n int) bool { return true }, false, 9, 14, 18, "had more than 10 % of the machine: 3; kept although they had: 5 of 5, at most 50 %"},
		{func(n int) bool { return true }, true, 3, 11, 12, "had more than 10 % of the machine: 0; kept although they had: 2 of 2, at most 50 %"},
	} {
		closed, n := 0, -1
		s := &scripted{values: rounds(20), closed: &closed}
		o := fast()
		o.Quick = c.quick
		o.watch = func() func() float64 {
			n++
			return func() float64 {
				if c.disturbed(n) {
					return 0.5
				}
				return 0.1
			}
		}
		rep, err := Run(context.Background(), []Scenario{scenarioOf("one", s, nil)}, o)
		if err != nil {
			t.Fatal(err)
		}
		got := rep.Results[0].Metrics[0]
		if s.round != c.measured || got.Samples[0] != c.first || got.Samples[len(got.Samples)-1] != c.last || got.Publishable == c.quick || rep.Quick != c.quick {
			t.Errorf("%d measured, %+v", s.round, got)
		}
		if notes := strings.Join(rep.Results[0].Notes, "\n"); !strings.Contains(notes, c.note) || c.note == "" && strings.Contains(notes, "again") {
			t.Errorf("%q is not in %q", c.note, notes)
		}
	}
}

func TestRunRefusesAndCleansUp(t *testing.T) {
	closed := 0
	good := func() Scenario { return scenarioOf("good", &scripted{values: rounds(6), closed: &closed}, nil) }
	bad := errors.New("broken")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		list  []Scenario
		o     func(*Options)
		kind  errs.Kind
		close int
	}{
		"nothing":       {list: nil, kind: errs.Invalid},
		"too few":       {list: []Scenario{good()}, o: func(o *Options) { o.Reps = 4 }, kind: errs.Invalid},
		"too many":      {list: []Scenario{good()}, o: func(o *Options) { o.Reps = MaxReps + 1 }, kind: errs.Invalid},
		"too short":     {list: []Scenario{good()}, o: func(o *Options) { o.Time = 1 }, kind: errs.Invalid},
		"one interface": {list: []Scenario{good()}, o: func(o *Options) { o.In = "eth0" }, kind: errs.Invalid},
		"not for them":  {list: []Scenario{good()}, o: func(o *Options) { o.In, o.Out = "eth0", "eth1" }, kind: errs.Invalid},
		"open fails":    {list: []Scenario{good(), scenarioOf("bad", nil, bad)}, kind: errs.Internal, close: 1},
		"measure fails": {list: []Scenario{good(), scenarioOf("bad", &scripted{fail: bad, closed: &closed}, nil)}, kind: errs.Internal, close: 2},
		"leak":          {list: []Scenario{scenarioOf("bad", &scripted{values: rounds(6), leak: bad, closed: &closed}, nil)}, kind: errs.Internal, close: 1},
		"cancelled":     {ctx: cancelled, list: []Scenario{good()}, kind: errs.Internal},
	} {
		closed = 0
		o := fast()
		if c.o != nil {
			c.o(&o)
		}
		if c.ctx == nil {
			c.ctx = context.Background()
		}
		if _, err := Run(c.ctx, c.list, o); errs.KindOf(err) != c.kind || closed != c.close {
			t.Errorf("%s: %v, %d closed, want %v and %d", name, err, closed, c.kind, c.close)
		}
	}
}

// fixed is a report whose figures are chosen.
func fixed() *Report {
	m := Machine{CPU: "Some CPU", Cores: 2, GOMAXPROCS: 2, OS: "linux", Arch: "amd64", Kernel: "6.18.0", Go: "go1.26", Load: [3]float64{0.5, 0.25, 0}, Others: 0.25,
		Yardstick: Metric{Name: "yardstick", Unit: "ns/op", Summary: Summary{8, 7, 9}, Samples: []float64{8, 7, 9}, Publishable: true}}
	return &Report{Schema: Schema, Program: "janos test", Started: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), Rounds: 3, Seed: 1, Results: []Result{
		{Scenario: "s", Tier: "memory", Driver: "mem", Machine: m, Notes: []string{"What it is."}, Metrics: []Metric{
			{Name: "cost", Unit: "ns/packet", Summary: Summary{80, 70, 90}, Samples: []float64{80, 70, 90}, Yardsticks: &Summary{10, 10, 10}, Publishable: true},
			{Name: "cost allocs", Unit: "allocs/packet", Summary: Summary{0, 0, 0}, Samples: []float64{0, 0, 0}, Publishable: true},
			{Name: "rate", Unit: "packets/s", Summary: Summary{5e5, 4e5, 6e5}, Samples: []float64{5e5, 4e5, 6e5}, Bound: "generator"}}},
		{Scenario: "k", Tier: "kernel", Machine: m, Skipped: "needs root", Notes: []string{"What it would be."}},
	}}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", path, got)
	}
}

func TestReportGolden(t *testing.T) {
	var j, x bytes.Buffer
	r := fixed()
	if err := r.Encode(&j); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", j.Bytes())
	if err := r.Text(&x); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", x.Bytes())
	back, err := ReadReport("testdata/report.json")
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := back.Encode(&again); err != nil || !bytes.Equal(again.Bytes(), j.Bytes()) {
		t.Errorf("a report that was read is written differently: %v\n%s", err, again.Bytes())
	}
}

func TestReadReportRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"schema":     `{"schema":"janos-bench/0"}`,
		"text":       `hello`,
		"empty":      ``,
		"no samples": `{"schema":"janos-bench/1","results":[{"scenario":"s","metrics":[{"name":"m","unit":"x","median":1}]}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadReport(path); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadReport(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestCompare(t *testing.T) {
	a, b := fixed(), fixed()
	mb := b.Results[0].Metrics
	mb[0].Summary = Summary{60, 55, 65}
	mb[0].Yardsticks = &Summary{5, 5, 5}
	mb[2].Summary = Summary{3e5, 2e5, 3.5e5}
	mb[2].Bound = ""
	b.Results[0].Metrics = append(mb, Metric{Name: "new", Unit: "x", Summary: Summary{1, 1, 1}, Samples: []float64{1}, Publishable: true})
	b.Results[0].Machine.Kernel = "6.19.0"
	c := Compare(a, b)
	want := []Delta{
		{"s", "cost", "ns/packet", Summary{80, 70, 90}, Summary{60, 55, 65}, 0.75, 0.5, false, "better"},
		{"s", "cost allocs", "allocs/packet", Summary{}, Summary{}, 0, 0, true, "same"},
		{"s", "rate", "packets/s", Summary{5e5, 4e5, 6e5}, Summary{3e5, 2e5, 3.5e5}, 0.6, 0, false, "bounded"},
	}
	if len(c.Rows) != len(want) {
		t.Fatalf("%+v", c.Rows)
	}
	for i := range want {
		if c.Rows[i] != want[i] {
			t.Errorf("%+v, want %+v", c.Rows[i], want[i])
		}
	}
	if strings.Join(c.Machines, " ") != "kernel" || len(c.OnlyA) != 0 || strings.Join(c.OnlyB, ";") != "s new" {
		t.Errorf("%+v", c)
	}
	a.Results[0].Metrics[2].Bound = ""
	if d := Compare(a, b).Rows[2]; d.Verdict != "worse" { // a lower rate
		t.Errorf("%+v", d)
	}
	if d := Compare(a, a).Rows[0]; d.Verdict != "same" || d.Ratio != 1 || !d.Overlap {
		t.Errorf("%+v", d)
	}
	var text bytes.Buffer
	if err := c.Text(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", text.Bytes())
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

// TestSmoke measures every scenario in memory once, as shortly as possible: it checks itself while it runs.
func TestSmoke(t *testing.T) {
	list, err := Select([]string{"memory"})
	if err != nil {
		t.Fatal(err)
	}
	smoke(t, list)
}

// smoke runs scenarios for one round and returns the report.
func smoke(t *testing.T, list []Scenario) *Report {
	t.Helper()
	o := fast()
	o.Reps, o.smoke = 1, true
	rep, err := Run(context.Background(), list, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range rep.Results {
		if res.Skipped != "" {
			t.Errorf("%s was skipped: %s", res.Scenario, res.Skipped)
		}
		if len(res.Metrics) == 0 {
			t.Errorf("%s measured nothing", res.Scenario)
		}
		for _, m := range res.Metrics {
			if len(m.Samples) != 1 || m.Median < 0 && m.Unit != unitMore {
				t.Errorf("%s, %s: %+v", res.Scenario, m.Name, m)
			}
			if perOp(m.Unit) && m.Median == 0 {
				t.Errorf("%s, %s cost nothing", res.Scenario, m.Name)
			}
		}
	}
	return rep
}
