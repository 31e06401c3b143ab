package rewrite

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
)

// TestTable compares with a plain map while flows come and go.
func TestTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	tab := newTable(0)
	tab.times = times{udp: 10 * time.Second}
	type half struct {
		flow uint32
		dir  int
	}
	want := map[key]half{}
	var live []uint32
	any := func() key {
		return newKey(rnd.Uint32N(40), rnd.Uint32N(40), uint16(rnd.Uint32N(3)), uint16(rnd.Uint32N(3)), 17)
	}
	for step := range 60000 {
		k, rev := any(), any()
		if rnd.IntN(20) == 0 {
			rev = k
		}
		_, a := want[k]
		_, b := want[rev]
		grow := step/10000%2 == 0 && len(live) < 3000
		switch {
		case grow && !a && !b:
			i := tab.add(k, rev, clock.Time(step))
			tab.track(i)
			want[k] = half{i, 0}
			want[rev] = half{i, 1}
			live = append(live, i)
		case !grow && len(live) > 0:
			n := rnd.IntN(len(live))
			i := live[n]
			live[n] = live[len(live)-1]
			live = live[:len(live)-1]
			f := tab.flow(i)
			delete(want, f.key[0])
			delete(want, f.key[1])
			tab.remove(i)
		}
		k = any()
		h, ok := want[k]
		if i, dir, found := tab.find(k); found != ok || ok && (i != h.flow || dir != h.dir) {
			t.Fatalf("step %d: found flow %d direction %d %v, want %v %v", step, i, dir, found, h, ok)
		}
	}
	if tab.n != len(live) || len(tab.rest.e)+len(tab.safe.e) != len(live) {
		t.Errorf("%d flows, %d and %d in the heaps, want %d", tab.n, len(tab.rest.e), len(tab.safe.e), len(live))
	}
	for k, h := range want {
		if i, dir, ok := tab.find(k); !ok || i != h.flow || dir != h.dir {
			t.Fatalf("%v is lost", k)
		}
	}
}

// TestSoonest compares the order of ends with a search through all flows, while packets and states change times behind the heaps' back.
func TestSoonest(t *testing.T) {
	const sec = time.Second
	rnd := rand.New(rand.NewPCG(2, 2))
	for round := range 20 {
		tab := newTable(0)
		tab.times = times{tcp: 100 * sec, tcpDone: 3 * sec, tcpNoData: 20 * sec, tcpSafe: 5 * sec, udp: 10 * sec, udpStream: 15 * sec, udpSafe: time.Duration(round%3) * sec}
		now := clock.Time(sec)
		next := uint32(0)
		for range 2000 {
			now = now.Add(time.Duration(rnd.Int64N(int64(sec / 4))))
			switch rnd.IntN(4) {
			case 0, 1:
				i := tab.add(newKey(next, 1, 2, 3, 17), newKey(1, next, 3, 2, 17), now)
				next++
				if rnd.IntN(2) == 0 {
					tab.flow(i).state = stTCP
				}
				if rnd.IntN(30) == 0 {
					tab.flow(i).state |= stPermanent
				}
				tab.track(i)
			case 2:
				for range 5 {
					i := rnd.Uint32N(tab.next + 1)
					if i == tab.next || tab.flow(i).input == unused {
						continue
					}
					f := tab.flow(i)
					f.last = now
					f.state ^= []uint8{stReset, stData, 2 * stData}[rnd.IntN(3)]
					f.count = uint8(rnd.IntN(4))
					tab.lower(i)
				}
			case 3:
				var best clock.Time
				found := false
				tab.each(func(_ uint32, f *flow) {
					life, safe := tab.of(f)
					if f.state&stPermanent != 0 || safe > 0 && f.last.Add(safe) > now {
						return
					}
					if at := f.last.Add(life); !found || at < best {
						best, found = at, true
					}
				})
				i, at, ok := tab.soonest(now)
				if ok != found || ok && at != best {
					t.Fatalf("round %d at %v: flow %d ends at %v %v, want %v %v", round, now, i, at, ok, best, found)
				}
				if ok {
					tab.remove(i)
				}
			}
		}
	}
}

func TestSteps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		var s steps
		// A stream of pieces, each of which becomes longer or shorter.
		in, out := rnd.Uint32(), uint32(0)
		out = in
		type mark struct{ in, out uint32 }
		var marks []mark
		for range maxSteps {
			in += 20 + rnd.Uint32N(1000)
			old := rnd.Uint32N(20)
			out = s.out(in)
			s.add(in+20, old-10)
			s.add(in+20, old-10) // the same packet again
			marks = append(marks, mark{in, out}, mark{in + 20, out + 20 + old - 10})
			in += 20
		}
		for _, m := range marks {
			if v := s.out(m.in); v != m.out {
				t.Fatalf("%d becomes %d, want %d", m.in, v, m.out)
			}
			if v := s.back(m.out); v != m.in {
				t.Fatalf("%d comes back as %d, want %d", m.out, v, m.in)
			}
		}
		before := s.out(in + 100)
		s.add(in-5000, 7)
		if v := s.out(in + 100); v != before {
			t.Errorf("an old packet changed what is new: %d, was %d", v, before)
		}
		s.add(in+200, 5) // the first step is forgotten
		last := marks[len(marks)-1]
		if v := s.out(last.in); v != last.out || s.n != maxSteps {
			t.Errorf("after another step %d becomes %d, want %d", last.in, v, last.out)
		}
	}
}

// TestSACKAlignment: an option at an odd place has its words across those of the checksum.
func TestSACKAlignment(t *testing.T) {
	var s steps
	s.add(100, 0x01020304)
	for pad := range 2 {
		opt := append(make([]byte, 0, 40), []byte{1, 1}[:pad]...)
		opt = append(opt, 5, 10, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf1)
		for len(opt)%4 != 0 {
			opt = append(opt, 0)
		}
		tcp := append(make([]byte, 20), opt...)
		tcp[12] = byte(len(tcp)/4) << 4
		sum := fold(sumOf(tcp))
		tcp[16], tcp[17] = byte(^sum>>8), byte(^sum)
		rewriteSeq(tcp, &steps{}, &s)
		if got := fold(sumOf(tcp)); got != 0xffff {
			t.Errorf("with %d bytes before it: the sum is %04x", pad, got)
		}
		if tcp[22+pad] == 0x12 {
			t.Error("the block was not changed")
		}
	}
}

func sumOf(b []byte) (n uint64) {
	for i, v := range b {
		n += uint64(v) << (8 * (1 - i&1))
	}
	return n
}
