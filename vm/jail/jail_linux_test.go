package jail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
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
}

func newRig(t testing.TB, spec Spec) *rig {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "test"
	}
	if spec.Hang == 0 {
		spec.Hang = time.Minute // the machine may be busy
	}
	r := &rig{t: t}
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
		r.iso, err = r.e.NewIsolate(vm.IsolateSpec{Name: "test", Account: r.acct})
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

// imports are the calls of the ABI: state_get answers with the key reversed, log appends to what the isolate has.
func imports() []vm.HostFunc {
	spans := map[string][]vm.Span{
		"state_get": {{Addr: 0, Len: 1, Max: abi.KeyMax}, {Addr: 2, Len: 3, Max: abi.StateMax, Write: true}},
		"state_put": {{Addr: 0, Len: 1, Max: abi.KeyMax}, {Addr: 2, Len: 3, Max: abi.StateMax}},
		"log":       {{Addr: 0, Len: 1, Max: abi.LogMax}},
	}
	var fns []vm.HostFunc
	for _, c := range abi.Calls {
		fns = append(fns, vm.HostFunc{Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Spans: spans[c.Name],
			Call: func(_ *vm.Instance, stack []uint64) { stack[0] += 1000 }})
	}
	return fns
}

func (r *rig) load(class *vm.Class, name string) (*vm.Code, error) {
	r.t.Helper()
	b, err := os.ReadFile("../testdata/" + name + ".wasm")
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
	o := outcome{v: v, used: c.Used, kind: errs.KindOf(err)}
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
	r := newRig(t, Spec{})
	s := r.j.Status()
	t.Logf("%+v %+v", s, s.Sealed)
	if !s.Alive || s.Sealed == nil || s.Sealed.Root != "empty" || s.Sealed.Calls < 10 || len(s.Sealed.Missing) > 0 {
		t.Errorf("%+v", s)
	}
	in := r.instance(r.outside, "echo")
	w := make([]byte, 64)
	binary.LittleEndian.PutUint32(w, 1)
	c := call(w)
	v, err := in.Evaluate(r.acct.Meter(0), c)
	t.Log(v, err, c.Out.Dst, c.Used)
}
