package nodeos

import (
	"errors"
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
