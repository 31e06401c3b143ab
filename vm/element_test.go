package vm

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi/elem"
)

// element makes the element of testdata/element_acts.c.
func (r *rig) element(args ...string) (*Element, error) {
	r.t.Helper()
	class, err := r.e.NewClass(ClassSpec{Name: "element", Element: true})
	if err != nil {
		r.t.Fatal(err)
	}
	mod, err := os.ReadFile("testdata/element_acts.wasm")
	if err != nil {
		r.t.Fatal(err)
	}
	code, err := r.e.Load(mod, class, r.acct)
	if err != nil {
		r.t.Fatal(err)
	}
	r.codes = append(r.codes, code)
	return r.iso.NewElement(code, args, 20_000)
}

func pass(p *Pass, data ...byte) *Pass {
	p.Data, p.In.Network, p.In.Transport = data, elem.None, elem.None
	return p
}

func TestElement(t *testing.T) {
	for _, mode := range []Mode{ModeInterpreter, ModeCompiled} {
		t.Run(mode.String(), func(t *testing.T) { testElement(t, mode) })
	}
}

func testElement(t *testing.T, mode Mode) {
	r := newRig(t, mode, IsolateSpec{})
	e, err := r.element("s12", "second")
	if err != nil {
		t.Fatal(err)
	}
	meter := r.acct.Meter(0)
	p := new(Pass)
	step := func(want uint32, payload []byte, data ...byte) {
		t.Helper()
		if err := e.Begin(meter, 1); err != nil {
			t.Fatal(err)
		}
		defer e.End()
		if err := e.Process(pass(p, data...)); err != nil || p.Out.Output != want || !bytes.Equal(p.Payload, payload) {
			t.Errorf("% x: %v, output %d, payload % x, want %d, % x", data, err, p.Out.Output, p.Payload, want, payload)
		}
	}
	step(0, []byte{0, 0, 9}, 0, 0, 9)
	step(2, []byte{0, 2}, 0, 2)
	step(elem.Drop, nil, 1, 0)
	step(0, []byte{0xaa, 0xaa, 4, 2, 7}, 4, 2, 7)
	step(2, []byte{4, 33}, 4, 33) // more than the headroom
	step(0, []byte{8}, 5, 2, 8)
	step(0, []byte{}, 5, 2)
	p.In.Input = 1
	step(1, []byte{9, 0x55}, 9, 1)
	if o := p.Out; o.Paint != 8 || o.Dst != 0x0a000001 || o.Aggregate != 2 {
		t.Errorf("annotations %+v", o)
	}
	long := make([]byte, 200)
	step(0, long[:96], long...)
	if p.Kept != 104 {
		t.Errorf("%d bytes kept of 200, 96 are in the window", p.Kept)
	}
	long[0], long[1] = 5, 90
	step(0, long[90:96], long...)
	if got := e.Counters(nil); len(got) != 2 || got[0] != (Counter{"packets", 10}) || got[1] != (Counter{"", 12}) {
		t.Errorf("counters %+v", got)
	}

	long[0] = 10 // cuts what it does not see
	for _, c := range []struct {
		data []byte
		why  Reason
	}{
		{[]byte{0, 3}, BadOutput}, {[]byte{2, 0}, OutOfFuel}, {[]byte{3, 0}, Unreachable}, {[]byte{6, 0}, BadOutput}, {[]byte{8, 0}, Bounds}, {long, BadOutput},
		{[]byte{11, 40}, BadOutput}, {[]byte{12, 0}, Bounds},
	} {
		if err := e.Begin(meter, 2); err != nil {
			t.Fatal(err)
		}
		lives := e.Lives()
		var f *Fault
		if err := e.Process(pass(p, c.data...)); !errors.As(err, &f) || f.Reason != c.why {
			t.Errorf("% x: %v, want %v", c.data[:2], err, c.why)
		}
		if err := e.Process(pass(p, 0, 1)); err != nil || p.Out.Output != 1 { // the batch goes on in fresh memory
			t.Error(err)
		}
		e.End()
		if got := e.Counters(nil); e.Lives() != lives+1 || got[0].Value != 1 || got[1].Value != 12 {
			t.Errorf("after a fault: life %d, was %d, counters %v", e.Lives(), lives, got)
		}
	}
	if err := e.Begin(nil, 1); err != nil {
		t.Fatal(err)
	}
	if err := e.Process(pass(p, 1)); err != ErrShort {
		t.Error(err)
	}
	e.End()
	meter.Fold()
	if n := r.acct.Use(resctl.Fuel); n <= 0 {
		t.Error("no fuel was charged")
	}
}

func TestElementArguments(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	for _, c := range []struct {
		args []string
		ok   func(error) bool
	}{
		{nil, func(err error) bool { return err == nil }},
		{[]string{"missing"}, func(err error) bool { a := new(ArgumentError); return errors.As(err, &a) && a.Number == 0 }},
		{[]string{"wrong", "x"}, func(err error) bool { a := new(ArgumentError); return errors.As(err, &a) && a.Number == 2 }},
		{[]string{"s2147483648"}, func(err error) bool { a := new(ArgumentError); return errors.As(err, &a) && a.Number == 1 }},
		{[]string{"loops"}, func(err error) bool { return errs.KindOf(err) == errs.OutOfFuel }},
		{[]string{"b"}, func(err error) bool { f := new(Fault); return errors.As(err, &f) && f.Reason == BadOutput }},
		{[]string{"a\x00b"}, func(err error) bool { return errs.KindOf(err) == errs.TooBig }},
		{[]string{string(make([]byte, 64))}, func(err error) bool { return errs.KindOf(err) == errs.TooBig }},
	} {
		e, err := r.element(c.args...)
		if !c.ok(err) {
			t.Errorf("%q: %v", c.args, err)
		}
		if err == nil {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestElementEnds: a fault whose successor cannot be had, suspension, and the isolate's end.
func TestElementEnds(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	e, err := r.element()
	if err != nil {
		t.Fatal(err)
	}
	p := new(Pass)
	r.iso.Suspend()
	if err := e.Begin(nil, 1); errs.KindOf(err) != errs.WouldBlock {
		t.Error(err)
	}
	r.iso.Resume()
	if err := e.Begin(nil, 3); err != nil {
		t.Fatal(err)
	}
	if err := e.Process(pass(p, 0, 0)); err != nil {
		t.Error(err)
	}
	r.iso.Kill(errors.New("enough"))
	if err := e.Process(pass(p, 0, 0)); errs.KindOf(err) != errs.Dead {
		t.Error(err)
	}
	e.End()
	if err := e.Begin(nil, 1); errs.KindOf(err) != errs.Dead {
		t.Error(err)
	}
	if e.Close() != nil || e.Close() != nil || e.Begin(nil, 1) == nil {
		t.Error("a closed element begins")
	}
}

func TestElementDoesNotAllocate(t *testing.T) {
	r := newRig(t, ModeCompiled, IsolateSpec{})
	e, err := r.element()
	if err != nil {
		t.Fatal(err)
	}
	meter, p, data := r.acct.Meter(0), new(Pass), make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		if err := e.Begin(meter, 32); err != nil {
			t.Fatal(err)
		}
		for range 32 {
			p.Data = data
			if err := e.Process(p); err != nil {
				t.Fatal(err)
			}
		}
		e.End()
	}); n != 0 {
		t.Errorf("%v allocations in a batch", n)
	}
}

func BenchmarkElement64(b *testing.B) {
	r := newRig(b, ModeCompiled, IsolateSpec{})
	e, err := r.element()
	if err != nil {
		b.Fatal(err)
	}
	meter, p, data := r.acct.Meter(0), new(Pass), make([]byte, 64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%32 == 0 {
			if i > 0 {
				e.End()
			}
			if err := e.Begin(meter, 32); err != nil {
				b.Fatal(err)
			}
		}
		p.Data = data
		if err := e.Process(p); err != nil {
			b.Fatal(err)
		}
	}
	e.End()
}
