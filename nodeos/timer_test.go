package nodeos

import (
	"sort"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/resctl"
)

// A timer that fires, is set anew before its function's turn, and fires again, neither loses others nor runs twice.
func TestTimerFiresAgainBeforeItsTurn(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	w := r.node.Worker(0)
	ran := make(map[string]int)
	var list []*Timer
	for _, name := range []string{"a", "b", "c"} {
		list = append(list, d.NewTimer(-1, func(clock.Time) { ran[name]++ }))
	}
	for _, again := range []int{0, 1, 2} {
		for _, x := range list {
			w.fire(x)
		}
		list[again].Set(w.Now())
		w.fire(w.timers.pop(w.Now()))
		r.settle()
		for _, name := range []string{"a", "b", "c"} {
			if ran[name] != 1 {
				t.Errorf("ran %v when timer %d fired twice, want each once", ran, again)
				break
			}
		}
		clear(ran)
	}
	for i, x := range list {
		if x.Pending() {
			t.Errorf("timer %d is still pending", i)
		}
	}
}

// A function of a timer that ends its own domain is the last that runs.
func TestTimerEndsItsDomain(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	late := 0
	d.NewTimer(-1, func(clock.Time) { d.Terminate(nil) }).Set(1)
	d.NewTimer(-1, func(clock.Time) { late++ }).Set(1)
	r.until(2)
	if d.State() != Dead || late != 0 {
		t.Fatalf("%v, %d functions ran afterwards", d.State(), late)
	}
}

// A task that is woken before the time it waits for does not run at that time as well.
func TestWakeReplacesIdleUntil(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	runs := 0
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(b Budget) Used {
		if runs++; runs == 1 {
			return Used{Next: IdleUntil, Until: b.Now.Add(time.Second)}
		}
		return Used{}
	})})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	r.settle()
	task.Wake()
	r.until(clock.Time(2 * time.Second))
	if runs != 2 {
		t.Fatalf("%d runs, want 2", runs)
	}
}

// The heap gives timers back as a stable sort by time would, whatever was set anew and stopped in between.
func TestTimerHeapAgainstSort(t *testing.T) {
	for seed := range uint64(20) {
		rnd := clock.NewRand(seed, 4)
		var h timerHeap
		type set struct {
			t   *Timer
			at  clock.Time
			seq int
		}
		var timers [50]Timer
		plain := make(map[*Timer]set)
		seq := 0
		var now clock.Time
		for range 4000 {
			x := &timers[rnd.IntN(len(timers))]
			switch rnd.IntN(5) {
			case 0, 1, 2:
				at := now + clock.Time(rnd.IntN(100)) - 10
				h.set(x, at)
				seq++
				plain[x] = set{x, at, seq}
			case 3:
				h.stop(x)
				delete(plain, x)
			default:
				now += clock.Time(rnd.IntN(30))
				var due []set
				for _, s := range plain {
					if s.at <= now {
						due = append(due, s)
					}
				}
				sort.Slice(due, func(i, j int) bool {
					return due[i].at < due[j].at || due[i].at == due[j].at && due[i].seq < due[j].seq
				})
				for _, s := range due {
					if got := h.pop(now); got != s.t || got.At() != s.at || got.Pending() {
						t.Fatalf("seed %d: got %+v, want the one set for %d", seed, got, s.at)
					}
					delete(plain, s.t)
				}
				if got := h.pop(now); got != nil {
					t.Fatalf("seed %d: %+v is not due at %d", seed, got, now)
				}
			}
			next := clock.Never
			for _, s := range plain {
				next = min(next, s.at)
			}
			if h.next() != next || len(h.heap) != len(plain) {
				t.Fatalf("seed %d: next %d, want %d; %d timers, want %d", seed, h.next(), next, len(h.heap), len(plain))
			}
		}
	}
}
