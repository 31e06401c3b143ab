package vm

import (
	"errors"
	"os"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

func TestMain(m *testing.M) { leak.Main(m) }

// rig is an engine, a class that offers route_next and neighbour, and an account.
type rig struct {
	t     testing.TB
	e     *Engine
	class *Class
	root  *resctl.Account
	acct  *resctl.Account
	iso   *Isolate
	codes []*Code
}

func newRig(t testing.TB, mode Mode, spec IsolateSpec) *rig {
	t.Helper()
	e, err := NewEngine(EngineSpec{Mode: mode, Clock: clock.NewReal()})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, e: e}
	r.class, err = e.NewClass(ClassSpec{Name: "capsule", Imports: testImports()})
	if err != nil {
		t.Fatal(err)
	}
	r.root, err = resctl.NewTree(resctl.Spec{Name: "node"}, clock.NewReal(), 1)
	if err != nil {
		t.Fatal(err)
	}
	r.acct, err = r.root.NewChild(resctl.Spec{Name: "guest", Limit: resctl.Amounts{resctl.Memory: 8 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	spec.Name, spec.Account = "test", r.acct
	if r.iso, err = e.NewIsolate(spec); err != nil {
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
	if s := r.e.Stats(); s.Codes != 0 || s.Isolates != 0 {
		// The compiler's queue may hold a code until the engine is closed.
		if s.Isolates != 0 || r.e.jobs == nil {
			r.t.Errorf("left over: %+v", s)
		}
	}
	if err := r.e.Close(); err != nil {
		r.t.Error(err)
	}
	if n := len(r.e.cache); n != 0 {
		r.t.Errorf("%d codes in the cache after Close", n)
	}
	if r.e.waiting != 0 {
		r.t.Errorf("%d bytes wait in pools after Close", r.e.waiting)
	}
}

func testImports() []HostFunc {
	var fns []HostFunc
	for _, c := range abi.Calls {
		fns = append(fns, HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel,
			Call: func(in *Instance, stack []uint64) {
				if in.Isolate().Data() != nil {
					in.Isolate().Data().(func(*Instance))(in)
				}
				stack[0] += 1000
			}})
	}
	return fns
}

func (r *rig) instance(name string) *Instance {
	r.t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		r.t.Fatal(err)
	}
	code, err := r.e.Load(b, r.class, r.acct)
	if err != nil {
		r.t.Fatal(err)
	}
	r.codes = append(r.codes, code)
	in, err := r.iso.Instantiate(code)
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

func call(window []byte) *Call {
	return &Call{In: abi.In{Node: 1, Src: 2, Dst: 3, Length: uint32(len(window)), Neighbours: 3}, Window: window}
}

var modes = []Mode{ModeInterpreter, ModeCompiled}

func eachMode(t *testing.T, fn func(t *testing.T, m Mode)) {
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) { fn(t, m) })
	}
}

func TestKeyedState(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		in := r.instance("count")
		if man := in.Code().Manifest(); man.Name != "count" || man.StateSize != 4 || man.KeyLen() != 4 || man.WindowMin != 8 {
			t.Fatalf("manifest %+v", man)
		}
		c := call([]byte{0, 0, 0, 7, 0, 0, 0, 0})
		var stored []byte
		for want := byte(1); want <= 3; want++ {
			c.State = stored
			v, err := in.Evaluate(r.acct.Meter(0), c)
			if err != nil || v != abi.Forward {
				t.Fatal(v, err)
			}
			if c.Out.StateAct != abi.StateWrite || c.Out.StateLifetime != 30 || c.Put[0] != want || c.Payload[7] != want {
				t.Fatalf("out %+v, put %v, payload %v", c.Out, c.Put, c.Payload)
			}
			stored = append(stored[:0], c.Put...)
		}
		r.acct.Meter(0).Fold()
		if used := r.acct.Use(resctl.Fuel); used == 0 || used != int64(3*c.Used) {
			t.Errorf("account has %d units of fuel, want three times %d", used, c.Used)
		}
		c.Window = c.Window[:4]
		if v, err := in.Evaluate(nil, c); err != nil || v != abi.Error {
			t.Errorf("a window below window_min gave %v, %v", v, err)
		}
	})
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		module string
		what   byte
		reason Reason
		kind   errs.Kind
	}{
		{"loop", 1, OutOfFuel, errs.OutOfFuel},
		{"loop", 2, OutOfStack, errs.Depth},
		{"loop", 3, OutOfFuel, errs.OutOfFuel},
		{"loop", 4, OutOfFuel, errs.OutOfFuel},
		{"hog", 2, Divide, errs.Trap},
		{"hog", 1, OutOfMemory, errs.Limit},
		{"hog", 3, Unreachable, errs.Trap},
		{"echo", 16, BadOutput, errs.Invalid},
		{"echo", 17, BadOutput, errs.Invalid},
		{"echo", 18, BadOutput, errs.Invalid},
		{"echo", 19, BadOutput, errs.Invalid},
		{"echo", 20, BadOutput, errs.Invalid},
	} {
		var used [2]uint64
		for i, m := range modes {
			r := newRig(t, m, IsolateSpec{})
			in := r.instance(tc.module)
			c := call([]byte{tc.what, 0, 0, 0, 0, 0, 0, 0})
			_, err := in.Evaluate(r.acct.Meter(0), c)
			var f *Fault
			if !errors.As(err, &f) || f.Reason != tc.reason || errs.KindOf(err) != tc.kind || !errors.Is(err, tc.kind) {
				t.Fatalf("%s %d %v: %v", tc.module, tc.what, m, err)
			}
			t.Logf("%v: %v", m, err)
			used[i] = c.Used
			if held := r.iso.Memory(); held != 0 {
				t.Errorf("%d bytes are held by a dead instance", held)
			}
			if f.Func < 0 && tc.reason != BadOutput {
				t.Errorf("%s %d %v: no place in %v", tc.module, tc.what, m, err)
			}
			// The next evaluation begins a new life.
			c.Window = []byte{0, 0, 0, 0, 0, 0, 0, 0}
			if _, err := in.Evaluate(r.acct.Meter(0), c); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			if in.Lives() != 2 {
				t.Errorf("%d lives", in.Lives())
			}
		}
		if used[0] != used[1] {
			t.Errorf("%s %d: interpreter used %d, compiler %d", tc.module, tc.what, used[0], used[1])
		}
	}
}

// TestOtherLanguages: the ABI is met by AssemblyScript and by the text format as it is by C.
func TestOtherLanguages(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		for _, name := range []string{"ping-as", "ping-wat"} {
			in := r.instance(name)
			if man := in.Code().Manifest(); man.Name != "ping" || man.WindowSize != 64 || man.WindowMin != 8 {
				t.Errorf("%s: %+v", name, man)
			}
			c := call(make([]byte, 8))
			if v, err := in.Evaluate(r.acct.Meter(0), c); err != nil || v != abi.Forward || c.Payload[4] != 1 {
				t.Errorf("%s: %v %v %v", name, v, err, c.Payload)
			}
			c.In.Node = c.In.Dst
			if v, err := in.Evaluate(r.acct.Meter(0), c); err != nil || v != abi.Deliver {
				t.Errorf("%s at its destination: %v %v", name, v, err)
			}
		}
	})
}
