package nodeos

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

func (r *rig) pool(d *Domain, spec MemPoolSpec) *MemPool {
	r.Helper()
	p, err := d.NewMemPool(spec)
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// holder makes a domain in a pool that gives back what it holds when it ends, as isolates do.
func (r *rig) holder(parent *Domain, p *MemPool, name string, share resctl.Share) *Domain {
	r.Helper()
	d, err := parent.NewDomain(DomainSpec{Account: resctl.Spec{Name: name, Share: share}, Pool: p})
	if err != nil {
		r.Fatal(err)
	}
	d.OnDestroy(func() { d.Account().Return(resctl.Memory, d.Account().Use(resctl.Memory)) })
	return d
}

func (r *rig) take(d *Domain, n int64, ok bool) {
	r.Helper()
	if err := d.Account().Take(resctl.Memory, n); (err == nil) != ok || err != nil && !errors.Is(err, errs.Limit) {
		r.Fatalf("%s takes %d: %v", d.Path(), n, err)
	}
}

func TestMemPoolIsShared(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	var needs []int64
	p, err := r.node.NewMemPool(MemPoolSpec{Name: "p", Limit: 100, OnPressure: func(need int64) { needs = append(needs, need) }})
	if err != nil {
		t.Fatal(err)
	}
	a, b := r.holder(r.node.Root(), p, "a", 0), r.holder(r.node.Root(), p, "b", 0)
	out := r.domain(r.node.Root(), resctl.Spec{Name: "out"})
	r.take(a, 60, true)
	r.take(b, 60, false)
	r.take(b, 70, false) // asked once
	r.take(out, 200, true)
	r.settle()
	if !slices.Equal(needs, []int64{20}) {
		t.Fatalf("the callback was asked for %v", needs)
	}
	a.Account().Return(resctl.Memory, 19)
	r.settle()
	if r.node.NextEvent() == clock.Never {
		t.Fatal("19 of 20 bytes stopped the deadline")
	}
	a.Account().Return(resctl.Memory, 1)
	r.settle()
	if r.node.NextEvent() != clock.Never {
		t.Fatal("the deadline runs on when the memory is back")
	}
	r.take(b, 60, true)
	r.until(clock.Time(2 * DefaultDeadline))
	if a.State() != Active || b.State() != Active {
		t.Fatalf("a %v, b %v", a.Reason(), b.Reason())
	}
	r.take(b, 1, false)
	r.settle()
	if s := p.Stats(); s.Use != 100 || s.Limit != 100 || s.Drops != 3 || s.Pressures != 2 || s.Ended != 0 || !slices.Equal(needs, []int64{20, 1}) {
		t.Errorf("%+v, asked for %v", s, needs)
	}
	if a.Path() != "node/p/a" || !slices.Equal(p.Domains(), []*Domain{a, b}) {
		t.Errorf("path %s, domains %v", a.Path(), p.Domains())
	}
	out.Account().Return(resctl.Memory, 200)
}

// What is not given back by the deadline costs all attached domains their lives, and nobody else.
func TestMemPoolDeadlineEndsTheDomains(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	asked := 0
	root := r.node.Root()
	whole := r.pool(root, MemPoolSpec{Name: "whole", Limit: 100, Deadline: 50 * time.Millisecond, OnPressure: func(int64) { asked++ }})
	part := r.pool(root, MemPoolSpec{Name: "part", Parent: whole})
	a, b := r.holder(root, whole, "a", 0), r.holder(root, part, "b", 0)
	below := r.domain(b, resctl.Spec{Name: "below"})
	out := r.domain(root, resctl.Spec{Name: "out"})
	r.take(a, 80, true)
	r.take(b, 30, false)
	r.until(clock.Time(50*time.Millisecond - 1))
	if asked != 1 || a.State() != Active {
		t.Fatalf("asked %d times, a is %v before the deadline", asked, a.State())
	}
	if err := part.Close(); !errors.Is(err, errs.Exists) {
		t.Fatalf("a pool in use was closed: %v", err)
	}
	r.until(clock.Time(50 * time.Millisecond))
	for _, d := range []*Domain{a, b, below} {
		if d.State() != Dead {
			t.Errorf("%s is %v", d.Path(), d.State())
		}
	}
	var over *PoolOverrun
	if !errors.As(b.Reason(), &over) || *over != (PoolOverrun{Pool: "node/whole", Need: 10, Deadline: 50 * time.Millisecond}) ||
		errs.KindOf(over) != errs.Limit || !errors.Is(over, errs.Limit) {
		t.Errorf("reason %v", b.Reason())
	}
	if s := whole.Stats(); s.Ended != 2 || s.Use != 0 || out.State() != Active {
		t.Errorf("%+v, out is %v", s, out.State())
	}
	if err := part.Close(); err != nil {
		t.Error(err)
	}
	if err := whole.Close(); err != nil {
		t.Error(err)
	}
	if r.pool(root, MemPoolSpec{Name: "whole"}).Close() != nil || whole.Close() != nil {
		t.Error("the name is not free")
	}
}

func TestMemPoolLoweredLimit(t *testing.T) {
	for _, how := range []string{"given back", "raised", "unlimited", "lowered again", "kept"} {
		r := stepped(t, resctl.Spec{})
		var needs []int64
		p := r.pool(r.node.Root(), MemPoolSpec{Name: "p", Limit: 100, Deadline: time.Millisecond, OnPressure: func(n int64) { needs = append(needs, n) }})
		d := r.holder(r.node.Root(), p, "d", 0)
		set := func(n int64) {
			if err := p.SetLimit(n); err != nil {
				t.Fatal(err)
			}
		}
		r.take(d, 90, true)
		set(90)
		r.settle()
		if len(needs) != 0 {
			t.Fatal("a limit at the use was a pressure")
		}
		set(50)
		r.settle()
		if !slices.Equal(needs, []int64{40}) {
			t.Fatalf("asked for %v", needs)
		}
		dies := false
		switch how {
		case "given back":
			d.Account().Return(resctl.Memory, 40)
		case "raised":
			set(90)
		case "unlimited":
			set(resctl.Unlimited)
		case "lowered again":
			set(20)
			d.Account().Return(resctl.Memory, 40)
			dies = true
		case "kept":
			dies = true
		}
		r.until(clock.Time(time.Second))
		if (d.State() == Dead) != dies {
			t.Errorf("%s: %v, %v", how, d.State(), d.Reason())
		}
	}
	r := stepped(t, resctl.Spec{})
	if err := r.pool(r.node.Root(), MemPoolSpec{Name: "p"}).SetLimit(-5); !errors.Is(err, errs.Invalid) {
		t.Errorf("limit -5: %v", err)
	}
}

// Without a callback a pool is a plain limit, and no callback can help a request that is above the whole limit.
func TestMemPoolWithoutPressure(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	plain := r.pool(r.node.Root(), MemPoolSpec{Name: "plain", Limit: 100})
	asks := r.pool(r.node.Root(), MemPoolSpec{Name: "asks", Limit: 100, OnPressure: func(int64) { t.Error("asked for what cannot help") }})
	a, b := r.holder(r.node.Root(), plain, "a", 0), r.holder(r.node.Root(), asks, "b", 0)
	r.take(a, 80, true)
	r.take(a, 30, false)
	r.take(b, 80, true)
	r.take(b, 101, false)
	r.until(clock.Time(time.Minute))
	if a.State() != Active || b.State() != Active {
		t.Fatalf("a %v, b %v", a.Reason(), b.Reason())
	}
	if err := plain.SetLimit(10); err != nil {
		t.Fatal(err)
	}
	r.until(clock.Time(2 * time.Minute))
	if a.State() != Dead {
		t.Error("use above a lowered limit was kept")
	}
}

func TestMemPoolOfAnotherDomainIsRefused(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	root := r.node.Root()
	d := r.domain(root, resctl.Spec{Name: "d", Limit: resctl.Amounts{resctl.Memory: 50}})
	p, q := r.pool(root, MemPoolSpec{Name: "p"}), r.pool(d, MemPoolSpec{Name: "q", Limit: 100})
	for _, c := range []struct {
		name string
		made func() error
		kind errs.Kind
	}{
		{"pool of above", func() error {
			_, err := d.NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}, Pool: p})
			return err
		}, errs.Invalid},
		{"pool of below", func() error {
			_, err := root.NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}, Pool: q})
			return err
		}, errs.Invalid},
		{"parent of below", func() error { _, err := root.NewMemPool(MemPoolSpec{Name: "x", Parent: q}); return err }, errs.Invalid},
		{"negative deadline", func() error { _, err := root.NewMemPool(MemPoolSpec{Name: "x", Deadline: -1}); return err }, errs.Invalid},
		{"negative limit", func() error { _, err := root.NewMemPool(MemPoolSpec{Name: "x", Limit: -2}); return err }, errs.Invalid},
		{"name of a domain", func() error { _, err := root.NewMemPool(MemPoolSpec{Name: "d"}); return err }, errs.Exists},
		{"name beside the pool", func() error {
			_, err := root.NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Pool: p})
			return err
		}, errs.Exists},
	} {
		if err := c.made(); errs.KindOf(err) != c.kind {
			t.Errorf("%s: %v, want %v", c.name, err, c.kind)
		}
	}
	// No pool takes a domain out of the limits above it.
	sub := r.holder(d, q, "sub", 0)
	r.take(sub, 60, false)
	r.take(sub, 50, true)
	// And it ends with its domain.
	d.Terminate(nil)
	r.settle()
	if d.State() != Dead || d.Reason() != nil || !q.Account().Closed() {
		t.Errorf("%v, %v, pool closed %v", d.State(), d.Reason(), q.Account().Closed())
	}
	if _, err := d.NewMemPool(MemPoolSpec{Name: "late"}); !errors.Is(err, errs.Dead) {
		t.Errorf("a dead domain made a pool: %v", err)
	}
}

func TestMemPoolShare(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	p := r.pool(r.node.Root(), MemPoolSpec{Name: "p", Share: 300})
	runs := make(map[string]int)
	for _, d := range []*Domain{r.holder(r.node.Root(), p, "a", 100), r.holder(r.node.Root(), p, "b", 200), r.holder(r.node.Root(), nil, "c", 100)} {
		task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { runs[d.Name()]++; return Used{Next: More} })})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
	}
	for range 400 {
		r.node.Step()
	}
	for name, want := range map[string]float64{"a": 1, "b": 2} {
		if got := float64(runs[name]) / float64(runs["c"]); got < 0.95*want || got > 1.05*want {
			t.Errorf("%s has %.2f of c, want %.0f", name, got, want)
		}
	}
}

// Many goroutines take and return while limits move and domains end: nothing is lost count of.
func TestMemPoolUnderChurn(t *testing.T) {
	n := live(t, 2)
	var p *MemPool
	var asked atomic.Int64
	p, err := n.NewMemPool(MemPoolSpec{Name: "p", Limit: 1000, Deadline: time.Hour, OnPressure: func(int64) { asked.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var wg sync.WaitGroup
		for i := range 4 {
			d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: string(rune('a' + i))}, Worker: i % 2, Pool: p})
			if err != nil {
				t.Fatal(err)
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				for j := range int64(200) {
					if size := 100 + j; d.Account().Take(resctl.Memory, size*2) == nil {
						d.Account().Return(resctl.Memory, size*2)
					}
				}
				d.Terminate(nil)
				<-d.Done()
				if d.Reason() != nil {
					t.Error(d.Reason())
				}
			}()
		}
		for i := range int64(20) {
			if err := p.SetLimit(700 + 20*i); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if u := n.Root().Account().Use(resctl.Memory); u != 0 {
		t.Errorf("%d bytes are left", u)
	}
	if s := p.Stats(); s.Ended != 0 || uint64(asked.Load()) > s.Pressures {
		t.Errorf("%+v, asked %d", s, asked.Load())
	}
}
