package bench

import (
	"slices"
	"testing"
	"time"
)

func TestLedger(t *testing.T) {
	frame := func(run uint16, n uint32) []byte {
		f := frame64(toMAC, fromMAC, [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 2}, 1, 2)
		stamp(f, run, n, 1000)
		return f
	}
	type result struct{ received, duplicates, overtaken, foreign uint64 }
	for _, c := range []struct {
		name  string
		in    []uint32
		sent  uint64
		clean bool
		want  result
	}{
		{"all in order", []uint32{0, 1, 2, 3}, 4, true, result{received: 4}},
		{"one lost", []uint32{0, 1, 3}, 4, false, result{received: 3}},
		{"one twice", []uint32{0, 1, 1, 2, 3}, 4, false, result{received: 4, duplicates: 1}},
		{"one overtaken", []uint32{0, 2, 1, 3}, 4, false, result{received: 4, overtaken: 1}},
		{"beyond the size", []uint32{0, 1, 2, 3, 128}, 4, true, result{received: 4, foreign: 1}},
		{"nothing", nil, 4, false, result{}},
	} {
		var l ledger
		l.begin(7, 100)
		for _, n := range c.in {
			l.arrived(frame(7, n), 2000)
		}
		if got := (result{l.received, l.duplicates, l.overtaken, l.foreign}); got != c.want || l.clean(c.sent) != c.clean {
			t.Errorf("%s: %+v, clean %v", c.name, got, l.clean(c.sent))
		}
	}
	var l ledger
	l.begin(1, 64)
	l.arrived(frame(1, 5), 2000)
	l.begin(2, 32) // forgets the former run
	l.arrived(frame(1, 6), 2000)
	l.arrived(frame(2, 5), 2000)
	l.arrived([]byte("short"), 2000)
	l.arrived(make([]byte, 64), 2000)
	if l.received != 1 || l.foreign != 3 || l.duplicates != 0 {
		t.Errorf("%+v", l)
	}
	if n := testing.AllocsPerRun(10, func() { l.arrived(frame64(toMAC, fromMAC, [4]byte{}, [4]byte{}, 1, 2), 2000) }); n > 1 {
		t.Errorf("%v allocations, of which one makes the frame", n)
	}
	// A bit that changed on the way, in every byte of number and check.
	for at := tagAt + 4; at < tagAt+tagLen; at++ {
		if at >= tagAt+8 && at < tagAt+16 {
			continue // the time is not checked
		}
		l.begin(3, 64)
		f := frame(3, 7)
		f[at] ^= 0x10
		l.arrived(f, 2000)
		if l.received != 0 || l.corrupted+l.foreign != 1 || l.clean(0) && l.corrupted > 0 {
			t.Errorf("byte %d changed: %+v", at, l)
		}
	}
}

func TestLedgerTimes(t *testing.T) {
	var l ledger
	l.begin(1, 1<<17)
	f := frame64(toMAC, fromMAC, [4]byte{10, 0, 0, 1}, [4]byte{10, 0, 1, 2}, 1, 2)
	if l.quantile(0.99) != 0 || l.goodput() != 0 {
		t.Error("figures of nothing")
	}
	for n := range uint32(1600) { // one in sixteen is timed; the delays are 1 to 100 us
		stamp(f, 1, n, 1e9)
		l.arrived(f, 1e9+uint64(n/16+1)*1000)
		if n == 99 {
			l.looked(2e9)
		}
	}
	l.looked(3e9)
	if l.quantile(0.5) != 51*time.Microsecond || l.quantile(0.99) != 100*time.Microsecond || l.quantile(1) != 100*time.Microsecond || l.timed != 100 {
		t.Errorf("p50 %v, p99 %v, most %v of %d", l.quantile(0.5), l.quantile(0.99), l.quantile(1), l.timed)
	}
	if l.goodput() != 1500 {
		t.Errorf("%v frames a second", l.goodput())
	}
	for range 2 * maxDelays {
		l.delay(1)
	}
	if len(l.delays) != maxDelays {
		t.Errorf("%d delays are kept", len(l.delays))
	}
}

func FuzzReadStamp(f *testing.F) {
	good := make([]byte, 64)
	stamp(good, 1, 2, 3)
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:tagAt+tagLen-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		g, ok := readStamp(b)
		if !ok {
			return
		}
		again := slices.Clone(b)
		stamp(again, g.run, g.number, g.when)
		if slices.Equal(again, b) != g.intact {
			t.Errorf("%x was read as %+v", b, g)
		}
	})
}
