package resctl

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
)

// plain is an account as one would write it without meters, atomics and speed: one number, and sums over children.
type plain struct {
	parent   *plain
	children []*plain
	limit    Amounts
	reserve  Amounts
	own      Amounts // used by this account itself, without its children
	inWindow Amounts // consumed since the window began, children included
}

// use is what p holds or has consumed, as its parent sees it when raised to the reserve.
func (p *plain) use(r Resource) int64 {
	u := p.own[r]
	for _, c := range p.children {
		n := c.use(r)
		if r.Held() {
			n = max(n, c.reserve[r])
		}
		u += n
	}
	return u
}

// fits reports whether every account from p upwards stays within its limit when p itself uses n more.
func (p *plain) fits(r Resource, n int64) bool {
	p.own[r] += n
	ok := true
	for q := p; q != nil; q = q.parent {
		lim := q.limit[r]
		switch {
		case n == 0, lim == Unlimited:
		case lim == Nothing:
			ok = false
		case r.Held():
			ok = ok && q.use(r) <= lim
		default:
			ok = ok && q.inWindow[r]+n <= lim
		}
	}
	p.own[r] -= n
	return ok
}

func (p *plain) add(r Resource, n int64) {
	p.own[r] += n
	for q := p; q != nil; q = q.parent {
		q.inWindow[r] += n
	}
}

// The tree does what the plain one does, whatever is asked of it in whatever order. Chunks are switched off where a refusal is
// compared, for near a limit they are exact and far from it they are not seen.
func TestTreeAgainstPlainModel(t *testing.T) {
	for seed := range uint64(6) {
		rnd := clock.NewRand(seed, 1)
		root, clk := newTree(t, Spec{Limit: Amounts{Memory: 1000, Frames: 4000, CodeLoads: 50}}, 3)
		type pair struct {
			real *Account
			mod  *plain
			held [NumResources]int64
		}
		all := []*pair{{real: root, mod: &plain{limit: root.spec.Limit}}}
		names := 0
		var trace []string
		check := func() {
			t.Helper()
			for _, x := range all {
				for _, r := range []Resource{Memory, Frames, CodeLoads, CPU} {
					if got, want := x.real.Use(r), x.mod.use(r); got != want {
						t.Fatalf("seed %d: %s uses %d %s, want %d\n%v", seed, x.real.Path(), got, r, want, trace[max(0, len(trace)-8):])
					}
				}
			}
		}
		for step := range 1500 {
			x := all[rnd.IntN(len(all))]
			m := x.real.Meter(rnd.IntN(3))
			n := int64(rnd.IntN(60))
			r := []Resource{Memory, Frames, CodeLoads}[rnd.IntN(3)]
			switch op := rnd.IntN(12); {
			case op < 4:
				if r == CodeLoads {
					n = n/30 + 1
				}
				want := x.mod.fits(r, n)
				var err error
				if op < 2 {
					for _, y := range all { // credits of others do not count against an exact request
						for w := range 3 {
							y.real.Meter(w).Fold()
						}
					}
					err = x.real.Take(r, n)
				} else {
					for _, y := range all {
						for w := range 3 {
							if y.real.Meter(w) != m {
								y.real.Meter(w).Fold()
							}
						}
					}
					err = m.Take(r, n)
				}
				trace = append(trace, fmt.Sprintf("%d: take %d %s of %s: %v", step, n, r, x.real.Path(), err))
				if (err == nil) != want {
					t.Fatalf("seed %d: want allowed=%v\n%v", seed, want, trace[max(0, len(trace)-8):])
				}
				if err == nil {
					x.mod.add(r, n)
					x.held[r] += n
				}
			case op < 7 && r.Held():
				if n > x.held[r] {
					continue
				}
				if op == 6 {
					x.real.Return(r, n)
				} else {
					m.Return(r, n)
				}
				x.mod.add(r, -n)
				x.held[r] -= n
				trace = append(trace, fmt.Sprintf("%d: return %d %s to %s", step, n, r, x.real.Path()))
			case op == 7:
				m.Spend(CPU, n)
				x.mod.add(CPU, n)
			case op == 8:
				m.Fold()
			case op == 9:
				clk.Advance(time.Second)
				for _, y := range all {
					y.mod.inWindow = Amounts{}
				}
			case op == 10 && len(all) < 12:
				names++
				s := Spec{Name: fmt.Sprint(names)}
				if rnd.IntN(2) == 0 {
					s.Reserve[Memory], s.Reserve[Frames] = int64(rnd.IntN(100)), int64(rnd.IntN(100))
				}
				if rnd.IntN(2) == 0 {
					s.Limit[Memory], s.Limit[Frames], s.Limit[CodeLoads] = 150, 150, 20
				}
				for _, y := range all {
					for w := range 3 {
						y.real.Meter(w).Fold()
					}
				}
				c := &plain{parent: x.mod, limit: s.Limit, reserve: s.Reserve}
				x.mod.children = append(x.mod.children, c)
				want := true
				for q := x.mod; q != nil; q = q.parent {
					for _, r := range []Resource{Memory, Frames} {
						if l := q.limit[r]; l > 0 && q.use(r) > l {
							want = false
						}
					}
				}
				real, err := x.real.NewChild(s)
				if (err == nil) != want {
					t.Fatalf("seed %d: child with reserve %v: %v, want allowed=%v", seed, s.Reserve, err, want)
				}
				if err != nil {
					x.mod.children = x.mod.children[:len(x.mod.children)-1]
					continue
				}
				all = append(all, &pair{real: real, mod: c})
			case op == 11 && x.real != root && len(x.mod.children) == 0:
				for w := range 3 {
					x.real.Meter(w).Fold()
				}
				err := x.real.Close()
				if free := x.held[Memory] == 0 && x.held[Frames] == 0; (err == nil) != free {
					t.Fatalf("seed %d: closing with %v held: %v", seed, x.held, err)
				}
				if err != nil {
					continue
				}
				p := x.mod.parent
				for i, c := range p.children {
					if c == x.mod {
						p.children = append(p.children[:i], p.children[i+1:]...)
						break
					}
				}
				for r := range NumResources { // what was consumed stays consumed above
					p.own[r] += x.mod.own[r]
				}
				for i, y := range all {
					if y == x {
						all = append(all[:i], all[i+1:]...)
						break
					}
				}
			}
			check()
		}
	}
}

// Takes that an ancestor refuses while others take and return within the same reserve leave nothing behind.
func TestRefusalsUnderConcurrencyKeepCount(t *testing.T) {
	const reserve = 50
	root, _ := newTree(t, Spec{Limit: Amounts{Memory: reserve + 10}}, 1)
	a := child(t, root, Spec{Name: "a", Reserve: Amounts{Memory: reserve}})
	b := child(t, a, Spec{Name: "b", Reserve: Amounts{Memory: reserve / 2}})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := clock.NewRand(5, uint64(g))
			for range 60_000 {
				n := int64(rnd.IntN(40))
				if b.Take(Memory, n) == nil {
					b.Return(Memory, n)
				}
			}
		}()
	}
	wg.Wait()
	if got := root.counters[Memory].use.Load(); got != reserve {
		t.Errorf("the root has %d bytes in use when nobody holds any, its child's reserve is %d", got, reserve)
	}
	if got := a.counters[Memory].use.Load(); got != reserve/2 {
		t.Errorf("the middle has %d bytes in use, its child's reserve is %d", got, reserve/2)
	}
	for _, x := range []*Account{b, a} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := root.Use(Memory); got != 0 {
		t.Errorf("%d bytes are left at the root", got)
	}
}

// A Take that comes while the account closes counts fully or not at all.
func TestCloseAgainstTake(t *testing.T) {
	root, _ := newTree(t, Spec{}, 1)
	for round := range 600 {
		a := child(t, root, Spec{Name: "a"})
		var wg sync.WaitGroup
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 200 {
					if err := a.Take(Memory, 7); err == nil {
						a.Return(Memory, 7)
					} else if !errors.Is(err, errs.Dead) {
						t.Error(err)
					}
				}
			}()
		}
		for a.Close() != nil {
		}
		if u := root.counters[Memory].use.Load(); u < 0 {
			t.Errorf("round %d: root uses %d", round, u)
		}
		wg.Wait()
		if u := a.counters[Memory].use.Load(); u != 0 || root.Use(Memory) != 0 {
			t.Fatalf("round %d: at the end the account has %d bytes, the root %d", round, u, root.Use(Memory))
		}
	}
}

func TestNegativeAndHugeAmounts(t *testing.T) {
	root, _ := newTree(t, Spec{Limit: Amounts{Frames: 100}}, 1)
	a := child(t, root, Spec{Name: "a"})
	m := a.Meter(0)
	if m.TryTake(Frames, -5) || m.Take(Frames, -5) == nil || a.Take(Frames, -5) == nil {
		t.Error("a negative amount was given")
	}
	m.Return(Frames, -5)
	a.Return(Frames, -5)
	const huge = 1<<63 - 1
	if m.TryTake(Frames, huge) || m.TryTake(Memory, huge) && m.TryTake(Memory, huge) {
		t.Error("more was given than there can be")
	}
	m.Fold()
	if u := a.Use(Frames); u != 0 {
		t.Errorf("%d frames are in use", u)
	}
}

// A share that is far above the siblings' does not stop time for them, however short the runs.
func TestHugeShareDoesNotStarve(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	big := child(t, root, Spec{Name: "big", Share: 1 << 24})
	small := child(t, root, Spec{Name: "small", Share: 1 << 14})
	for _, x := range []*Account{big, small} {
		s.Wake(s.NewEntity(x))
	}
	had := run(s, clk, 100_000, func(*Entity) time.Duration { return 100 * time.Nanosecond })
	within(t, "big:small", float64(had["node/big"])/float64(had["node/small"]), 1024, 0.1)
}

// A raised limit lets an account run that was set aside for ever.
func TestRaisedLimitResumes(t *testing.T) {
	root, clk := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	a := child(t, root, Spec{Name: "a", Limit: Amounts{CPU: Nothing}})
	e := s.NewEntity(a)
	s.Wake(e)
	if got, until := s.Pick(clk.Now()); got != nil || until != clock.Never {
		t.Fatalf("picked %v, until %v", got, until)
	}
	if err := a.SetLimit(CPU, Unlimited); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Pick(clk.Now()); got != e {
		t.Fatal("still set aside")
	}
}

// Work for others does not count twice where both stand below the same account.
func TestChargeForStopsAtTheCommonAccount(t *testing.T) {
	root, _ := newTree(t, Spec{}, 1)
	s := NewScheduler(root, 0)
	top := child(t, root, Spec{Name: "top"})
	by, to := s.NewEntity(child(t, top, Spec{Name: "by"})), s.NewEntity(child(t, top, Spec{Name: "to"}))
	s.Charge(by, time.Millisecond)
	before := s.root.groups[top].node.pass
	s.ChargeFor(to, by, time.Millisecond)
	if to.node.pass == 0 || to.node.parent.node.pass != by.node.parent.node.pass || s.root.groups[top].node.pass != before {
		t.Fatalf("leaf %d, its group %d and %d, common group %d and %d", to.node.pass, to.node.parent.node.pass, by.node.parent.node.pass,
			s.root.groups[top].node.pass, before)
	}
	before = to.node.pass
	s.ChargeFor(to, to, time.Millisecond)
	if to.node.pass != before {
		t.Fatal("a run was charged to itself twice")
	}
}

// Whatever is woken, put to sleep, throttled, added and removed: heaps stay heaps, who is awake and within its limit is
// reachable from the root, and nobody else is.
func TestSchedulerKeepsItsShape(t *testing.T) {
	for seed := range uint64(20) {
		rnd := clock.NewRand(seed, 2)
		root, clk := newTree(t, Spec{}, 1)
		s := NewScheduler(root, 0)
		accounts := []*Account{root}
		for i := range 12 {
			sp := Spec{Name: fmt.Sprint(i), Share: Share(rnd.IntN(1000) + 1), Window: 10 * time.Millisecond}
			switch rnd.IntN(4) {
			case 0:
				sp.Limit[CPU] = int64(time.Millisecond)
			case 1:
				sp.Reserve[CPU] = int64(100 * time.Microsecond)
			}
			c, err := accounts[rnd.IntN(len(accounts))].NewChild(sp)
			if err != nil {
				sp.Reserve[CPU] = 0 // its parent has none to give
				c = child(t, accounts[0], sp)
			}
			accounts = append(accounts, c)
		}
		awake := make(map[*Entity]bool)
		var list []*Entity
		for range 2500 {
			switch op := rnd.IntN(10); {
			case op == 0 && len(list) < 20:
				e := s.NewEntity(accounts[rnd.IntN(len(accounts))])
				list, awake[e] = append(list, e), false
			case op == 1 && len(list) > 0:
				i := rnd.IntN(len(list))
				s.Remove(list[i])
				delete(awake, list[i])
				list = append(list[:i], list[i+1:]...)
			case op < 4 && len(list) > 0:
				e := list[rnd.IntN(len(list))]
				s.Wake(e)
				awake[e] = true
			case op == 4 && len(list) > 0:
				e := list[rnd.IntN(len(list))]
				s.Sleep(e)
				awake[e] = false
			case op == 5:
				clk.Advance(time.Duration(rnd.IntN(3)) * time.Millisecond)
			default:
				e, until := s.Pick(clk.Now())
				if e == nil {
					for e, w := range awake {
						if w && !throttled(e, clk.Now()) {
							t.Fatalf("seed %d: nobody was picked, but %s is awake", seed, e.account.Path())
						}
					}
					if until <= clk.Now() {
						t.Fatalf("seed %d: nothing to run until %d, it is %d", seed, until, clk.Now())
					}
					continue
				}
				if !awake[e] || throttled(e, clk.Now()) {
					t.Fatalf("seed %d: picked %s: awake %v", seed, e.account.Path(), awake[e])
				}
				d := time.Duration(rnd.IntN(200)) * time.Microsecond
				s.Charge(e, d)
				e.account.Spend(CPU, int64(d))
				clk.Advance(d)
			}
			checkGroup(t, s.root)
			for e, w := range awake {
				if s.Runnable(e) != w {
					t.Fatalf("seed %d: %s awake %v, scheduler says %v", seed, e.account.Path(), w, !w)
				}
			}
		}
		for _, e := range list {
			s.Remove(e)
		}
		if len(s.root.groups)+len(s.root.heap)+len(s.root.reserved)+len(s.throttled) != 0 {
			t.Fatalf("seed %d: left %+v", seed, s.root)
		}
	}
}

func throttled(e *Entity, now clock.Time) bool {
	for g := e.node.parent; g != nil; g = g.node.parent {
		if g.until > now {
			return true
		}
	}
	return false
}

func checkGroup(t *testing.T, g *group) {
	t.Helper()
	for i, n := range g.heap {
		if n.index != i || n.parent != g || i > 0 && g.heap[(i-1)/2].pass > n.pass {
			t.Fatalf("%s: the heap is out of order at %d", g.account.Path(), i)
		}
		if n.group != nil && (len(n.group.heap) == 0 || n.group.until != 0) {
			t.Fatalf("%s: %s is runnable with nothing to run or while throttled", g.account.Path(), n.account.Path())
		}
	}
	for a, c := range g.groups {
		if c.node.index < 0 && len(c.heap) > 0 && c.until == 0 {
			t.Fatalf("%s: %s has work and does not stand in the heap", g.account.Path(), a.Path())
		}
		checkGroup(t, c)
	}
}
