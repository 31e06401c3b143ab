package jail

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

func TestMain(m *testing.M) {
	enterNode()    // a node that is going to be killed
	enterHostile() // a worker of one of the attacks
	Enter()
	leak.Main(m)
}

// rig is an engine with one class inside and one in a jail, and an account that pays.
type rig struct {
	t       testing.TB
	j       *Jail
	e       *vm.Engine
	inside  *vm.Class
	outside *vm.Class
	acct    *resctl.Account
	iso     *vm.Isolate
	codes   []*vm.Code
	served  func() // counts host calls
}

func newRig(t testing.TB, spec Spec) *rig {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "test"
	}
	if spec.Hang == 0 {
		spec.Hang = time.Minute // the machine may be busy
	}
	r := &rig{t: t, served: func() {}}
	var err error
	if r.j, err = New(spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.j.Close(); err != nil {
			t.Error(err)
		}
	})
	if r.e, err = vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: clock.NewReal()}); err != nil {
		t.Fatal(err)
	}
	if r.inside, err = r.e.NewClass(vm.ClassSpec{Name: "capsule", Imports: imports()}); err == nil {
		r.outside, err = r.e.NewClass(vm.ClassSpec{Name: "capsule", Imports: imports(), Outside: r.j})
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := resctl.NewTree(resctl.Spec{Name: "node"}, clock.NewReal(), 1)
	if err == nil {
		r.acct, err = root.NewChild(resctl.Spec{Name: "guest", Limit: resctl.Amounts{resctl.Memory: 32 << 20}})
	}
	if err == nil {
		r.iso, err = r.e.NewIsolate(vm.IsolateSpec{Name: "test", Account: r.acct, Data: r})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// close checks that everything goes back where it came from.
func (r *rig) close() {
	if err := r.iso.Close(); err != nil {
		r.t.Error(err)
	}
	for _, c := range r.codes {
		c.Release()
	}
	if n := r.acct.Use(resctl.Memory); n != 0 {
		r.t.Errorf("%d bytes are still charged after everything was closed", n)
	}
	if err := r.e.Close(); err != nil {
		r.t.Error(err)
	}
}

// imports are the calls of the ABI.
func imports() []vm.HostFunc {
	spans := map[string][]vm.Span{
		"state_get": {{Addr: 0, Len: 1, Max: abi.KeyMax}, {Addr: 2, Len: 3, Max: abi.StateMax, Write: true}},
		"state_put": {{Addr: 0, Len: 1, Max: abi.KeyMax}, {Addr: 2, Len: 3, Max: abi.StateMax}},
		"log":       {{Addr: 0, Len: 1, Max: abi.LogMax}},
	}
	var fns []vm.HostFunc
	for _, c := range abi.Calls {
		fns = append(fns, vm.HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Spans: spans[c.Name],
			Call: func(in *vm.Instance, stack []uint64) { answer(in, c.Name, stack) }})
	}
	return fns
}

// answer is what the calls do: state_get answers with the key backwards, state_put with a sum, log does nothing, the others add to their argument.
func answer(in *vm.Instance, name string, s []uint64) {
	in.Isolate().Data().(*rig).served()
	refused := uint64(uint32(1<<32 - uint64(errs.Invalid)))
	read := func(k int, most uint32) ([]byte, bool) {
		return in.Memory(uint32(s[k]), min(uint32(s[k+1]), most))
	}
	switch name {
	case "state_get":
		key, ok := read(0, abi.KeyMax)
		if !ok {
			s[0] = refused
			return
		}
		n := min(uint32(s[3]), uint32(len(key)))
		v, ok := in.Memory(uint32(s[2]), n)
		if !ok {
			s[0] = refused
			return
		}
		for k := range v {
			v[k] = ^key[len(key)-1-k]
		}
		s[0] = uint64(n)
	case "state_put":
		key, ok := read(0, abi.KeyMax)
		value, also := read(2, abi.StateMax)
		if !ok || !also {
			s[0] = refused
			return
		}
		s[0] = s[4]
		for _, b := range key {
			s[0] += uint64(b)
		}
		for _, b := range value {
			s[0] += uint64(b)
		}
	case "log":
	default:
		s[0] += 1000
	}
}

func (r *rig) load(class *vm.Class, name string) (*vm.Code, error) {
	r.t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		b, err = os.ReadFile("../testdata/" + name + ".wasm")
	}
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.e.Load(b, class, r.acct)
	if err == nil {
		r.codes = append(r.codes, c)
	}
	return c, err
}

func (r *rig) instance(class *vm.Class, name string) *vm.Instance {
	r.t.Helper()
	code, err := r.load(class, name)
	if err != nil {
		r.t.Fatal(err)
	}
	in, err := r.iso.Instantiate(code)
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

func call(window []byte) *vm.Call {
	return &vm.Call{In: abi.In{Node: 1, Src: 2, Dst: 3, Length: uint32(len(window)), Neighbours: 3}, Window: window}
}

// outcome is what is compared between inside and outside.
type outcome struct {
	v       abi.Verdict
	used    uint64
	out     abi.Out
	payload []byte
	put     []byte
	emits   [][]byte
	fault   vm.Fault
	text    string
	kind    errs.Kind
}

func outcomeOf(in *vm.Instance, c *vm.Call, v abi.Verdict, err error) outcome {
	o := outcome{used: c.Used, kind: errs.KindOf(err)}
	if err != nil {
		var f *vm.Fault
		if errors.As(err, &f) {
			o.fault = *f
			o.fault.Err = nil
			if f.Err != nil {
				o.text = f.Err.Error()
			}
		}
		return o
	}
	o.v = v
	o.out.Dst, o.out.Length, o.out.StateAct, o.out.StateLifetime = c.Out.Dst, c.Out.Length, c.Out.StateAct, c.Out.StateLifetime
	o.out.NumOutputs, o.out.NumEmits = c.Out.NumOutputs, c.Out.NumEmits
	copy(o.out.Outputs[:c.Out.NumOutputs], c.Out.Outputs[:])
	o.payload, o.put = bytes.Clone(c.Payload), bytes.Clone(c.Put)
	for i := range c.Out.Emits[:c.Out.NumEmits] {
		e := c.Out.Emits[i]
		o.emits = append(o.emits, bytes.Clone(in.EmitBytes(&e)))
		e.Offset = 0 // where it is is no part of what it means
		o.out.Emits[i] = e
	}
	return o
}

func TestSealed(t *testing.T) {
	r := newRig(t, Spec{Mode: vm.ModeInterpreter})
	s := r.j.Status()
	if !s.Alive || s.PID == 0 || s.Starts != 1 || s.Deaths != 0 || s.Sealed == nil {
		t.Fatalf("%+v", s)
	}
	if x := s.Sealed; x.Root != "empty" || len(x.Namespaces) < 5 || x.User != cmp.Or(os.Geteuid(), nobody) || x.Calls != len(Calls(false)) || len(x.Missing) > 0 {
		t.Errorf("%+v", x)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && !strings.Contains(string(status), "\nGroups:\t \n") {
		t.Errorf("it is in groups: %s", status)
	}
	for _, want := range []string{fmt.Sprintf("\nUid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", s.Sealed.User), "\nCapEff:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n", "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("no %q in %s", want, status)
		}
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", s.PID, task.Name()))
		if err != nil || !strings.Contains(string(b), "\nSeccomp:\t2\n") || !strings.Contains(string(b), "\nCapEff:\t0000000000000000\n") {
			t.Errorf("thread %s: %v, %s", task.Name(), err, b)
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		what, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", s.PID, fd.Name()))
		if fd.Name() == "2" && strings.HasPrefix(what, "pipe:") {
			continue
		}
		if err != nil || what != "anon_inode:[eventfd]" && what != "anon_inode:[eventpoll]" {
			t.Errorf("descriptor %s is %s, %v", fd.Name(), what, err)
		}
	}
}

// TestSame runs the same evaluations inside, outside one at a time, and outside in batches.
func TestSame(t *testing.T) {
	r := newRig(t, Spec{})
	q, err := r.j.Queue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if err := r.iso.Close(); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var served atomic.Int64
	r.served = func() { served.Add(1) }
	// What a guest keeps between evaluations is not to make a difference.
	if r.iso, err = r.e.NewIsolate(vm.IsolateSpec{Name: "fresh", Account: r.acct, Data: r, Fresh: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"echo", "count", "hog", "loop", "asks"} {
		in, out := r.instance(r.inside, name), r.instance(r.outside, name)
		size := int(in.Code().Manifest().WindowSize)
		for k := range 300 {
			w := make([]byte, rnd.IntN(size+40))
			for i := range w {
				w[i] = byte(rnd.Uint32())
			}
			if len(w) > 0 {
				w[0] = byte(k % 22)
			}
			if name == "asks" && len(w) >= 24 {
				for i, n := range []uint32{0, uint32(rnd.IntN(40)), 0, uint32(rnd.IntN(80))} {
					if rnd.IntN(4) == 0 {
						n = []uint32{65530, 1 << 20, ^uint32(0), 1 << 31, 0}[rnd.IntN(5)]
					}
					binary.LittleEndian.PutUint32(w[4+4*i:], n)
				}
				w[0] = byte(k % 5)
			}
			c := call(w)
			c.In.Length += uint32(rnd.IntN(2) * 100)
			c.In.Random, c.In.TimeNS, c.In.Credit, c.In.TTL = rnd.Uint64(), rnd.Uint64(), 9, 8
			c.Budget = uint64(rnd.IntN(3000))
			if n := int(in.Code().Manifest().StateSize); n > 0 && k%3 > 0 {
				c.State = make([]byte, n)
				c.State[0] = byte(k)
			}
			meter := r.acct.Meter(0)
			v, err := in.Evaluate(meter, c)
			want := outcomeOf(in, c, v, err)
			calls := served.Swap(0)
			v, err = out.Evaluate(meter, c)
			if got := outcomeOf(out, c, v, err); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s %d, window %x:\ninside  %+v\noutside %+v", name, k, w, want, got)
			}
			if n := served.Swap(0); n != calls {
				t.Fatalf("%s %d: %d host calls outside, %d inside", name, k, n, calls)
			}
			ticket, v, err := q.Submit(out, meter, c, 0)
			if err == nil && v == abi.Drop {
				for {
					if err := q.Wait(time.Minute); err != nil {
						t.Fatal(err)
					}
					if d, ok := q.Collect(c); ok {
						if v, err = d.Verdict, d.Err; d.Ticket != ticket {
							t.Fatalf("ticket %d, want %d", d.Ticket, ticket)
						}
						break
					}
				}
			}
			if got := outcomeOf(out, c, v, err); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s %d in a batch:\ninside  %+v\noutside %+v", name, k, want, got)
			}
			served.Store(0)
		}
	}
}

// TestStateContinues has the evaluations of a batch find what those before them left, with faults between them.
func TestStateContinues(t *testing.T) {
	r := newRig(t, Spec{})
	in := r.instance(r.outside, "count")
	q, err := r.j.Queue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	c, res := call(make([]byte, 8)), new(vm.Call)
	state, count := []byte{100, 0, 0, 0}, uint32(100)
	for round := range 3 {
		size := MaxBatch - round // so that the rounds begin in different slots
		c.State = state
		var last Ticket
		for k := range size {
			c.Budget = 0
			if k%5 == 4 {
				c.Budget = 1 // ends before it has done anything
			}
			if last, _, err = q.Submit(in, nil, c, last); err != nil {
				t.Fatal(err)
			}
			c.State = []byte{9, 9, 9, 9} // does not count
		}
		if _, _, err := q.Submit(in, nil, c, last); size == MaxBatch && !errors.Is(err, errs.WouldBlock) {
			t.Errorf("more than the ring holds: %v", err)
		} else if err == nil {
			size++
		}
		for k := 0; k < size; {
			d, ok := q.Collect(res)
			if !ok {
				if err := q.Wait(time.Minute); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if k++; k%5 == 0 && k < size {
				if !errors.Is(d.Err, errs.OutOfFuel) {
					t.Fatalf("round %d, %d: %v", round, k, d.Err)
				}
				continue
			}
			count++
			if d.Err != nil && k < size || d.Err == nil && binary.LittleEndian.Uint32(res.Put) != count {
				t.Fatalf("round %d, %d: state %x, want %d, %v", round, k, res.Put, count, d.Err)
			}
			if d.Err != nil {
				count--
			} else {
				state = append(state[:0], res.Put...)
			}
		}
	}
	// One that was collected does not count any more.
	c.State, c.Budget = []byte{7, 0, 0, 0}, 0
	if _, _, err := q.Submit(in, nil, c, 1); err != nil {
		t.Fatal(err)
	}
	for q.Flush(); ; _ = q.Wait(time.Minute) {
		if d, ok := q.Collect(res); ok {
			if d.Err != nil || binary.LittleEndian.Uint32(res.Put) != 8 {
				t.Errorf("state %x, %v", res.Put, d.Err)
			}
			break
		}
	}
}

// TestRestart: after a death codes and instances are dead, and others can be made in the next worker.
func TestRestart(t *testing.T) {
	died := make(chan error, 10)
	r := newRig(t, Spec{OnDeath: func(err error) { died <- err }})
	for k := range 3 {
		in := r.instance(r.outside, "echo")
		if v, err := in.Evaluate(nil, call(numbered(1))); err != nil || v != abi.Forward {
			t.Fatal(v, err)
		}
		p := r.j.p.Load()
		p.kill(errors.New("a test wants it"))
		if _, err := in.Evaluate(nil, call(numbered(1))); !errors.Is(err, errs.Dead) || !strings.Contains(err.Error(), "a test wants it") {
			t.Errorf("in a dead worker: %v", err)
		}
		if err := <-died; !strings.Contains(err.Error(), "a test wants it") {
			t.Error(err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		// Until the next one is there, loading says why.
		for {
			code, err := r.load(r.outside, "echo")
			if err == nil {
				_ = code
				break
			}
			if !errors.Is(err, errs.Dead) {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
		if s := r.j.Status(); s.Deaths != uint64(k+1) || s.Starts != uint64(k+2) || !s.Alive || !strings.Contains(s.Last, "a test wants it") {
			t.Errorf("%+v", s)
		}
	}
}

func TestAccounts(t *testing.T) {
	r := newRig(t, Spec{})
	in := r.instance(r.outside, "hog")
	info := in.Code().Info()
	if got := r.iso.Memory(); got < info.MemoryMax {
		t.Errorf("an instance that may have %d bytes is charged %d", info.MemoryMax, got)
	}
	small, err := r.e.NewIsolate(vm.IsolateSpec{Name: "small", Memory: info.MemoryMax / 2})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if _, err := small.Instantiate(in.Code()); !errors.Is(err, errs.Limit) {
		t.Errorf("more than the isolate may have: %v", err)
	}
	meter := r.acct.Meter(0)
	c := call(numbered(0))
	if _, err := in.Evaluate(meter, c); err != nil {
		t.Fatal(err)
	}
	meter.Fold()
	if got := r.acct.Use(resctl.Fuel); got != int64(c.Used) || got == 0 {
		t.Errorf("%d units of fuel are charged, %d were used", got, c.Used)
	}
	r.iso.Suspend()
	if _, err := in.Evaluate(meter, c); !errors.Is(err, errs.WouldBlock) {
		t.Errorf("suspended: %v", err)
	}
	r.iso.Resume()
	r.iso.Kill(errors.New("a reason"))
	var f *vm.Fault
	if _, err := in.Evaluate(meter, c); !errors.As(err, &f) || f.Reason != vm.Killed {
		t.Errorf("killed: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, s := range []Spec{{}, {Name: "a b"}, {Name: strings.Repeat("a", 33)}, {Name: "a", Memory: 1}, {Name: "a", Hang: 1}, {Name: "a", Window: 1 << 20}, {Name: "a", Queues: 100}, {Name: "a", Mode: 9}} {
		if _, err := New(s); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	r := newRig(t, Spec{Window: 64})
	if _, err := r.load(r.outside, "echo"); !errors.Is(err, errs.Refused) {
		t.Errorf("a window larger than the jail's: %v", err)
	}
	if _, err := r.e.Load([]byte("no module at all"), r.outside, r.acct); !errors.Is(err, errs.Refused) && !errors.Is(err, errs.Invalid) {
		t.Errorf("a module that is none: %v", err)
	}
	q, err := r.j.Queue()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.j.Queue(); !errors.Is(err, errs.Limit) {
		t.Errorf("too many queues: %v", err)
	}
	if err := r.j.Close(); !errors.Is(err, errs.Exists) {
		t.Errorf("closed with a queue: %v", err)
	}
	in := r.instance(r.inside, "echo")
	if _, _, err := q.Submit(in, nil, call(numbered(1)), 0); !errors.Is(err, errs.Invalid) {
		t.Errorf("an instance that is not in the jail: %v", err)
	}
	q.Close()
	q.Close()
	if _, err := r.e.NewClass(vm.ClassSpec{Name: "process", Process: true, Outside: r.j}); !errors.Is(err, errs.NotSupported) {
		t.Errorf("processes: %v", err)
	}
}

// TestNoAllocation pins the way of a batch to no allocation.
func TestNoAllocation(t *testing.T) {
	r := newRig(t, Spec{})
	in := r.instance(r.outside, "count")
	q, err := r.j.Queue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	c, res, meter := call(make([]byte, 64)), new(vm.Call), r.acct.Meter(0)
	c.State = make([]byte, 4)
	if n := testing.AllocsPerRun(100, func() {
		for range 64 {
			if _, _, err := q.Submit(in, meter, c, 0); err != nil {
				t.Fatal(err)
			}
		}
		for q.Flush(); q.Pending() > 0; {
			if d, ok := q.Collect(res); !ok {
				_ = q.Wait(time.Minute)
			} else if d.Err != nil {
				t.Fatal(d.Err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations in a batch", n)
	}
}

// TestCloseInTheMiddle closes a queue with evaluations, and host calls, under way: the process goes on, and the lane is used again.
func TestCloseInTheMiddle(t *testing.T) {
	r := newRig(t, Spec{})
	asks, echo := r.instance(r.outside, "asks"), r.instance(r.outside, "echo")
	meter := r.acct.Meter(0)
	w := numbered(1)
	w[8], w[16] = 4, 4
	for k := range 20 {
		var q *Queue
		for q == nil { // the lane is free when what was under way has ended
			var err error
			if q, err = r.j.Queue(); err != nil && !errors.Is(err, errs.Limit) {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
		for range 30 + k {
			if _, v, err := q.Submit(asks, meter, call(w), 0); v != abi.Drop || err != nil {
				t.Fatal(v, err)
			}
		}
		if k%2 == 0 {
			q.Flush()
		}
		q.Close()
		if v, err := echo.Evaluate(meter, call(numbered(1))); v != abi.Forward || err != nil {
			t.Fatal(v, err)
		}
	}
	if s := r.j.Status(); s.Deaths != 0 || !s.Alive {
		t.Errorf("%+v", s)
	}
}

// envNode has the test's binary be a node with a jail.
const envNode = "JANOS_JAIL_TEST_NODE"

// enterNode is that node: it tells the number of its worker and waits to be killed.
func enterNode() {
	if os.Getenv(envNode) == "" {
		return
	}
	Enter()
	j, err := New(Spec{Name: "orphan"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(j.Status().PID)
	select {}
}

// TestWorkerDiesWithItsNode kills a node that has no chance to end its worker.
func TestWorkerDiesWithItsNode(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envNode+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, aerr := strconv.Atoi(strings.TrimSpace(line))
	kerr := cmd.Process.Kill()
	_ = cmd.Wait()
	if err := errors.Join(err, aerr, kerr); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	for until := time.Now().Add(time.Minute); ; runtime.Gosched() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || !strings.Contains(string(b), command) { // gone, or nobody has waited for it yet
			return
		}
		if time.Now().After(until) {
			t.Fatalf("worker %d outlives its node", pid)
		}
	}
}

// TestChurn loads, evaluates and gives up codes, in several goroutines, until the worker has collected garbage, compiled and grown many times.
func TestChurn(t *testing.T) {
	r := newRig(t, Spec{Queues: 3})
	raw, err := os.ReadFile("../testdata/count.wasm")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, []byte("count\x00"))
	if at < 0 {
		t.Fatal("the module does not have its name")
	}
	var serial atomic.Uint32
	errc := make(chan error)
	work := func() error {
		q, err := r.j.Queue()
		if err != nil {
			return err
		}
		defer q.Close()
		res := new(vm.Call)
		for range 40 {
			mod := bytes.Clone(raw)
			copy(mod[at:], fmt.Sprintf("%05x", serial.Add(1))) // another name makes it another module
			code, err := r.e.Load(mod, r.outside, nil)
			if err != nil {
				return err
			}
			iso, err := r.e.NewIsolate(vm.IsolateSpec{Name: "churn", Data: r})
			if err != nil {
				return err
			}
			in, err := iso.Instantiate(code)
			if err != nil {
				return err
			}
			code.Release()
			for range 10 {
				for range 60 {
					if _, _, err := q.Submit(in, nil, call(make([]byte, 64)), 0); err != nil {
						return err
					}
				}
				for q.Flush(); q.Pending() > 0; {
					if d, ok := q.Collect(res); !ok {
						_ = q.Wait(time.Minute)
					} else if d.Err != nil {
						return d.Err
					}
				}
			}
			if err := iso.Close(); err != nil {
				return err
			}
		}
		return nil
	}
	for range 3 {
		go func() { errc <- work() }()
	}
	for range 3 {
		if err := <-errc; err != nil {
			t.Error(err)
		}
	}
	if s := r.j.Status(); s.Deaths != 0 || !s.Alive {
		t.Errorf("%+v", s)
	}
}

// TestCost: the worker's processor time is told to the queue that it worked for, and is not more than there was.
func TestCost(t *testing.T) {
	r := newRig(t, Spec{Queues: 2})
	in := r.instance(r.outside, "loop")
	var qs [2]*Queue
	for k := range qs {
		var err error
		if qs[k], err = r.j.Queue(); err != nil {
			t.Fatal(err)
		}
		defer qs[k].Close()
	}
	busy, idle := qs[0], qs[1]
	c, res := call(numbered(1)), new(vm.Call)
	c.Budget = 1 << 20
	var cost time.Duration
	for until := time.Now().Add(time.Minute); cost == 0 && time.Now().Before(until); cost += busy.Cost() {
		if _, _, err := busy.Submit(in, nil, c, 0); err != nil {
			t.Fatal(err)
		}
		for busy.Flush(); busy.Pending() > 0; {
			if _, ok := busy.Collect(res); !ok {
				_ = busy.Wait(time.Minute)
			}
		}
	}
	if all := time.Duration(r.j.Status().CPU); cost == 0 || cost > all {
		t.Errorf("%s were told, of %s", cost, all)
	}
	if d := idle.Cost(); d != 0 {
		t.Errorf("%s for a queue that did nothing", d)
	}
}
