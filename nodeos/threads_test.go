package nodeos

import (
	"errors"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// A run above the domain's bound ends the domain with a reason that names task, time and bound; one at the bound does not.
func TestMaxRunEndsTheDomain(t *testing.T) {
	const bound = 100 * time.Microsecond
	for _, c := range []struct {
		fuel int64
		dies bool
	}{
		{int64(bound-VirtualNanosPerRun) / VirtualNanosPerFuel, false},
		{int64(bound-VirtualNanosPerRun)/VirtualNanosPerFuel + 1, true},
	} {
		r := stepped(t, resctl.Spec{})
		d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, MaxRun: bound})
		if err != nil {
			t.Fatal(err)
		}
		other := r.domain(r.node.Root(), resctl.Spec{Name: "other"}) // without a bound it may
		runs := 0
		for _, x := range []*Domain{d, other} {
			task, err := x.NewTask(TaskSpec{Name: "long", Worker: -1, Run: RunFunc(func(Budget) Used {
				runs++
				return Used{Fuel: c.fuel, Packets: 1}
			})})
			if err != nil {
				t.Fatal(err)
			}
			task.Wake()
			r.settle()
			task.Wake()
			r.settle()
		}
		if other.State() != Active {
			t.Fatalf("a domain without a bound ended: %v", other.Reason())
		}
		var over *RunOverrun
		if !c.dies {
			if d.State() != Active || runs != 4 {
				t.Errorf("a run at the bound: %v, %v, %d runs", d.State(), d.Reason(), runs)
			}
			continue
		}
		if d.State() != Dead || !errors.As(d.Reason(), &over) || runs != 3 {
			t.Fatalf("%v, %v, %d runs", d.State(), d.Reason(), runs)
		}
		if *over != (RunOverrun{Domain: "node/d", Task: "long", Took: bound + VirtualNanosPerFuel, Bound: bound}) || errs.KindOf(over) != errs.Limit || !errors.Is(over, errs.Limit) {
			t.Errorf("%+v", over)
		}
	}
}

// Timers are runs of the domain as well.
func TestMaxRunBoundsTimers(t *testing.T) {
	n, clk := measured(t)
	d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, MaxRun: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	timer := d.NewTimer(-1, func(clock.Time) { clk.Advance(2 * time.Millisecond) })
	d.Home().Call(func() { timer.Set(clk.Now()) })
	<-d.Done()
	var over *RunOverrun
	if !errors.As(d.Reason(), &over) || over.Task != "events" || over.Took != 2*time.Millisecond {
		t.Errorf("%v", d.Reason())
	}
}

// measured returns a node with a worker of its own whose clock moves only when a test moves it: what its runs take is
// measured, and known.
func measured(t *testing.T) (*Node, *clock.Virtual) {
	t.Helper()
	clk := clock.NewVirtual(time.Time{})
	n, err := NewNode(NodeSpec{Name: "t", Clock: clk, Packets: packet.PoolSpec{Frames: 64}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, clk
}

// Where there is a worker, a run is as long as the node's clock says, whatever the fuel.
func TestMaxRunIsMeasured(t *testing.T) {
	n, clk := measured(t)
	if n.Clock() != clock.Clock(clk) {
		t.Error("the node has another clock")
	}
	d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, MaxRun: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	task, err := d.NewTask(TaskSpec{Name: "slow", Worker: -1, Run: RunFunc(func(Budget) Used {
		if runs++; runs == 1 {
			clk.Advance(time.Millisecond)
			return Used{Fuel: 1 << 40, Next: More}
		}
		clk.Advance(3 * time.Millisecond)
		return Used{Next: More}
	})})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	<-d.Done()
	var over *RunOverrun
	if !errors.As(d.Reason(), &over) || over.Took != 3*time.Millisecond || runs != 2 {
		t.Errorf("%v after %d runs", d.Reason(), runs)
	}
}

// A child has its parent's bound, may have a smaller one, and none greater.
func TestMaxRunIsInherited(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, MaxRun: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		asked, want time.Duration
		kind        errs.Kind
	}{
		{0, time.Millisecond, errs.OK},
		{time.Microsecond, time.Microsecond, errs.OK},
		{time.Millisecond, time.Millisecond, errs.OK},
		{time.Millisecond + 1, 0, errs.Limit},
		{-1, 0, errs.Invalid},
	} {
		sub, err := d.NewDomain(DomainSpec{Account: resctl.Spec{Name: string(rune('a' + i))}, MaxRun: c.asked})
		if errs.KindOf(err) != c.kind {
			t.Errorf("%v: %v, want %v", c.asked, err, c.kind)
		} else if err == nil && sub.MaxRun() != c.want {
			t.Errorf("%v: bound %v, want %v", c.asked, sub.MaxRun(), c.want)
		}
	}
	if n := len(d.Account().Children()); n != 3 {
		t.Errorf("%d accounts", n)
	}
}

func TestRunStats(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	for i, fuel := range []int64{1000, 9000, 3000} {
		task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { return Used{Fuel: fuel, Packets: i} })})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
		r.settle()
		if s := task.Stats(); s.Runs != 1 || s.Longest != time.Duration(fuel*VirtualNanosPerFuel+VirtualNanosPerRun) || s.Longest != s.Time {
			t.Errorf("task %+v", s)
		}
		if i > 0 { // one stays
			task.Close()
		}
	}
	want := RunStats{
		Runs: 3, Packets: 3, Time: 13000*VirtualNanosPerFuel + 3*VirtualNanosPerRun,
		Longest: 9000*VirtualNanosPerFuel + VirtualNanosPerRun,
	}
	if s := d.RunStats(); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	// A run that closes its own task counts, and all of them when the domain is dead.
	var last *Task
	last, err := d.NewTask(TaskSpec{Name: "last", Worker: -1, Run: RunFunc(func(Budget) Used { last.Close(); return Used{Fuel: 10000, Packets: 2} })})
	if err != nil {
		t.Fatal(err)
	}
	last.Wake()
	d.NewTimer(-1, func(clock.Time) {}).Set(0)
	r.settle()
	want.Runs, want.Packets, want.Time = 5, 6, want.Time+10000*VirtualNanosPerFuel+2*VirtualNanosPerRun
	want.Longest = 10000*VirtualNanosPerFuel + VirtualNanosPerRun
	if s := d.RunStats(); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	if cpu := d.Account().Use(resctl.CPU); cpu != int64(want.Time) {
		t.Errorf("the account says %d ns, the runs %d", cpu, want.Time)
	}
	d.Terminate(nil)
	r.settle()
	if s := d.RunStats(); s != want {
		t.Errorf("dead: %+v, want %+v", s, want)
	}
}

// No more workers run a domain at once than it may have, as many as that do, and each gets its turn.
func TestMaxThreads(t *testing.T) {
	const workers = 4
	for _, most := range []int{1, 2, 3} {
		n := live(t, workers)
		d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, MaxThreads: most})
		if err != nil {
			t.Fatal(err)
		}
		var inside, together atomic.Int32
		var over atomic.Bool
		var runs [workers]atomic.Int32
		var left sync.WaitGroup
		left.Add(workers)
		for i := range workers {
			task, err := d.NewTask(TaskSpec{Name: "x", Worker: i, Run: RunFunc(func(Budget) Used {
				here := inside.Add(1)
				if here > int32(most) {
					over.Store(true)
				}
				// The first stay until there are as many as may at once, and all other workers wait for them.
				for together.Load() == 0 && !over.Load() {
					if inside.Load() == int32(most) && waiting(d) == workers-most {
						together.Store(1)
					}
					runtime.Gosched()
				}
				inside.Add(-1)
				switch r := runs[i].Add(1); {
				case r == 200:
					left.Done()
					return Used{}
				case r > 200:
					return Used{}
				}
				return Used{Next: More}
			})})
			if err != nil {
				t.Fatal(err)
			}
			task.Wake()
		}
		left.Wait()
		if over.Load() {
			t.Errorf("more than %d at once", most)
		}
		d.Terminate(nil)
		<-d.Done()
		if r := d.gate.running.Load(); r > int32(most) {
			t.Errorf("%d places taken", r)
		}
	}
}

// waiting returns how many workers wait to run a domain.
func waiting(d *Domain) (n int) {
	for i := range d.gate.waiting {
		n += bits.OnesCount64(d.gate.waiting[i].Load())
	}
	return n
}

// The bound can be changed while the domain runs, and everything goes on.
func TestSetMaxThreads(t *testing.T) {
	const workers = 3
	n := live(t, workers)
	d := domain(t, n.Root(), "d", 0)
	var inside, most, runs atomic.Int32
	var tasks [workers]*Task
	for i := range workers {
		var err error
		if tasks[i], err = d.NewTask(TaskSpec{Name: "x", Worker: i, Run: RunFunc(func(Budget) Used {
			here := inside.Add(1)
			for m := most.Load(); here > m && !most.CompareAndSwap(m, here); m = most.Load() {
			}
			runtime.Gosched()
			inside.Add(-1)
			runs.Add(1)
			return Used{Next: More}
		})}); err != nil {
			t.Fatal(err)
		}
		tasks[i].Wake()
	}
	quiet := func() { // what began before has ended, on each worker
		for i := range workers {
			n.Worker(i).Call(func() {})
		}
	}
	for _, bound := range []int{1, 0, 2, 1, 3, 1} {
		if err := d.SetMaxThreads(bound); err != nil || d.MaxThreads() != bound {
			t.Fatal(err)
		}
		quiet()
		most.Store(0)
		for start := runs.Load(); runs.Load() < start+300; {
			runtime.Gosched()
		}
		if m := most.Load(); bound > 0 && m > int32(bound) {
			t.Errorf("bound %d: %d at once", bound, m)
		}
	}
	for _, bad := range []int{-1, maxWorkers + 1} {
		if err := d.SetMaxThreads(bad); !errors.Is(err, errs.Invalid) {
			t.Errorf("%d: %v", bad, err)
		}
		if _, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}, MaxThreads: bad}); !errors.Is(err, errs.Invalid) {
			t.Errorf("%d: %v", bad, err)
		}
	}
	// Tasks that close while their worker waits for a place take none along.
	if err := d.SetMaxThreads(1); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 2} {
		n.Worker(i).Call(tasks[i].Close)
	}
	for start := runs.Load(); runs.Load() < start+100; {
		runtime.Gosched()
	}
}

// A new bound holds for the domain and for those below that had a greater one.
func TestSetMaxRun(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	make := func(parent *Domain, name string, bound time.Duration) *Domain {
		d, err := parent.NewDomain(DomainSpec{Account: resctl.Spec{Name: name}, MaxRun: bound})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := make(r.node.Root(), "d", 10*time.Millisecond)
	same, less := make(d, "same", 0), make(d, "less", time.Microsecond)
	below := make(same, "below", 5*time.Millisecond)
	if err := d.SetMaxRun(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for x, want := range map[*Domain]time.Duration{d: time.Millisecond, same: time.Millisecond, less: time.Microsecond, below: time.Millisecond} {
		if x.MaxRun() != want {
			t.Errorf("%s: %v, want %v", x.Path(), x.MaxRun(), want)
		}
	}
	if err := same.SetMaxRun(time.Second); !errors.Is(err, errs.Limit) {
		t.Errorf("above the parent's: %v", err)
	}
	if err := r.node.Root().SetMaxRun(time.Second); !errors.Is(err, errs.Permission) {
		t.Errorf("of the root: %v", err)
	}
	task, err := below.NewTask(TaskSpec{Name: "long", Worker: -1, Run: RunFunc(func(Budget) Used { return Used{Fuel: 2e6} })})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	r.settle()
	if below.State() != Dead || same.State() != Active {
		t.Errorf("%v, %v", below.State(), same.State())
	}
	if err := d.SetMaxRun(0); err != nil || d.MaxRun() != 0 {
		t.Errorf("%v, %v", err, d.MaxRun())
	}
}

// Shares of domains and pools change what they get from then on, and so do limits.
func TestSetShareAndLimit(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	p := r.pool(r.node.Root(), MemPoolSpec{Name: "p"})
	a, b, c := r.holder(r.node.Root(), nil, "a", 0), r.holder(r.node.Root(), nil, "b", 0), r.holder(r.node.Root(), p, "c", 0)
	runs := make(map[*Domain]int)
	for _, d := range []*Domain{a, b, c} {
		task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { runs[d]++; return Used{Next: More} })})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
	}
	for _, s := range []struct{ b, c resctl.Share }{{300, 200}, {50, 0}, {0, 400}} {
		if err := b.SetShare(s.b); err != nil {
			t.Fatal(err)
		}
		if err := p.SetShare(s.c); err != nil {
			t.Fatal(err)
		}
		r.node.Step()
		clear(runs)
		for range 300 {
			r.node.Step()
		}
		for d, share := range map[*Domain]resctl.Share{b: s.b, c: s.c} {
			if share == 0 {
				share = resctl.DefaultShare
			}
			want := float64(share) / float64(resctl.DefaultShare)
			if got := float64(runs[d]) / float64(runs[a]); got < 0.95*want || got > 1.05*want {
				t.Errorf("shares %+v: %s has %.2f of a, want %.2f", s, d.Name(), got, want)
			}
		}
	}
	if err := a.SetLimit(resctl.Memory, 10); err != nil {
		t.Fatal(err)
	}
	r.take(a, 11, false)
	r.take(a, 10, true)
	if err := a.SetLimit(resctl.NumResources, 10); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if err := a.SetLimit(resctl.CPU, resctl.Nothing); err != nil {
		t.Fatal(err)
	}
	before := runs[a]
	for range 10 {
		r.node.Step()
	}
	if runs[a] > before+1 || runs[b] == 0 {
		t.Errorf("without processor time %d runs more", runs[a]-before)
	}
}
