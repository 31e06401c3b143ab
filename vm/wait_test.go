package vm

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// Host functions of others wait, charge and end as those of this package do.
func TestHostFunctionsOfOthers(t *testing.T) {
	r := newProcRig(t, ModeAuto, 1)
	run := func(call func(in *Instance, arg uint32), limit resctl.Amounts) (*Isolate, Status) {
		t.Helper()
		i := r.isolate(&told{what: 7<<24 | 5, call: call}, limit)
		if err := i.Start(r.code, StartSpec{}); err != nil {
			t.Fatal(err)
		}
		return i, end(i)
	}
	plain, _ := run(nil, resctl.Amounts{})
	base := plain.Account().Use(resctl.Fuel)

	// What is charged is used, also where it is more than the process has at the moment; what no account gives ends it.
	dear, st := run(func(in *Instance, _ uint32) { in.Charge(1_000_000) }, resctl.Amounts{})
	if got := dear.Account().Use(resctl.Fuel); st.Err != nil || got != base+5_000_000 {
		t.Errorf("charged five times a million, and used %d more: %+v", got-base, st)
	}
	if _, st = run(func(in *Instance, _ uint32) { in.Charge(1 << 62) }, resctl.Amounts{resctl.Fuel: 10_000_000}); errs.KindOf(st.Err) != errs.OutOfFuel {
		t.Errorf("charged more than there is: %+v", st)
	}

	// A wait ends by the time, by who sets what is waited for, or by the end of the isolate.
	var kinds []errs.Kind
	_, st = run(func(in *Instance, arg uint32) {
		var ready atomic.Bool
		until := r.e.Clock().Now().Add(time.Millisecond)
		if arg%2 == 1 {
			until = clock.Never
			go func() {
				ready.Store(true)
				in.Poke()
			}()
		}
		kinds = append(kinds, errs.KindOf(in.Wait(&ready, until)))
		if !in.Waits() {
			t.Error("a process waits")
		}
	}, resctl.Amounts{})
	if st.Err != nil || len(kinds) != 5 || kinds[0] != errs.Timeout || kinds[1] != errs.OK || kinds[4] != errs.Timeout {
		t.Errorf("waits ended with %v: %+v", kinds, st)
	}
	var iso atomic.Pointer[Isolate]
	var kind errs.Kind
	_, st = run(func(in *Instance, _ uint32) {
		iso.Store(in.Isolate())
		go func() { iso.Load().Kill(errs.New(errs.Refused, "enough")) }()
		var never atomic.Bool
		kind = errs.KindOf(in.Wait(&never, clock.Never))
	}, resctl.Amounts{})
	if kind != errs.Dead || st.Cause != ByKill || errs.KindOf(st.Err) != errs.Refused {
		t.Errorf("killed while waiting: %v, %+v", kind, st)
	}
	if _, st = run(func(in *Instance, _ uint32) { in.Exit(9) }, resctl.Amounts{}); st.Cause != SelfExit || st.Code != 9 {
		t.Errorf("exit: %+v", st)
	}
}

// Handles with fewer rights, and for others, are made from one and end with it.
func TestNarrowAndGive(t *testing.T) {
	r := newProcRig(t, ModeInterpreter, 1)
	a, b := r.isolate(&told{}, resctl.Amounts{}), r.isolate(&told{}, resctl.Amounts{})
	h, err := a.Put(OpaqueHandle, "thing", MayUse|MaySee|MayGrant)
	if err != nil {
		t.Fatal(err)
	}
	less, err := a.Narrow(h, MaySee|MayEnd|MayGrant)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get(less, OpaqueHandle, MaySee); err != nil {
		t.Error(err)
	}
	for _, need := range []Rights{MayUse, MayEnd} {
		if _, err := a.Get(less, OpaqueHandle, need); errs.KindOf(err) != errs.Permission {
			t.Errorf("right %04b: %v", need, err)
		}
	}
	there, err := a.Give(less, b)
	if err != nil || there != 1 {
		t.Fatalf("the first handle there is %d, %v", there, err)
	}
	if o, err := b.Get(there, OpaqueHandle, MaySee); err != nil || o != "thing" {
		t.Errorf("%v, %v", o, err)
	}
	none, err := a.Narrow(less, MaySee)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Give(none, b); errs.KindOf(err) != errs.Permission {
		t.Errorf("given without the right to: %v", err)
	}
	if n, err := a.Revoke(h); n != 3 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	if _, err := b.Get(there, OpaqueHandle, MaySee); errs.KindOf(err) != errs.Dead {
		t.Errorf("after it was revoked: %v", err)
	}
	if _, err := a.Narrow(less, MaySee); errs.KindOf(err) != errs.Dead {
		t.Errorf("narrowed after it was revoked: %v", err)
	}
}

// A child's account is the parent's own or one below it.
func TestAccountOfChild(t *testing.T) {
	r := newProcRig(t, ModeInterpreter, 1)
	a := r.isolate(&told{}, resctl.Amounts{})
	below, err := a.Account().NewChild(resctl.Spec{Name: "below"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of   *resctl.Account
		want errs.Kind
	}{{r.root, errs.Permission}, {a.Account(), errs.OK}, {below, errs.OK}} {
		i, err := a.NewChild(ChildSpec{Name: "c", Account: c.of})
		if errs.KindOf(err) != c.want {
			t.Errorf("%s: %v", c.of.Path(), err)
		}
		if err == nil {
			i.Kill(nil)
			<-i.Done()
			if c.of.Closed() {
				t.Errorf("%s was closed, which is not the isolate's", c.of.Path())
			}
		}
	}
	if err := below.Close(); err != nil {
		t.Error(err)
	}
}
