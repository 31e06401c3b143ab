package vm

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/gate"
)

// TestPool: what a closed instance lived in serves the next one, of another isolate, and has nothing in it of what was before.
func TestPool(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		code := r.instance("echo").code
		var first *body
		var fresh []byte
		for round := range 4 {
			iso, err := r.e.NewIsolate(IsolateSpec{Name: "one", Account: r.acct})
			if err != nil {
				t.Fatal(err)
			}
			before := r.acct.Use(resctl.Memory)
			in, err := iso.Instantiate(code)
			if err != nil {
				t.Fatal(err)
			}
			if n := r.acct.Use(resctl.Memory) - before; n != iso.Memory() || n < 1<<16 {
				t.Errorf("round %d: %d bytes charged, the isolate holds %d", round, n, iso.Memory())
			}
			memory := in.mem.buf[:in.mem.n]
			if round == 0 {
				first, fresh = in.body, bytes.Clone(memory)
			} else if in.body != first || !bytes.Equal(memory, fresh) {
				t.Errorf("round %d: another body: %v, its memory is as at first: %v", round, in.body != first, bytes.Equal(memory, fresh))
			}
			// echo counts its evaluations in memory and tells; it may have written anywhere.
			c := call([]byte{7, 0, 0, 0, 0, 0, 0, 0})
			if _, err := in.Evaluate(r.acct.Meter(0), c); err != nil || c.Payload[7] != 1 {
				t.Fatalf("round %d: %v, %v", round, err, c.Payload)
			}
			for i := range memory {
				memory[i] ^= 0x5a
			}
			if err := iso.Close(); err != nil {
				t.Fatal(err)
			}
			if got := r.acct.Use(resctl.Memory); got != before {
				t.Errorf("round %d: %d bytes stay charged", round, got-before)
			}
		}
	})
}

// TestPoolAfterFaults: a body that had a fault waits in the pool as new as one that was never used, whatever the guest had done to it; what grew, was killed or
// was left by a host function that panicked does not.
func TestPoolAfterFaults(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		evaluate := func(in *Instance, window []byte) (*Call, error) {
			c := call(append(window, make([]byte, 64-len(window))...))
			_, err := in.Evaluate(nil, c)
			return c, err
		}
		for _, tc := range []struct {
			name   string
			window []byte
			reason Reason
			waits  bool
		}{
			{"loop", []byte{1}, OutOfFuel, true}, {"loop", []byte{2}, OutOfStack, true}, {"loop", []byte{3}, OutOfFuel, true}, {"loop", []byte{4}, OutOfFuel, true},
			{"hog", []byte{2}, Divide, true}, {"hog", []byte{3}, Unreachable, true}, {"hog", []byte{1}, OutOfMemory, false},
		} {
			what := fmt.Sprintf("%s %d", tc.name, tc.window[0])
			in := r.instance(tc.name)
			fresh := r.instance(tc.name) // another body of the same code
			b := in.body
			first, err := evaluate(in, tc.window)
			var f *Fault
			if !errors.As(err, &f) || f.Reason != tc.reason {
				t.Fatalf("%s: %v, want %v", what, err, tc.reason)
			}
			pool := in.code.entry.pool
			if waits := len(pool) == 1 && pool[0] == b; waits != tc.waits {
				t.Fatalf("%s: %d bodies wait", what, len(pool))
			}
			if !tc.waits {
				continue
			}
			want := fresh.body
			if !bytes.Equal(b.mem.buf[:b.mem.n], want.mem.buf[:want.mem.n]) {
				t.Errorf("%s: the memory is not as in the beginning", what)
			}
			names := []string{}
			for _, g := range in.code.entry.mod.Mutable {
				names = append(names, gate.GlobalName(g))
			}
			if in.code.entry.mod.Recursive {
				names = append(names, gate.ExportSlots)
			}
			for _, n := range names {
				if got, want := b.mod.ExportedGlobal(n).Get(), want.mod.ExportedGlobal(n).Get(); got != want {
					t.Errorf("%s: global %q is %d, at first %d", what, n, got, want)
				}
			}
			// The same again, in the same body, is the same.
			lives := in.Lives()
			again, err := evaluate(in, tc.window)
			var g *Fault
			if !errors.As(err, &g) || *g != *f && (g.Reason != f.Reason || g.Func != f.Func || g.Offset != f.Offset) || again.Used != first.Used || in.Lives() != lives+1 {
				t.Errorf("%s: %v and %d units, then %v and %d, in life %d after %d", what, f, first.Used, err, again.Used, in.Lives(), lives)
			}
		}
		// Killed, and a host function that panics.
		in := r.instance("echo")
		r.iso.spec.Data = func(*Instance) { panic("a defect") }
		if _, err := evaluate(in, []byte{6}); !errors.Is(err, errs.Internal) {
			t.Errorf("a host function that panics: %v", err)
		}
		r.iso.spec.Data = func(in *Instance) { in.Isolate().Kill(nil) }
		in2 := r.instance("echo")
		if _, err := evaluate(in2, []byte{6}); !errors.Is(err, errs.Dead) {
			t.Errorf("killed: %v", err)
		}
		if n := len(in.code.entry.pool); n != 0 {
			t.Errorf("%d bodies wait", n)
		}
	})
}

// TestPoolIsBounded: only so many bodies of a code wait, and none when the code is gone.
func TestPoolIsBounded(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	code := r.instance("count").code
	var all []*Instance
	for range poolEach + 3 {
		in, err := r.iso.Instantiate(code)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	for _, in := range all {
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, bytes := len(code.entry.pool), r.e.waiting; n != poolEach || bytes != int64(n)*code.entry.bodyBytes() {
		t.Errorf("%d bodies with %d bytes wait", n, bytes)
	}
	r.e.waiting += poolBytes
	if in, err := r.iso.Instantiate(code); err != nil || in.Close() != nil || len(code.entry.pool) != poolEach-1 {
		t.Errorf("%d bodies wait where the pool is full: %v", len(code.entry.pool), err)
	}
	r.e.waiting -= poolBytes
}
