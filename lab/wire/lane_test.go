package wire

import (
	"math"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
)

const ms = clock.Time(time.Millisecond)

func TestLaneRateDelayAndQueue(t *testing.T) {
	// 1 Mbit/s: 1,250 bytes take 10 ms.
	l := NewLane(Impairment{Delay: 5 * time.Millisecond, Rate: 1e6, Queue: 2}, clock.NewRand(1, 1))
	type offer struct {
		now  clock.Time
		want clock.Time
		v    Verdict
	}
	for i, o := range []offer{
		{0, 15 * ms, Carried},       // is sent from 0 to 10
		{0, 25 * ms, Carried},       // waits
		{0, 35 * ms, Carried},       // waits
		{0, 0, QueueFull},           // one too many
		{9 * ms, 0, QueueFull},      // still
		{10 * ms, 45 * ms, Carried}, // the first has left
		{100 * ms, 115 * ms, Carried},
	} {
		got, v := l.Offer(o.now, 1250)
		if got != o.want || v != o.v {
			t.Errorf("offer %d at %v: %v %v, want %v %v", i, o.now, got, v, o.want, o.v)
		}
	}
}

func TestLaneKeepsOrderWhenDelayShrinks(t *testing.T) {
	l := NewLane(Impairment{Delay: 10 * time.Millisecond}, clock.NewRand(1, 1))
	a, _ := l.Offer(0, 100)
	l.Set(Impairment{})
	b, _ := l.Offer(ms, 100)
	if b < a {
		t.Errorf("second frame arrives at %v, before the first at %v", b, a)
	}
}

func TestLaneLossIsSeeded(t *testing.T) {
	run := func(seed uint64) (lost int, pattern uint64) {
		l := NewLane(Impairment{Loss: 0.2}, clock.NewRand(seed, 7))
		for i := range 10000 {
			if _, v := l.Offer(clock.Time(i), 64); v == Lost {
				lost++
				pattern = pattern*31 + uint64(i)
			}
		}
		return
	}
	n1, p1 := run(1)
	n2, p2 := run(1)
	_, p3 := run(2)
	if n1 != n2 || p1 != p2 {
		t.Error("the same seed loses different frames")
	}
	if p1 == p3 {
		t.Error("another seed loses the same frames")
	}
	// 10,000 trials at 0.2: standard deviation 40.
	if math.Abs(float64(n1)-2000) > 200 {
		t.Errorf("lost %d of 10000 at 20 %%", n1)
	}
}

func TestLaneDoesNotAllocate(t *testing.T) {
	l := NewLane(Impairment{Delay: time.Millisecond, Rate: 1e9, Loss: 0.01, Queue: 100}, clock.NewRand(1, 1))
	now := clock.Time(0)
	for range 1000 {
		l.Offer(now, 1500)
	}
	if n := testing.AllocsPerRun(10000, func() { now += 12000; l.Offer(now, 1500) }); n != 0 {
		t.Errorf("Offer allocates %v times", n)
	}
}

func TestSendTime(t *testing.T) {
	for _, c := range []struct {
		size int
		rate BitRate
		want time.Duration
	}{
		{1250, 1e6, 10 * time.Millisecond},
		{1500, 10e9, 1200 * time.Nanosecond},
		{1500, 400e9, 30 * time.Nanosecond},
		{9000, 1000, 72 * time.Second},
		{0, 1000, 0},
	} {
		if got := sendTime(c.size, c.rate); got != c.want {
			t.Errorf("%d bytes at %s take %s, want %s", c.size, c.rate, got, c.want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]BitRate{
		"10Mbit": 10e6, "1.5 gbit": 1.5e9, "64kbit": 64e3, "1000bit": 1000,
	} {
		got, err := ParseRate(s)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v", s, got, err)
		}
		if back, err := ParseRate(got.String()); err != nil || back != got {
			t.Errorf("%v does not read back: %v, %v", got, back, err)
		}
	}
	for _, s := range []string{"", "10", "Mbit", "-1Mbit", "1bit", "1e30Gbit", "nanMbit", "10MB"} {
		if r, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %v", s, r)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"10Mbit", "1.5Gbit", "0x10kbit", "infbit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRate(s); err == nil && (r < MinRate || r > MaxRate) {
			t.Errorf("ParseRate(%q) = %d is out of range", s, r)
		}
	})
}
