package bench

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func init() {
	register(Scenario{Name: "worker-gap", Tier: "memory", Driver: "mem", Title: "how long a worker does not turn, under garbage collection and changes of the control plane",
		Text: "A worker always has something to do: it forwards from one end of a link in memory to the other, and a task of the root domain notes the time of each turn. Time is cut into windows of ten milliseconds; the worst time between two turns of each is " +
			"its gap, and p50, p99 and the worst are over all windows of a round. 'quiet' is that alone; 'churn' has beside it a goroutine with 16 MB of pointers that makes garbage as fast as it can, and a control plane that makes and destroys a " +
			"domain with a channel again and again, which changes the program that demultiplexes each time. As in a node that runs by itself, the worker is urged (as root: nice -10; threads take turns of 100 us) and GOMAXPROCS is " +
			"workers plus 3; 'churn, usual' is the same as 'churn' with threads like all others and one for each processor. On two processors those are three busy threads beside the collector's. By the clock: what other processes take is in it.",
		Open: openGap})
}

const gapWindow = 10 * time.Millisecond

type gapTrial struct {
	env       *Env
	node      *nodeos.Node
	link, far nodeos.Link
	task      *nodeos.Task
	load      *nodeos.Task
	frame     []byte
	// On the worker.
	on         bool
	last, from time.Duration // of this turn, of this window
	worst      time.Duration // of this window
	gaps       []time.Duration
	turns      uint64
	got        uint64
	sent       uint64
}

func openGap(e *Env) (Trial, error) {
	t := &gapTrial{env: e, gaps: make([]time.Duration, 0, 1<<16)}
	var err error
	if t.node, err = nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed}); err != nil {
		return nil, err
	}
	if err := t.build(); err != nil {
		return nil, closeAfter(t, err)
	}
	return t, nil
}

func (t *gapTrial) build() error {
	var err error
	if t.link, t.far, err = openEnds(t.node, 1024); err != nil {
		return err
	}
	t.frame = frame64(toMAC, fromMAC, [4]byte{10, 0, 0, 2}, [4]byte{10, 0, 1, 2}, 1024, churnBase)
	d, err := t.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "load"}})
	if err != nil {
		return err
	}
	if _, err := d.NewInChan(nodeos.InChanSpec{Protocol: "m1/ether/ip/udp", Address: fmt.Sprintf(":%d", churnBase), Quota: 1024, Worker: -1,
		Handler: func(w *nodeos.Worker, b *packet.Batch) {
			t.got += uint64(b.Len())
			w.Cache().FreeBatch(b)
		}}); err != nil {
		return err
	}
	out, err := d.NewOutChan(nodeos.OutChanSpec{Protocol: "m0"})
	if err != nil {
		return err
	}
	var b packet.Batch
	if t.load, err = d.NewTask(nodeos.TaskSpec{Name: "generator", Worker: -1, Run: nodeos.RunFunc(func(u nodeos.Budget) nodeos.Used {
		if !t.on {
			return nodeos.Used{}
		}
		n := u.Worker.Cache().AllocBatch(d.Owner(), &b, 32)
		for _, p := range b.Packets() {
			copy(p.Put(len(t.frame)), t.frame)
		}
		t.sent += uint64(n)
		out.Send(u.Worker, &b)
		return nodeos.Used{Packets: n, Next: nodeos.More}
	})}); err != nil {
		return err
	}
	t.task, err = t.node.Root().NewTask(nodeos.TaskSpec{Name: "turns", Worker: -1, Run: nodeos.RunFunc(t.turn)})
	return err
}

// turn notes the time.
func (t *gapTrial) turn(nodeos.Budget) nodeos.Used {
	if !t.on {
		return nodeos.Used{}
	}
	now := time.Duration(t.env.Clock.Now())
	if t.turns > 0 {
		t.worst = max(t.worst, now-t.last)
	} else {
		t.from = now
	}
	t.turns++
	t.last = now
	if now-t.from >= gapWindow {
		if len(t.gaps) < cap(t.gaps) {
			t.gaps = append(t.gaps, t.worst)
		}
		t.worst, t.from = 0, now
	}
	return nodeos.Used{Next: nodeos.More}
}

// watch notes gaps while during runs, for at least span, and returns them sorted.
func (t *gapTrial) watch(span time.Duration, during func(stop func() bool) error) ([]time.Duration, error) {
	w := t.node.Worker(0)
	var turns, sent, got uint64
	if !w.Call(func() {
		t.on, t.turns, t.worst, t.gaps = true, 0, 0, t.gaps[:0]
		sent, got = t.sent, t.got
		t.task.Wake()
		t.load.Wake()
	}) {
		return nil, errs.New(errs.Dead, "the node has ended")
	}
	start := t.env.Clock.Now()
	err := during(func() bool { return t.env.Clock.Now().Sub(start) >= span || t.env.Context.Err() != nil })
	var gaps []time.Duration
	w.Call(func() {
		t.on = false
		gaps, turns = slices.Clone(t.gaps), t.turns
		sent, got = t.sent-sent, t.got-got
	})
	if err == nil {
		err = t.env.Context.Err()
	}
	if err != nil {
		return nil, err
	}
	if len(gaps) == 0 || turns < 2 || got == 0 {
		return nil, errs.New(errs.Internal, "%d windows, %d turns, %d of %d packets: the worker did not turn", len(gaps), turns, got, sent)
	}
	slices.Sort(gaps)
	return gaps, nil
}

// garbage is a tree that keeps the collector busy.
type garbage struct{ a, b *garbage }

func grow(depth int) *garbage {
	if depth == 0 {
		return nil
	}
	return &garbage{grow(depth - 1), grow(depth - 1)}
}

// churn disturbs the worker until stop, and returns how often it has collected and changed the control plane.
func (t *gapTrial) churn(stop func() bool) (collections uint32, changes int, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var end atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		live := grow(20) // a million pairs of pointers
		for !end.Load() {
			live.a = grow(16)
		}
		runtime.KeepAlive(live)
	})
	for i := 0; !stop() && err == nil; i++ {
		var d *nodeos.Domain
		if d, err = t.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprintf("d%d", i)}}); err != nil {
			break
		}
		_, err = d.NewInChan(nodeos.InChanSpec{Protocol: "m1/ether/ip/udp", Address: fmt.Sprintf(":%d", churnBase+1+i%64), Worker: -1})
		d.Terminate(errs.New(errs.Dead, "its time is over"))
		<-d.Done()
		changes++
	}
	end.Store(true)
	wg.Wait()
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC, changes, err
}

// Measure implements Trial.
func (t *gapTrial) Measure(r *Round) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(nodeos.Procs(1)))
	relax, err := t.node.Urge()
	if err != nil {
		r.Note("%v", err)
		relax = func() {}
	}
	defer func() { relax() }()
	span := max(10*t.env.Time, 5*gapWindow)
	add := func(name string, gaps []time.Duration) {
		n := len(gaps)
		us := func(d time.Duration) float64 { return float64(d) / 1e3 }
		r.Add(name+" gap p50", "us", us(gaps[n/2]))
		r.Add(name+" gap p99", "us", us(gaps[(n*99+99)/100-1]))
		r.Add(name+" gap worst", "us", us(gaps[n-1]))
	}
	gaps, err := t.watch(span, func(stop func() bool) error {
		for !stop() {
			pause(t.env, time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return err
	}
	add("quiet", gaps)
	var collections uint32
	var changes int
	gaps, err = t.watch(span, func(stop func() bool) (err error) {
		collections, changes, err = t.churn(stop)
		return err
	})
	if err != nil {
		return err
	}
	add("churn", gaps)
	r.Add("collections", "1/s", float64(collections)/span.Seconds())
	r.Add("domains and channels", "1/s", float64(changes)/span.Seconds())
	relax()
	relax = func() {}
	runtime.GOMAXPROCS(runtime.NumCPU())
	gaps, err = t.watch(span, func(stop func() bool) error {
		_, _, err := t.churn(stop)
		return err
	})
	if err != nil {
		return err
	}
	add("churn, usual", gaps)
	return nil
}

// Close implements Trial.
func (t *gapTrial) Close() error { return closeNode(t.node) }
