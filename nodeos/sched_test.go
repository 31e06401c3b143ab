package nodeos

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// flood is a link on which packets never end.
type flood struct {
	*pipe
	frame    []byte
	received int
}

func (l *flood) Receive(c *packet.Cache, b *packet.Batch) bool {
	for b.Room() > 0 {
		p := c.AllocFrom(packet.Node, l.frame)
		if p == nil {
			break
		}
		b.Append(p)
		l.received++
	}
	return true
}

// Packets that come faster than they can be handled do not keep those who handle them from running.
func TestNoReceiveLivelock(t *testing.T) {
	for _, depth := range []int{1, 3} {
		r := stepped(t, resctl.Spec{})
		l := r.link("eth0")
		f := &flood{pipe: l, frame: udp(t, 7, "x")}
		r.node.links["eth0"].ports[0].port = f
		d := r.node.Root()
		for range depth {
			d = r.domain(d, resctl.Spec{Name: "d"})
		}
		// Beside it, in the same parent, somebody who never stops.
		hog := r.domain(d.Parent(), resctl.Spec{Name: "hog"})
		task, err := hog.NewTask(TaskSpec{Name: "hog", Worker: -1, Run: RunFunc(func(Budget) Used { return Used{Next: More} })})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
		handled := 0
		in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1, Handler: func(w *Worker, b *packet.Batch) {
			handled += b.Len()
			w.Cache().FreeBatch(b)
		}})
		if err != nil {
			t.Fatal(err)
		}
		l.rx.Wake()
		for range 15 {
			r.node.Step()
		}
		if handled < f.received/10 {
			t.Errorf("depth %d: %d packets received, %d handled, %+v", depth, f.received, handled, in.Stats())
		}
		// The work for it was charged to it all the same, beyond its own runs.
		var own time.Duration
		for _, s := range d.Tasks() {
			own += s.Time
		}
		if cpu := time.Duration(d.Account().Use(resctl.CPU)); cpu < own+time.Duration(f.received/packet.MaxBatch-1)*VirtualNanosPerRun {
			t.Errorf("depth %d: account %v, own runs %v, %d batches received", depth, cpu, own, f.received/packet.MaxBatch)
		}
	}
}

// Wakes from many goroutines are never lost: after each there is a run that began later.
func TestWakesAreNotLost(t *testing.T) {
	n := live(t, 2)
	d := domain(t, n.Root(), "d", 0)
	const wakers, rounds = 4, 2000
	var asked, seen [wakers]atomic.Int64
	answer := [wakers]chan struct{}{}
	for g := range answer {
		answer[g] = make(chan struct{}, 1)
	}
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: 1, Run: RunFunc(func(Budget) Used {
		for g := range wakers {
			if a := asked[g].Load(); a > seen[g].Load() {
				seen[g].Store(a)
				answer[g] <- struct{}{}
			}
		}
		return Used{}
	})})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range wakers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range rounds {
				asked[g].Store(int64(i + 1))
				task.Wake()
				<-answer[g]
			}
		}()
	}
	wg.Wait()
}

// A node with nothing to do does no turns.
func TestIdleNodeSleeps(t *testing.T) {
	n := live(t, 2)
	d := domain(t, n.Root(), "d", 0)
	w := n.Worker(0)
	var fired atomic.Int64
	done := make(chan struct{})
	w.Call(func() {
		var timer *Timer
		timer = d.NewTimer(-1, func(now clock.Time) {
			if fired.Add(1) == 20 {
				close(done)
				return
			}
			timer.Set(now.Add(time.Millisecond))
		})
		timer.Set(w.Now())
	})
	before := [2]uint64{n.Worker(0).Stats().Turns, n.Worker(1).Stats().Turns}
	<-done
	w.Call(func() {})
	// A turn when a timer fires, one that finds nothing left, and as many again where the kernel woke the worker early.
	if turns := n.Worker(0).Stats().Turns - before[0]; turns > 20*6 {
		t.Errorf("%d turns for 20 timers", turns)
	}
	if turns := n.Worker(1).Stats().Turns - before[1]; turns > 3 {
		t.Errorf("%d turns for nothing", turns)
	}
}

// Two runs of the same work under a virtual clock do the same in the same order.
func TestVirtualTimeIsDeterministic(t *testing.T) {
	play := func() (log []string) {
		r := stepped(t, resctl.Spec{})
		rnd := r.node.NewRand()
		for i := range 6 {
			name := string(rune('a' + i))
			spec := resctl.Spec{Name: name, Share: resctl.Share(100 + 50*i)}
			if i%2 == 1 {
				spec.Limit[resctl.CPU] = int64(2 * time.Microsecond)
				spec.Window = time.Millisecond
			}
			d := r.domain(r.node.Root(), spec)
			var task *Task
			task, err := d.NewTask(TaskSpec{Name: name, Worker: -1, Run: RunFunc(func(b Budget) Used {
				log = append(log, name)
				if rnd.IntN(3) == 0 {
					return Used{Next: IdleUntil, Until: b.Now.Add(time.Duration(rnd.IntN(1000)) * time.Microsecond)}
				}
				if rnd.IntN(10) == 0 {
					d.NewTimer(-1, func(clock.Time) { log = append(log, name+"!"); task.Wake() }).Set(b.Now.Add(time.Millisecond))
					return Used{}
				}
				return Used{Next: More, Fuel: int64(rnd.IntN(2000))}
			})})
			if err != nil {
				t.Fatal(err)
			}
			task.Wake()
		}
		r.until(clock.Time(20 * time.Millisecond))
		return log
	}
	a, b := play(), play()
	if len(a) < 100 || len(a) != len(b) {
		t.Fatalf("%d and %d entries", len(a), len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("entry %d: %s and %s", i, a[i], b[i])
		}
	}
}
