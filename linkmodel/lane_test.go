package linkmodel

import (
	"math"
	"strconv"
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

func TestLaneReset(t *testing.T) {
	l := NewLane(Impairment{Delay: time.Second, Rate: 1e6, Queue: 1}, clock.NewRand(1, 1))
	for range 2 {
		if _, v := l.Offer(0, 1250); v != Carried {
			t.Fatal(v)
		}
	}
	if _, v := l.Offer(0, 1250); v != QueueFull || l.Sending(0) != 2 || l.Sending(10*ms) != 1 {
		t.Fatalf("%v, %d are sent or wait", v, l.Sending(10*ms))
	}
	l.Reset()
	l.Set(Impairment{Rate: 1e6})
	if at, v := l.Offer(10*ms, 1250); at != 20*ms || v != Carried || l.Sending(10*ms) != 1 {
		t.Errorf("after a reset a frame gets %v %v, want 20 ms as on a free line", at, v)
	}
}

// BenchmarkLane offers frames to a line whose queue is always full, for several lengths of it.
func BenchmarkLane(b *testing.B) {
	for _, queue := range []int{10, 1023, 65_535} {
		b.Run(strconv.Itoa(queue), func(b *testing.B) {
			l := NewLane(Impairment{Rate: 1e9, Loss: 0.01, Queue: queue}, clock.NewRand(1, 1))
			for range queue + 1 {
				l.Offer(0, 1250)
			}
			now := clock.Time(0)
			b.ReportAllocs()
			for b.Loop() {
				now += 10_000
				l.Offer(now, 1250)
			}
		})
	}
}
