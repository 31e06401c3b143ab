package vm

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/gate"
)

// TestStartFunction: the start function of a process is the first part of it: under its fuel, limits and kills. Handlers and elements have none.
func TestStartFunction(t *testing.T) {
	for _, m := range []Mode{ModeCompiled, ModeInterpreter} {
		t.Run(m.String(), func(t *testing.T) {
			r := newProcRig(t, m, 1)
			code := r.load("start")
			defer code.Release()
			run := func(what uint32, fuel uint64) *Isolate {
				i := r.isolate(&told{what: what}, resctl.Amounts{})
				if err := i.Start(code, StartSpec{Fuel: fuel}); err != nil {
					t.Fatal(err)
				}
				return i
			}
			i := run(0, 0)
			<-i.Done()
			if s := i.Status(); s.Cause != ImplicitExit || s.Code != 42 {
				t.Errorf("%+v, want an exit with what the start function has set", s)
			}
			i = run(2, 0)
			<-i.Done()
			if s := i.Status(); s.Cause != UncaughtTrap {
				t.Errorf("%+v after a trap in the start function", s)
			}
			i = run(1, 0)
			for i.Account().Use(resctl.Fuel) < 1_000_000 { // it computes, for fuel
				runtime.Gosched()
			}
			i.Kill(nil)
			<-i.Done()
			if s := i.Status(); s.Cause != ByKill {
				t.Errorf("%+v after a kill in the start function", s)
			}
			i = run(1, 500_000)
			<-i.Done()
			if s := i.Status(); s.Cause != UncaughtTrap || i.Account().Use(resctl.Fuel) > 500_000 {
				t.Errorf("%+v when the fuel was used up, %d", s, i.Account().Use(resctl.Fuel))
			}
		})
	}
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	raw, err := os.ReadFile("testdata/start.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Load(raw, r.class, r.acct); !errors.Is(err, errs.Refused) {
		t.Errorf("a handler with a start function: %v", err)
	}
	if _, err := r.e.NewClass(ClassSpec{Name: "x", Limits: gate.CarrierLimits()}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a class of handlers with start functions: %v", err)
	}
}
