package vm

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/janos-os/janos/errs"
)

// TestRecordings: what was asked for is recorded, the first faults are, and nothing else; the calls of the guest are known from the first fault on.
func TestRecordings(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		in := r.instance("echo")
		id := in.Code().ID()
		run := func(op byte, budget uint64) error {
			w := make([]byte, 64)
			w[0] = op
			c := call(w)
			c.Budget = budget
			_, err := in.Evaluate(nil, c)
			return err
		}
		if err := run(6, 0); err != nil || len(r.e.Recordings()) != 0 {
			t.Fatalf("%v, %d recordings that nobody asked for", err, len(r.e.Recordings()))
		}
		if err := r.e.Record(id, 2); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if err := run(6, 0); err != nil {
				t.Fatal(err)
			}
		}
		rs := r.e.Recordings()
		if len(rs) != 2 || rs[0].Verdict != "forward" || rs[0].Window[0] != 6 || rs[0].Fresh || !rs[0].CallsKnown || len(rs[0].Calls) != 1 {
			t.Fatalf("%d recordings: %+v", len(rs), rs)
		}
		if c := rs[1].Calls[0]; c.Name != "route_next" || c.Result != c.Args[0]+1000 {
			t.Errorf("the call was recorded as %+v", c)
		}
		// A fault is recorded without the calls, the next with them, and no more of this code.
		for i := range 4 {
			if err := run(6, 1); !errors.Is(err, errs.OutOfFuel) {
				t.Fatal(err)
			}
			rs = r.e.Recordings()
			if want := 2 + min(i+1, faultsRecorded); len(rs) != want {
				t.Fatalf("%d recordings after %d faults, want %d", len(rs), i+1, want)
			}
			if last := rs[len(rs)-1]; last.Fault != "out of fuel" || last.CallsKnown != (i > 0) || i < 2 && last.Used != 1 {
				t.Errorf("after fault %d: %+v", i+1, last)
			}
		}
		text, err := json.Marshal(rs[1])
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseRecording(text); err != nil || !reflect.DeepEqual(back, rs[1]) {
			t.Errorf("%v: %+v, want %+v", err, back, rs[1])
		}
		if err := r.e.Record(CodeID{1}, 1); !errors.Is(err, errs.NotFound) {
			t.Errorf("unknown code: %v", err)
		}
		if err := r.e.Record(id, MaxRecord+1); !errors.Is(err, errs.Invalid) {
			t.Errorf("too many: %v", err)
		}
	})
}

// TestRecorderIsBounded fills the ring.
func TestRecorderIsBounded(t *testing.T) {
	var k recorder
	for i := range 100 {
		k.add(&Recording{Used: uint64(i), Window: make([]byte, 64<<10)})
		if len(k.list) > keptRecordings || k.bytes > keptBytes || k.list[len(k.list)-1].Used != uint64(i) {
			t.Fatalf("%d recordings of %d bytes", len(k.list), k.bytes)
		}
	}
	n := 0
	for _, r := range k.list {
		n += r.size()
	}
	if n != k.bytes {
		t.Errorf("%d bytes, counted are %d", n, k.bytes)
	}
}

// FuzzRecording: recordings come in files from anybody.
func FuzzRecording(f *testing.F) {
	f.Add([]byte(`{"format":"janos-recording-1","code":"` + CodeID{}.full() + `","in":{"Length":2,"Captured":2},"window":"0102","calls":[{"args":[1]}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecording(b)
		if err == nil && (len(r.Window) > 64<<10 || len(r.Code) != 32) {
			t.Fatalf("%+v", r)
		}
	})
}

func (id CodeID) full() string {
	b, _ := Hex(id[:]).MarshalText()
	return string(b)
}
