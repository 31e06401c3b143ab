package resctl

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

func newTree(t testing.TB, spec Spec, workers int) (*Account, *clock.Virtual) {
	t.Helper()
	clk := clock.NewVirtual(time.Time{})
	spec.Name = "node"
	a, err := NewTree(spec, clk, workers)
	if err != nil {
		t.Fatal(err)
	}
	return a, clk
}

func child(t testing.TB, a *Account, spec Spec) *Account {
	t.Helper()
	c, err := a.NewChild(spec)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHeldLimitsHoldUpTheTree(t *testing.T) {
	root, _ := newTree(t, Spec{Limit: Amounts{Memory: 100}}, 1)
	a := child(t, root, Spec{Name: "a", Limit: Amounts{Memory: 80}})
	b := child(t, root, Spec{Name: "b"})
	if err := a.Take(Memory, 70); err != nil {
		t.Fatal(err)
	}
	err := a.Take(Memory, 11)
	var r *Refusal
	if !errors.As(err, &r) || r.Account != "node/a" || r.Use != 70 || r.Limit != 80 || errs.KindOf(err) != errs.Limit {
		t.Fatalf("refusal %+v (%v)", r, err)
	}
	if err := b.Take(Memory, 31); !errors.As(err, &r) || r.Account != "node" {
		t.Fatalf("the root's limit did not refuse: %v", err)
	}
	if b.Use(Memory) != 0 || root.Use(Memory) != 70 {
		t.Fatalf("a refused request changed the tree: b %d root %d", b.Use(Memory), root.Use(Memory))
	}
	if u := a.Usage(Memory); u.Drops != 1 || u.Peak != 70 {
		t.Fatalf("usage of a: %+v", u)
	}
	if err := a.Close(); errs.KindOf(err) != errs.Exists {
		t.Fatalf("closing an account that holds memory: %v", err)
	}
	a.Return(Memory, 70)
	if err := a.Close(); err != nil || root.Use(Memory) != 0 {
		t.Fatalf("close: %v, root holds %d", err, root.Use(Memory))
	}
	if err := a.Take(Memory, 1); errs.KindOf(err) != errs.Dead {
		t.Fatalf("a closed account gave: %v", err)
	}
}

func TestReserveIsSetAside(t *testing.T) {
	root, _ := newTree(t, Spec{Limit: Amounts{Frames: 100}}, 1)
	a := child(t, root, Spec{Name: "a", Reserve: Amounts{Frames: 60}})
	b := child(t, root, Spec{Name: "b"})
	if _, err := root.NewChild(Spec{Name: "c", Reserve: Amounts{Frames: 50}}); errs.KindOf(err) != errs.Limit {
		t.Fatalf("a second reserve that does not fit: %v", err)
	}
	if err := b.Take(Frames, 41); err == nil {
		t.Fatal("b took what is reserved for a")
	}
	if err := b.Take(Frames, 40); err != nil {
		t.Fatal(err)
	}
	if err := a.Take(Frames, 60); err != nil {
		t.Fatalf("a did not get its reserve: %v", err)
	}
	if err := a.Take(Frames, 1); err == nil {
		t.Fatal("a got more than there is")
	}
	a.Return(Frames, 60)
	b.Return(Frames, 40)
	for _, x := range []*Account{a, b} {
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if root.Use(Frames) != 0 {
		t.Fatalf("%d frames left at the root", root.Use(Frames))
	}
}

func TestConsumedLimitsRenewWithTheWindow(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	a := child(t, root, Spec{Name: "a", Limit: Amounts{CodeLoads: 2}, Window: time.Second})
	life := child(t, root, Spec{Name: "l", Limit: Amounts{CodeLoads: 2}, Window: -1})
	for _, x := range []*Account{a, life} {
		for range 2 {
			if err := x.Take(CodeLoads, 1); err != nil {
				t.Fatal(err)
			}
		}
		if x.Take(CodeLoads, 1) == nil {
			t.Fatalf("%s: third load of two", x.Path())
		}
	}
	clk.Advance(999 * time.Millisecond)
	if a.Take(CodeLoads, 1) == nil {
		t.Fatal("allowed before the window ended")
	}
	clk.Advance(time.Millisecond)
	if err := a.Take(CodeLoads, 1); err != nil {
		t.Fatalf("refused in the next window: %v", err)
	}
	if life.Take(CodeLoads, 1) == nil {
		t.Fatal("a limit for life was renewed")
	}
	if a.Use(CodeLoads) != 3 || a.Usage(CodeLoads).Drops != 2 {
		t.Fatalf("usage %+v", a.Usage(CodeLoads))
	}
}

func TestNothingRefuses(t *testing.T) {
	root, _ := newTree(t, Spec{}, 1)
	a := child(t, root, Spec{Name: "a", Limit: Amounts{Frames: Nothing}})
	if a.Take(Frames, 1) == nil || a.Meter(0).TryTake(Frames, 1) {
		t.Fatal("an account with limit Nothing gave a frame")
	}
}

// Many workers at one limit: it is never exceeded, and in the end all of it can be used.
func TestMetersNeverExceedTheLimit(t *testing.T) {
	const limit, workers = 1000, 4
	root, _ := newTree(t, Spec{Limit: Amounts{Frames: limit}}, workers)
	a := child(t, root, Spec{Name: "a"})
	var wg sync.WaitGroup
	var held [workers]int
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			m, r := a.Meter(w), clock.NewRand(7, uint64(w))
			for range 20000 {
				if n := r.IntN(20); r.IntN(2) == 0 {
					if m.TryTake(Frames, int64(n)) {
						held[w] += n
					}
				} else if n <= held[w] {
					m.Return(Frames, int64(n))
					held[w] -= n
				}
				if u := root.counters[Frames].use.Load(); u > limit {
					t.Errorf("%d frames in use, limit %d", u, limit)
					return
				}
				if r.IntN(50) == 0 {
					m.Fold()
				}
			}
			m.Fold()
		}()
	}
	wg.Wait()
	sum := 0
	for _, n := range held {
		sum += n
	}
	if got := a.Use(Frames); got != int64(sum) {
		t.Fatalf("account says %d, holders have %d", got, sum)
	}
	m := a.Meter(0)
	for n := limit - sum; n > 0; n-- {
		if !m.TryTake(Frames, 1) {
			t.Fatalf("refused with %d still free", n)
		}
	}
	if m.TryTake(Frames, 1) {
		t.Fatal("one frame beyond the limit")
	}
	m.Return(Frames, limit)
	m.Fold()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMeterPathDoesNotAllocate(t *testing.T) {
	root, _ := newTree(t, Spec{Limit: Amounts{Frames: 1 << 20}}, 1)
	m := child(t, root, Spec{Name: "a"}).Meter(0)
	if n := testing.AllocsPerRun(100, func() {
		m.TryTake(Frames, 3)
		m.Spend(CPU, 100)
		m.Return(Frames, 3)
		m.Fold()
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// run lets the scheduler choose n times, each run lasting cost of the entity, and returns the time each had.
func run(s *Scheduler, clk *clock.Virtual, n int, cost func(*Entity) time.Duration) map[string]time.Duration {
	had := make(map[string]time.Duration)
	for range n {
		e, until := s.Pick(clk.Now())
		if e == nil {
			if until == clock.Never {
				break
			}
			clk.AdvanceTo(until)
			continue
		}
		d := cost(e)
		clk.Advance(d)
		had[e.Account().Path()] += d
		e.Account().Spend(CPU, int64(d))
		s.Charge(e, d)
	}
	return had
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s = %.3f, want %.3f", what, got, want)
	}
}

func TestSharesDivideTime(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	a := child(t, root, Spec{Name: "a", Share: 100})
	b := child(t, root, Spec{Name: "b", Share: 300})
	b1 := child(t, b, Spec{Name: "1", Share: 10})
	b2 := child(t, b, Spec{Name: "2", Share: 20})
	for _, x := range []*Account{a, b1, b2} {
		s.Wake(s.NewEntity(x))
	}
	// Runs of very different lengths: what counts is time, not turns.
	had := run(s, clk, 40000, func(e *Entity) time.Duration {
		if e.Account() == a {
			return 50 * time.Microsecond
		}
		return 3 * time.Microsecond
	})
	within(t, "b:a", float64(had["node/b/1"]+had["node/b/2"])/float64(had["node/a"]), 3, 0.05)
	within(t, "b2:b1", float64(had["node/b/2"])/float64(had["node/b/1"]), 2, 0.05)
}

func TestSleepEarnsNoCredit(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	a, b := s.NewEntity(child(t, root, Spec{Name: "a"})), s.NewEntity(child(t, root, Spec{Name: "b"}))
	us := func(*Entity) time.Duration { return time.Microsecond }
	s.Wake(a)
	run(s, clk, 10000, us)
	s.Wake(b)
	had := run(s, clk, 1000, us)
	within(t, "late b : a", float64(had["node/b"])/float64(had["node/a"]), 1, 0.05)
	s.Sleep(a)
	if had := run(s, clk, 100, us); had["node/a"] != 0 {
		t.Fatal("a sleeping entity ran")
	}
}

func TestReserveComesFirstAndLimitHolds(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	big := child(t, root, Spec{Name: "big", Share: 10000})
	small := child(t, root, Spec{Name: "small", Share: 1, Reserve: Amounts{CPU: int64(300 * time.Millisecond)}})
	capped := child(t, root, Spec{Name: "capped", Share: 10000, Limit: Amounts{CPU: int64(100 * time.Millisecond)}})
	for _, x := range []*Account{big, small, capped} {
		s.Wake(s.NewEntity(x))
	}
	had := run(s, clk, 100000, func(*Entity) time.Duration { return 100 * time.Microsecond })
	total := 0.0
	for _, d := range had {
		total += d.Seconds()
	}
	within(t, "reserved share", had["node/small"].Seconds()/total, 0.3, 0.05)
	within(t, "capped share", had["node/capped"].Seconds()/total, 0.1, 0.05)
	if _, err := root.NewChild(Spec{Name: "more", Reserve: Amounts{CPU: int64(800 * time.Millisecond)}}); errs.KindOf(err) != errs.Limit {
		t.Fatalf("reserves of 1.1 CPUs on one worker: %v", err)
	}
}

func TestLimitWithNothingElseToDo(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	c := child(t, root, Spec{Name: "c", Limit: Amounts{CPU: int64(10 * time.Millisecond)}, Window: 100 * time.Millisecond})
	e := s.NewEntity(c)
	s.Wake(e)
	start := clk.Now()
	had := run(s, clk, 5000, func(*Entity) time.Duration { return 100 * time.Microsecond })
	within(t, "share of an idle machine", had["node/c"].Seconds()/clk.Now().Sub(start).Seconds(), 0.1, 0.05)
	s.Remove(e)
	if got, _ := s.Pick(clk.Now()); got != nil {
		t.Fatal("a removed entity was picked")
	}
}

func TestChurnLeavesNothing(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	for i := range 1000 {
		c := child(t, root, Spec{Name: "c", Reserve: Amounts{CPU: 1000, Memory: 10}})
		g := child(t, c, Spec{Name: "g"})
		e := s.NewEntity(g)
		s.Wake(e)
		if p, _ := s.Pick(clk.Now()); p != e {
			t.Fatal("wrong entity")
		}
		s.Charge(e, time.Duration(i))
		s.Remove(e)
		for _, a := range []*Account{g, c} {
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(s.root.groups) != 0 || len(s.root.reserved) != 0 || len(s.root.heap) != 0 || root.Use(Memory) != 0 {
		t.Fatalf("left: %d groups, %d reserved, %d in the heap, %d bytes", len(s.root.groups), len(s.root.reserved), len(s.root.heap), root.Use(Memory))
	}
}

func BenchmarkMeterFrames(b *testing.B) {
	root, _ := newTree(b, Spec{Limit: Amounts{Frames: 1 << 20}}, 1)
	m := child(b, root, Spec{Name: "a"}).Meter(0)
	b.ReportAllocs()
	for range b.N {
		m.TryTake(Frames, 1)
		m.Return(Frames, 1)
	}
}

func BenchmarkPickCharge(b *testing.B) {
	root, _ := newTree(b, Spec{}, 1)
	s := NewScheduler(root, 0)
	for _, n := range []string{"a", "b", "c", "d"} {
		s.Wake(s.NewEntity(child(b, root, Spec{Name: n})))
	}
	b.ReportAllocs()
	for range b.N {
		e, _ := s.Pick(0)
		s.Charge(e, 100)
	}
}

// TestWindowEnd: what was refused in a window is granted when it ends, and not where it never does.
func TestWindowEnd(t *testing.T) {
	root, clk := newTree(t, Spec{Name: "node"}, 1)
	for _, tc := range []struct {
		spec  Spec
		r     Resource
		never bool
	}{
		{Spec{Name: "a", Limit: Amounts{Fuel: 10}}, Fuel, false},
		{Spec{Name: "b", Limit: Amounts{Fuel: 10}, Window: time.Millisecond}, Fuel, false},
		{Spec{Name: "c", Limit: Amounts{Fuel: 10}, Window: -1}, Fuel, true},
		{Spec{Name: "d", Limit: Amounts{Fuel: Nothing}}, Fuel, true},
		{Spec{Name: "e", Limit: Amounts{Memory: 10}}, Memory, true},
	} {
		a, err := root.NewChild(tc.spec)
		if err != nil {
			t.Fatal(err)
		}
		clk.Advance(2500 * time.Millisecond)
		end := a.WindowEnd(tc.r)
		if (end == clock.Never) != tc.never || end <= clk.Now() {
			t.Errorf("%s at %v: %v", tc.spec.Name, clk.Now(), end)
		}
		if tc.never {
			continue
		}
		if err := a.Take(tc.r, 10); err != nil {
			t.Fatal(err)
		}
		clk.AdvanceTo(end - 1)
		if a.Take(tc.r, 1) == nil {
			t.Errorf("%s: above the limit", tc.spec.Name)
		}
		clk.AdvanceTo(end)
		if err := a.Take(tc.r, 1); err != nil {
			t.Errorf("%s: in the next window: %v", tc.spec.Name, err)
		}
	}
}
