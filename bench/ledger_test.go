package bench

import (
	"slices"
	"testing"
)

func TestLedger(t *testing.T) {
	frame := func(run uint32, n uint64) []byte {
		f := frame64(toMAC, fromMAC, [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 2}, 1, 2)
		stamp(f, run, n)
		return f
	}
	type result struct{ received, duplicates, overtaken, foreign uint64 }
	for _, c := range []struct {
		name  string
		in    []uint64
		sent  uint64
		clean bool
		want  result
	}{
		{"all in order", []uint64{0, 1, 2, 3}, 4, true, result{received: 4}},
		{"one lost", []uint64{0, 1, 3}, 4, false, result{received: 3}},
		{"one twice", []uint64{0, 1, 1, 2, 3}, 4, false, result{received: 4, duplicates: 1}},
		{"one overtaken", []uint64{0, 2, 1, 3}, 4, false, result{received: 4, overtaken: 1}},
		{"beyond the size", []uint64{0, 1, 2, 3, 128}, 4, true, result{received: 4, foreign: 1}},
		{"nothing", nil, 4, false, result{}},
	} {
		var l ledger
		l.begin(7, 100)
		for _, n := range c.in {
			l.arrived(frame(7, n))
		}
		if got := (result{l.received, l.duplicates, l.overtaken, l.foreign}); got != c.want || l.clean(c.sent) != c.clean {
			t.Errorf("%s: %+v, clean %v", c.name, got, l.clean(c.sent))
		}
	}
	var l ledger
	l.begin(1, 64)
	l.arrived(frame(1, 5))
	l.begin(2, 32) // forgets the former run
	l.arrived(frame(1, 6))
	l.arrived(frame(2, 5))
	l.arrived([]byte("short"))
	l.arrived(make([]byte, 64))
	if l.received != 1 || l.foreign != 3 || l.duplicates != 0 {
		t.Errorf("%+v", l)
	}
	if n := testing.AllocsPerRun(10, func() { l.arrived(frame64(toMAC, fromMAC, [4]byte{}, [4]byte{}, 1, 2)) }); n > 1 {
		t.Errorf("%v allocations, of which one makes the frame", n)
	}
}

func FuzzReadStamp(f *testing.F) {
	good := make([]byte, 64)
	stamp(good, 1, 2)
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:tagAt+tagLen-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		run, n, ok := readStamp(b)
		if !ok {
			return
		}
		again := slices.Clone(b)
		stamp(again, run, n)
		if !slices.Equal(again, b) {
			t.Errorf("%x was read as run %d, frame %d", b, run, n)
		}
	})
}
