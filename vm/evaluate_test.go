package vm

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

func TestOutputs(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		in := r.instance("echo")
		run := func(window []byte, length int) (*Call, abi.Verdict) {
			t.Helper()
			c := call(window)
			c.In.Length = uint32(length)
			v, err := in.Evaluate(r.acct.Meter(0), c)
			if err != nil {
				t.Fatal(err)
			}
			return c, v
		}
		w := make([]byte, 64)
		w[0] = 1
		c, v := run(w, 64)
		if v != abi.Forward || c.Out.Dst != 2 || c.Out.Length != 64 || !bytes.Equal(c.Payload, w) || c.Out.NumOutputs != 0 || c.Put != nil {
			t.Errorf("sent back: %v %+v", v, c.Out)
		}
		w[0] = 2
		if c, v = run(w, 64); v != abi.Forward || c.Out.NumOutputs != 3 || c.Out.Outputs[2] != (abi.Output{To: 102}) {
			t.Errorf("copies: %v %+v", v, c.Out)
		}
		w[0] = 3
		c, v = run(w, 64)
		if e := &c.Out.Emits[0]; v != abi.Drop || c.Out.NumEmits != 1 || e.Class != 2 || e.Dst != 2 || string(in.EmitBytes(e)) != "hello" {
			t.Errorf("emit: %v %+v", v, c.Out)
		}
		w[0] = 4
		if c, v = run(w, 64); v != abi.Forward || c.Out.Length != 65 || len(c.Payload) != 65 || c.Payload[64] != '!' {
			t.Errorf("grown: %v %+v", v, c.Out)
		}
		// What the guest cannot see it can keep or cut off, but not extend.
		long := make([]byte, 2000)
		long[0] = 1
		if c, v = run(long, 2000); v != abi.Forward || c.In.Captured != 1500 || c.Out.Length != 2000 || len(c.Payload) != 1500 {
			t.Errorf("with a tail: %v %+v, %d visible", v, c.Out, len(c.Payload))
		}
		long[0] = 5
		if c, v = run(long, 2000); v != abi.Forward || c.Out.Length != 8 || len(c.Payload) != 8 {
			t.Errorf("cut: %v %+v", v, c.Out)
		}
		c = call(long[:1000])
		c.In.Length, c.Window[0] = 2000, 4
		if _, err := in.Evaluate(nil, c); !errors.Is(err, errs.Invalid) {
			t.Errorf("a capsule that is only partly visible was grown: %v", err)
		}
		w[0] = 6
		if c, v = run(w, 64); v != abi.Forward || c.Out.Dst != 1003 {
			t.Errorf("host call: %v %+v", v, c.Out)
		}
		if c, v = run(make([]byte, 64), 64); v != abi.Punt {
			t.Errorf("punt: %v", v)
		}
		c = call(w)
		c.In.Length = 10
		if _, err := in.Evaluate(nil, c); !errors.Is(err, errs.Invalid) {
			t.Errorf("a window longer than the capsule: %v", err)
		}
		c = call(w)
		c.State = []byte{1}
		if _, err := in.Evaluate(nil, c); !errors.Is(err, errs.Invalid) {
			t.Errorf("state for a class without state: %v", err)
		}
	})
}

func TestEvaluateAllocatesNothing(t *testing.T) {
	r := newRig(t, ModeCompiled, IsolateSpec{})
	echo, count := r.instance("echo"), r.instance("count")
	meter := r.acct.Meter(0)
	for _, what := range []byte{1, 2, 3, 4, 6, 8} {
		c := call(bytes.Repeat([]byte{what}, 1400))
		if n := testing.AllocsPerRun(200, func() {
			if _, err := echo.Evaluate(meter, c); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("echo %d: %v allocations", what, n)
		}
	}
	c := call(make([]byte, 8))
	c.State = make([]byte, 4)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := count.Evaluate(meter, c); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("count: %v allocations", n)
	}
}

// TestBudget: a budget is exact, comes from the account, and what is not used goes back.
func TestBudget(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		in := r.instance("count")
		meter := r.acct.Meter(0)
		c := call(make([]byte, 8))
		if _, err := in.Evaluate(meter, c); err != nil {
			t.Fatal(err)
		}
		need := c.Used
		c.Budget = need
		if _, err := in.Evaluate(meter, c); err != nil || c.Used != need {
			t.Errorf("with exactly %d: %v, used %d", need, err, c.Used)
		}
		c.Budget = need - 1
		if _, err := in.Evaluate(meter, c); !errors.Is(err, errs.OutOfFuel) || c.Used != need-1 {
			t.Errorf("with one unit less: %v, used %d", err, c.Used)
		}
		meter.Fold()
		if got := r.acct.Use(resctl.Fuel); got != int64(3*need-1) {
			t.Errorf("account has %d, want %d", got, 3*need-1)
		}
		if err := r.acct.SetLimit(resctl.Fuel, int64(3*need)); err != nil {
			t.Fatal(err)
		}
		c.Budget = need
		if _, err := in.Evaluate(meter, c); !errors.Is(err, errs.Limit) || c.Used != 0 {
			t.Errorf("above the account's limit: %v, used %d", err, c.Used)
		}
	})
}

func TestMemoryLimits(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{Memory: 5<<16 + 64<<10})
		in := r.instance("hog")
		fixed := r.iso.Memory() - 1<<16
		c := call(make([]byte, 4))
		v, err := in.Evaluate(r.acct.Meter(0), c)
		want := (r.iso.spec.Memory - fixed) >> 16
		if err != nil || v != abi.Deliver || int64(c.Payload[3]) != want {
			t.Fatalf("%v %v: %v pages, want %d", v, err, c.Payload, want)
		}
		if got := r.iso.Memory(); got != fixed+want<<16 {
			t.Errorf("%d bytes held for %d pages", got, want)
		}
		code := r.e.codeCharge(in.code.entry.mod)
		if got := r.acct.Use(resctl.Memory); got != r.iso.Memory()+code {
			t.Errorf("account has %d, the isolate holds %d and code %d", got, r.iso.Memory(), code)
		}
		c.Window[0] = 1
		_, err = in.Evaluate(r.acct.Meter(0), c)
		var f *Fault
		if !errors.As(err, &f) || f.Reason != OutOfMemory || !errors.Is(err, errs.Limit) {
			t.Errorf("trap after a refused growth: %v", err)
		}
		// The account's own limit does the same, and refuses new instances.
		r.iso.spec.Memory = 0
		if err := r.acct.SetLimit(resctl.Memory, code+fixed+3<<16); err != nil {
			t.Fatal(err)
		}
		c.Window[0] = 0
		if _, err := in.Evaluate(r.acct.Meter(0), c); err != nil || c.Payload[3] != 3 {
			t.Errorf("under the account's limit: %v, %v pages", err, c.Payload)
		}
		if _, err := r.iso.Instantiate(in.code); !errors.Is(err, errs.Limit) {
			t.Errorf("an instance above the limit: %v", err)
		}
		if got := r.acct.Usage(resctl.Memory); got.Use > got.Limit || got.Drops == 0 {
			t.Errorf("usage %+v", got)
		}
	})
}

// TestKill: a kill that comes during a host call waits until the call is done, and then
// nothing of the evaluation is seen.
func TestKill(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		finished := false
		reason := errs.New(errs.Permission, "operator said so")
		r := newRig(t, m, IsolateSpec{Data: func(in *Instance) {
			var wg sync.WaitGroup
			wg.Go(func() { in.Isolate().Kill(reason) })
			wg.Wait()
			if err := in.Isolate().Close(); !errors.Is(err, errs.WouldBlock) {
				t.Errorf("isolate closed from inside: %v", err)
			}
			if err := in.Close(); !errors.Is(err, errs.WouldBlock) {
				t.Errorf("instance closed from inside: %v", err)
			}
			if _, err := in.Evaluate(nil, call(make([]byte, 8))); !errors.Is(err, errs.Dead) {
				t.Errorf("evaluation inside an evaluation: %v", err)
			}
			finished = true
		}})
		in := r.instance("echo")
		c := call([]byte{6, 0, 0, 0, 0, 0, 0, 0})
		_, err := in.Evaluate(r.acct.Meter(0), c)
		var f *Fault
		if !finished || !errors.As(err, &f) || f.Reason != Killed || !errors.Is(err, errs.Dead) || !errors.Is(err, reason) {
			t.Fatalf("finished %v: %v", finished, err)
		}
		if _, err = in.Evaluate(nil, c); !errors.As(err, &f) || f.Reason != Killed || c.Used != 0 {
			t.Errorf("after the kill: %v", err)
		}
		if _, err := r.iso.Instantiate(in.code); !errors.Is(err, errs.Dead) {
			t.Errorf("instance in a killed isolate: %v", err)
		}
	})
}

func TestHostPanicIsContained(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{Data: func(in *Instance) {
			var none []int
			_ = none[len(in.iso.Name())]
		}})
		in := r.instance("echo")
		_, err := in.Evaluate(nil, call([]byte{6, 0, 0, 0, 0, 0, 0, 0}))
		var f *Fault
		if !errors.As(err, &f) || f.Reason != HostError || bytes.Contains([]byte(err.Error()), []byte("goroutine")) {
			t.Fatal(err)
		}
	})
}

// TestMoveToCompiler: hot code moves to the compiler with its memory, and the guest does not notice.
func TestMoveToCompiler(t *testing.T) {
	e, err := NewEngine(EngineSpec{HotAfter: 5, Clock: clock.NewReal()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Compiler(); err != nil {
		t.Skip(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, ModeAuto, IsolateSpec{})
	r.e.spec.HotAfter = 5
	in := r.instance("echo")
	other := r.instance("count")
	c := call([]byte{7, 0, 0, 0, 0, 0, 0, 0})
	var used uint64
	last := byte(0)
	for i := 0; in.tier != compiled || i < 20; i++ {
		if _, err := in.Evaluate(r.acct.Meter(0), c); err != nil {
			t.Fatal(err)
		}
		if last++; c.Payload[7] != last || used != 0 && c.Used != used {
			t.Fatalf("evaluation %d counted %d, used %d after %d", last, c.Payload[7], c.Used, used)
		}
		used = c.Used
		c.Window[0] = 7
	}
	if !in.code.Compiled() || other.code.Compiled() || r.e.Stats().Compiled != 1 || in.Lives() != 1 {
		t.Errorf("compiled %v and %v, %+v, %d lives", in.code.Compiled(), other.code.Compiled(), r.e.Stats(), in.Lives())
	}
}

func TestFresh(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{Fresh: true})
		in := r.instance("echo")
		for range 3 {
			c := call([]byte{7, 0, 0, 0, 0, 0, 0, 0})
			if _, err := in.Evaluate(r.acct.Meter(0), c); err != nil || c.Payload[7] != 1 {
				t.Fatal(err, c.Payload)
			}
		}
	})
}

// TestManyIsolates: isolates that share code run side by side.
func TestManyIsolates(t *testing.T) {
	for _, m := range []Mode{ModeAuto, ModeCompiled} {
		r := newRig(t, m, IsolateSpec{})
		first := r.instance("count")
		var wg sync.WaitGroup
		for k := range 4 {
			iso, err := r.e.NewIsolate(IsolateSpec{Account: r.acct})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer func() {
					if err := iso.Close(); err != nil {
						t.Error(err)
					}
				}()
				in, err := iso.Instantiate(first.code)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 400 {
					c := call([]byte{0, 0, 0, byte(k), 0, 0, 0, 0})
					c.State = []byte{byte(i), 0, 0, 0}
					if _, err := in.Evaluate(nil, c); err != nil || c.Put[0] != byte(i)+1 {
						t.Error(err, c.Put)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestDeclaredMaximum: a guest gets the memory that it declared and not a page more, at once or one by one.
func TestDeclaredMaximum(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		in := r.instance("hog")
		for range 2 {
			c := call(make([]byte, 4))
			if v, err := in.Evaluate(r.acct.Meter(0), c); err != nil || v != abi.Deliver || c.Payload[3] != 16 || in.mem.n != 1<<20 || len(in.mem.buf) != 1<<20 {
				t.Errorf("%v %v: %v pages, %d of %d bytes", v, err, c.Payload, in.mem.n, len(in.mem.buf))
			}
		}
	})
}
