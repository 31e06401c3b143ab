package vm

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// procRig is an engine with a class of processes.
type procRig struct {
	t     testing.TB
	e     *Engine
	class *Class
	root  *resctl.Account
	code  *Code
	n     atomic.Int32
	isos  []*Isolate
	accts []*resctl.Account
}

// told is what a process of testdata/process.c is told, as the data of its isolate.
type told struct {
	what uint32
	call func(in *Instance, arg uint32) // what host_call(1, arg) does
	bye  func() uint32
	byes atomic.Int32
}

func newProcRig(t testing.TB, mode Mode, processors int) *procRig {
	t.Helper()
	r := &procRig{t: t}
	var err error
	if r.e, err = NewEngine(EngineSpec{Mode: mode, Clock: clock.NewReal(), Processors: processors}); err != nil {
		t.Fatal(err)
	}
	if r.root, err = resctl.NewTree(resctl.Spec{Name: "node"}, clock.NewReal(), 1); err != nil {
		t.Fatal(err)
	}
	r.class, err = r.e.NewClass(ClassSpec{Name: "process", Process: true, Imports: processImports()})
	if err != nil {
		t.Fatal(err)
	}
	r.code = r.load("process")
	t.Cleanup(r.close)
	return r
}

func processImports() []HostFunc {
	return []HostFunc{{Module: "test", Name: "call", Params: 2, Result: true, Fuel: 10, Call: func(in *Instance, stack []uint64) {
		w := in.Isolate().Data().(*told)
		switch stack[0] {
		case 0:
			stack[0] = uint64(w.what)
		case 1:
			if w.call != nil {
				w.call(in, uint32(stack[1]))
			}
		case 2:
			w.byes.Add(1)
			stack[0] = 0
			if w.bye != nil {
				stack[0] = uint64(w.bye())
			}
		}
	}}}
}

func (r *procRig) load(name string) *Code {
	r.t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		r.t.Fatal(err)
	}
	code, err := r.e.Load(b, r.class, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

// isolate makes an isolate with an account of its own.
func (r *procRig) isolate(w *told, limit resctl.Amounts) *Isolate {
	r.t.Helper()
	acct, err := r.root.NewChild(resctl.Spec{Name: "p" + string(rune('a'+r.n.Load()/26%26)) + string(rune('a'+r.n.Load()%26)) + time.Duration(r.n.Add(1)).String(), Limit: limit})
	if err != nil {
		r.t.Fatal(err)
	}
	iso, err := r.e.NewIsolate(IsolateSpec{Name: acct.Name(), Account: acct, Data: w})
	if err != nil {
		r.t.Fatal(err)
	}
	r.isos, r.accts = append(r.isos, iso), append(r.accts, acct)
	return iso
}

func (r *procRig) close() {
	for _, i := range r.isos {
		if i.Halt(0); i.Status().State != New {
			<-i.Done()
		}
		if err := i.Close(); err != nil {
			r.t.Error(err)
		}
		if i.Memory() != 0 {
			r.t.Errorf("isolate %s holds %d bytes after its end", i.Name(), i.Memory())
		}
	}
	for _, a := range r.accts {
		if n := a.Use(resctl.Memory); n != 0 {
			r.t.Errorf("account %s holds %d bytes", a.Path(), n)
		}
		if err := a.Close(); err != nil {
			r.t.Error(err)
		}
	}
	r.code.Release()
	if s := r.e.Stats(); s.Isolates != 0 {
		r.t.Errorf("left over: %+v", s)
	}
	if err := r.e.Close(); err != nil {
		r.t.Error(err)
	}
	q := &r.e.procs
	if len(q.trees) != 0 || q.free != max(r.e.spec.Processors, 1) {
		r.t.Errorf("processors after everything ended: %d trees, %d free", len(q.trees), q.free)
	}
}

// end waits for the isolate's end.
func end(i *Isolate) Status {
	<-i.Done()
	return i.Status()
}

func TestProcessReturns(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newProcRig(t, m, 1)
		w := &told{what: 7}
		i := r.isolate(w, resctl.Amounts{})
		var events []Event
		i.Watch(func(e Event, _ Status) { events = append(events, e) })
		if s := i.Status(); s.State != New {
			t.Errorf("%+v", s)
		}
		if err := i.Start(r.code, StartSpec{}); err != nil {
			t.Fatal(err)
		}
		if s := end(i); s.Cause != ImplicitExit || s.Code != 7 || s.Err != nil {
			t.Errorf("%+v", s)
		}
		if w.byes.Load() != 1 {
			t.Errorf("%d goodbyes", w.byes.Load())
		}
		if err := i.Start(r.code, StartSpec{}); !errors.Is(err, errs.Dead) {
			t.Errorf("started after its end: %v", err)
		}
		if i.Memory() != 0 {
			t.Errorf("%d bytes after the end", i.Memory())
		}
		var late []Event
		i.Watch(func(e Event, _ Status) { late = append(late, e) })
		want := []Event{EventStarted, EventExiting, EventTerminated}
		if !slices.Equal(late, want) {
			t.Errorf("events asked for afterwards: %v", late)
		}
		acct := i.spec.Account
		if acct.Use(resctl.Fuel) == 0 || acct.Use(resctl.CPU) == 0 {
			t.Errorf("fuel %d, time %d", acct.Use(resctl.Fuel), acct.Use(resctl.CPU))
		}
	})
}

// TestQuantaDoNotShow: a computation has the same result and costs the same fuel whatever the quantum, and fuel that was taken and not used is returned.
func TestQuantaDoNotShow(t *testing.T) {
	var fuel int64
	for _, m := range modes {
		r := newProcRig(t, m, 1)
		var code int32
		for _, quantum := range []int64{1, 7, 100, 5000, DefaultQuantum, MaxQuantum} {
			i := r.isolate(&told{what: 4<<24 | 3000}, resctl.Amounts{})
			grants := 0
			if err := i.start(r.code, StartSpec{Quantum: quantum}, func() { grants++ }); err != nil {
				t.Fatal(err)
			}
			s := end(i)
			used := i.spec.Account.Use(resctl.Fuel)
			if fuel == 0 {
				fuel, code = used, s.Code
			}
			if s.Cause != ImplicitExit || s.Code != code && code != 0 || used != fuel || grants < int(fuel/max(quantum, 26)) { // a round of the loop is 25
				t.Errorf("%v, quantum %d: %+v, %d units of %d, %d quanta", m, quantum, s, used, fuel, grants)
			}
		}
	}
}

// TestProcessFaults: what ends a process for its own fault ends the isolate, and nothing is said.
func TestProcessFaults(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newProcRig(t, m, 1)
		for _, tc := range []struct {
			what   uint32
			spec   StartSpec
			limit  resctl.Amounts
			reason Reason
		}{
			{2 << 24, StartSpec{}, resctl.Amounts{}, OutOfStack},
			{3 << 24, StartSpec{}, resctl.Amounts{}, Unreachable},
			{1 << 24, StartSpec{Fuel: 300_000}, resctl.Amounts{}, OutOfFuel},
			{1 << 24, StartSpec{Time: time.Millisecond}, resctl.Amounts{}, OutOfFuel},
			{1 << 24, StartSpec{}, resctl.Amounts{resctl.Fuel: resctl.Nothing}, OutOfFuel},
		} {
			w := &told{what: tc.what}
			i := r.isolate(w, tc.limit)
			if err := i.Start(r.code, tc.spec); err != nil {
				t.Fatal(err)
			}
			s := end(i)
			var f *Fault
			if s.Cause != UncaughtTrap || !errors.As(s.Err, &f) || f.Reason != tc.reason || w.byes.Load() != 0 {
				t.Errorf("%#x: %+v, %d goodbyes", tc.what, s, w.byes.Load())
			}
			if used := i.spec.Account.Use(resctl.Fuel); tc.spec.Fuel > 0 && used != int64(tc.spec.Fuel) {
				t.Errorf("%d units of %d", used, tc.spec.Fuel)
			}
		}
		i := r.isolate(&told{what: 6 << 24}, resctl.Amounts{})
		if err := i.Start(r.code, StartSpec{}); err != nil {
			t.Fatal(err)
		}
		if s := end(i); s.Cause != ImplicitExit || s.Code != 4 {
			t.Errorf("with all its memory: %+v", s)
		}
	})
}

// TestFuelOfAWindow: where the account gives no more fuel in this window, the process waits for the next, and can be killed meanwhile.
func TestFuelOfAWindow(t *testing.T) {
	r := newProcRig(t, ModeCompiled, 1)
	acct, err := r.root.NewChild(resctl.Spec{Name: "slow", Limit: resctl.Amounts{resctl.Fuel: 100_000}, Window: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.accts = append(r.accts, acct)
	for _, what := range []uint32{4<<24 | 60_000, 1 << 24} {
		i, err := r.e.NewIsolate(IsolateSpec{Name: "slow", Account: acct, Data: &told{what: what}})
		if err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		waits := make(chan struct{})
		if err := i.start(r.code, StartSpec{Quantum: 60_000}, func() {
			if acct.Usage(resctl.Fuel).Drops > 1 {
				once.Do(func() { close(waits) })
			}
		}); err != nil {
			t.Fatal(err)
		}
		<-waits
		if what == 1<<24 {
			i.Kill(errs.Limit)
		}
		if s := end(i); (s.Cause == ByKill) != (what == 1<<24) {
			t.Errorf("%+v", s)
		}
	}
}

// TestKillAtEveryStep: whichever way a process is ended, at any of its quanta and any of its kernel calls, it ends once, with its kernel calls done, and everything goes
// back. The program is short; every step of it that can be told from the next is tried.
func TestKillAtEveryStep(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newProcRig(t, m, 1)
		const program = 7<<24 | 5
		ways := []struct {
			name  string
			act   func(i *Isolate)
			cause Cause
			bye   bool
		}{
			{"kill", func(i *Isolate) { i.Kill(errs.Permission) }, ByKill, false},
			{"halt", func(i *Isolate) { i.Halt(3) }, OtherHalt, false},
			{"exit", func(i *Isolate) { i.Exit(4) }, OtherExit, true},
			{"exit, halt", func(i *Isolate) { i.Exit(4); i.Halt(3) }, OtherHalt, false},
			{"halt, exit, kill", func(i *Isolate) { i.Halt(3); i.Exit(4); i.Kill(nil) }, OtherHalt, false},
			{"suspend, halt", func(i *Isolate) { i.Suspend(); i.Halt(3) }, OtherHalt, false},
		}
		steps := 0
		for _, way := range ways {
			for at := 0; ; at++ {
				step, entered, left := 0, 0, 0
				w := &told{what: program}
				i := r.isolate(w, resctl.Amounts{})
				do := func() {
					if step++; step == at+1 {
						way.act(i)
					}
				}
				w.call = func(*Instance, uint32) { entered++; do(); left++ }
				var events []Event
				i.Watch(func(e Event, _ Status) { events = append(events, e) })
				if err := i.start(r.code, StartSpec{Quantum: 1}, func() {
					if i.Status().State == Started {
						do()
					}
				}); err != nil {
					t.Fatal(err)
				}
				s := end(i)
				if entered != left || len(events) != 3 || i.Memory() != 0 {
					t.Fatalf("%s at step %d: %d kernel calls entered, %d left, events %v, %d bytes", way.name, at, entered, left, events, i.Memory())
				}
				if step <= at { // it had ended before
					if s.Cause != ImplicitExit || at < 20 {
						t.Fatalf("%s: %d steps only, %+v", way.name, at, s)
					}
					steps += at
					break
				}
				if s.Cause != way.cause || (w.byes.Load() == 1) != way.bye {
					t.Fatalf("%s at step %d: %+v, %d goodbyes", way.name, at, s, w.byes.Load())
				}
				if _, err := i.Instantiate(r.code); err == nil {
					t.Fatal("instantiated after the end")
				}
			}
		}
		t.Logf("%d steps", steps)
	})
}

// TestHaltDuringGoodbye: a process that does not end its goodbye is halted in it, and that is the cause then; without a halt, fuel ends it.
func TestHaltDuringGoodbye(t *testing.T) {
	r := newProcRig(t, ModeCompiled, 1)
	for _, halt := range []bool{false, true} {
		w := &told{what: 5}
		i := r.isolate(w, resctl.Amounts{})
		w.bye = func() uint32 {
			if s := i.Status(); s.State != Exiting || s.Cause != ImplicitExit {
				t.Errorf("%+v", s)
			}
			if halt {
				i.Halt(9)
			}
			return 1
		}
		if err := i.Start(r.code, StartSpec{}); err != nil {
			t.Fatal(err)
		}
		s := end(i)
		if want := (Status{State: Terminated, Cause: ImplicitExit, Code: 5}); !halt && s != want {
			t.Errorf("%+v", s)
		}
		if want := (Status{State: Terminated, Cause: OtherHalt, Code: 9}); halt && s != want {
			t.Errorf("%+v", s)
		}
		if used := i.spec.Account.Use(resctl.Fuel); !halt && (used < ExitFuel || used > ExitFuel+1000) {
			t.Errorf("%d units for a goodbye", used)
		}
	}
}

// TestSuspend: a suspended process does nothing until it is resumed, and its processor is others'.
func TestSuspend(t *testing.T) {
	r := newProcRig(t, ModeCompiled, 1)
	w := &told{what: 5 << 24}
	calls := make(chan uint32)
	w.call = func(in *Instance, n uint32) {
		if n == 3 {
			in.Isolate().Suspend()
		}
		if n < 10 {
			calls <- n
		}
	}
	i := r.isolate(w, resctl.Amounts{})
	if err := i.Start(r.code, StartSpec{}); err != nil {
		t.Fatal(err)
	}
	for n := range uint32(4) {
		if got := <-calls; got != n {
			t.Fatal(got, n)
		}
	}
	other := r.isolate(&told{what: 4<<24 | 100_000}, resctl.Amounts{})
	if err := other.Start(r.code, StartSpec{}); err != nil {
		t.Fatal(err)
	}
	end(other)
	select {
	case n := <-calls:
		t.Fatalf("call %d of a suspended process", n)
	default:
	}
	if s := i.Status(); !s.Suspended || s.State != Started {
		t.Errorf("%+v", s)
	}
	i.Resume()
	if got := <-calls; got != 4 {
		t.Errorf("after Resume: call %d", got)
	}
	i.Suspend()
	i.Halt(1)
	for done := false; !done; {
		select {
		case <-calls:
		case <-i.Done():
			done = true
		}
	}
	if s := i.Status(); s.Cause != OtherHalt {
		t.Errorf("%+v", s)
	}
}

// TestEndBeforeTheStart: an isolate that never started tells of its end only.
func TestEndBeforeTheStart(t *testing.T) {
	r := newProcRig(t, ModeInterpreter, 1)
	for _, act := range []func(i *Isolate){func(i *Isolate) { i.Halt(2) }, func(i *Isolate) { i.Exit(2) }, func(i *Isolate) { i.Kill(nil) }} {
		i := r.isolate(&told{}, resctl.Amounts{})
		var events []Event
		i.Watch(func(e Event, _ Status) { events = append(events, e) })
		act(i)
		i.Watch(func(e Event, _ Status) { events = append(events, e) })
		<-i.Done()
		if !slices.Equal(events, []Event{EventTerminated, EventTerminated}) {
			t.Errorf("%v", events)
		}
		if err := i.Start(r.code, StartSpec{}); !errors.Is(err, errs.Dead) {
			t.Error(err)
		}
	}
}

// stepping is a clock that moves by 5 microseconds whenever it is read, so that what is measured does not depend on what else the machine does.
type stepping struct{ now atomic.Int64 }

func (c *stepping) Now() clock.Time { return clock.Time(c.now.Add(5000)) }
func (c *stepping) Wall() time.Time { return time.Unix(0, c.now.Load()) }

// TestSharesOfProcesses: two processes that compute without end divide a processor as their accounts' shares say, and one that has had its limit of time
// waits.
func TestSharesOfProcesses(t *testing.T) {
	r := newProcRig(t, ModeCompiled, 1)
	r.e.spec.Clock = &stepping{}
	r.e.procs.clk = r.e.spec.Clock
	var isos []*Isolate
	var ta, tb int64
	begin, enough := make(chan struct{}), make(chan struct{})
	for n, share := range []resctl.Share{300, 100} {
		w := &told{what: 7<<24 | 0xffffff, call: func(in *Instance, n uint32) {
			if n == 0 {
				<-begin
			}
		}}
		i := r.isolate(w, resctl.Amounts{})
		i.spec.Account.SetShare(share)
		isos = append(isos, i)
		if err := i.start(r.code, StartSpec{Quantum: DefaultQuantum}, func() {
			if t := i.spec.Account.Use(resctl.CPU); n == 1 && ta == 0 && t > int64(10*time.Millisecond) {
				ta, tb = isos[0].spec.Account.Use(resctl.CPU), t // the other does not run meanwhile
				close(enough)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	for both := false; !both; runtime.Gosched() { // one of them has the processor and the other waits for it
		r.e.procs.mu.Lock()
		a, b := isos[0].life.proc, isos[1].life.proc
		both = (a.queued || a.running) && (b.queued || b.running)
		r.e.procs.mu.Unlock()
	}
	close(begin)
	<-enough
	for _, i := range isos {
		i.Kill(nil)
		end(i)
	}
	if ratio := float64(ta) / float64(tb); ratio < 2.5 || ratio > 3.5 {
		t.Errorf("ratio %.2f, want 3", ratio)
	}
	r = newProcRig(t, ModeCompiled, 1)
	slow := r.isolate(&told{what: 1 << 24}, resctl.Amounts{resctl.CPU: int64(time.Millisecond)})
	if err := slow.Start(r.code, StartSpec{}); err != nil {
		t.Fatal(err)
	}
	for slow.spec.Account.Usage(resctl.CPU).Drops == 0 {
		runtime.Gosched()
	}
	slow.Halt(0)
	end(slow)
}

// TestSpawnStorm: many isolates with processes that never end are made and killed by several goroutines at once, beside one that has to finish.
func TestSpawnStorm(t *testing.T) {
	r := newProcRig(t, ModeCompiled, 2)
	victim := r.isolate(&told{what: 4<<24 | 3_000_000}, resctl.Amounts{})
	if err := victim.Start(r.code, StartSpec{}); err != nil {
		t.Fatal(err)
	}
	storm, err := r.root.NewChild(resctl.Spec{Name: "storm", Limit: resctl.Amounts{resctl.Memory: 4 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	r.accts = append(r.accts, storm)
	var wg sync.WaitGroup
	var made, refused atomic.Int32
	for g := range 4 {
		wg.Go(func() {
			var live []*Isolate
			for n := range 150 {
				i, err := r.e.NewIsolate(IsolateSpec{Name: "storm", Account: storm, Data: &told{what: []uint32{1 << 24, 5 << 24, 2 << 24, 6 << 24}[n%4]}})
				if err != nil {
					t.Error(err)
					return
				}
				if err := i.Start(r.code, StartSpec{}); err == nil {
					made.Add(1)
				} else if errs.KindOf(err) != errs.Limit {
					t.Error(err)
				} else {
					refused.Add(1)
				}
				live = append(live, i)
				if n%(g+3) == 0 {
					for _, i := range live {
						i.Kill(nil)
					}
					for _, i := range live {
						end(i)
					}
					live = live[:0]
				}
			}
			for _, i := range live {
				i.Kill(nil)
				end(i)
			}
		})
	}
	wg.Wait()
	if s := end(victim); s.Cause != ImplicitExit {
		t.Errorf("the victim: %+v", s)
	}
	if u := storm.Usage(resctl.Memory); u.Use != 0 || u.Peak > u.Limit {
		t.Errorf("%+v", u)
	}
	t.Logf("%d started, %d refused", made.Load(), refused.Load())
}
