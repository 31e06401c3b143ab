package vm

import (
	"bytes"
	"testing"

	"github.com/janos-os/janos/resctl"
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

// TestPoolKeepsNoFaults: after a fault, and where memory has grown, the next instance begins with another body.
func TestPoolKeepsNoFaults(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		for _, tc := range []struct {
			name   string
			window []byte
			faults bool
		}{{"loop", []byte{1}, true}, {"hog", make([]byte, 4), false}} {
			in := r.instance(tc.name)
			b := in.body
			if _, err := in.Evaluate(r.acct.Meter(0), call(tc.window)); (err != nil) != tc.faults {
				t.Errorf("%s: %v", tc.name, err)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if n := len(in.code.entry.pool); n != 0 {
				t.Errorf("%s: %d bodies wait", tc.name, n)
			}
			again, err := r.iso.Instantiate(in.code)
			if err != nil {
				t.Fatal(err)
			}
			if again.body == b {
				t.Errorf("%s: the body is used again", tc.name)
			}
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
