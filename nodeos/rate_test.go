package nodeos

import (
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// A channel accepts a burst, and then packets at its rate, whatever way they come.
func TestInChanRate(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	limited, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":1", Rate: 1000, Burst: 20, Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":2", Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	offer := func(micros int, want uint64) {
		t.Helper()
		before := limited.Stats()
		for range 50 {
			l.feed(udp(t, 1, "x"), udp(t, 2, "y"))
		}
		r.settle()
		st := limited.Stats()
		if got, over := st.Packets-before.Packets, st.Limited-before.Limited; got != want || over != 50-want || st.Full != 0 {
			t.Errorf("at %d us: %d of 50 accepted and %d over the rate, want %d; %+v", micros, got, over, want, st)
		}
	}
	offer(0, 20)
	r.until(clock.Time(4500 * time.Microsecond))
	offer(4500, 4)
	r.until(clock.Time(time.Second))
	offer(1000000, 20)
	if st := other.Stats(); st.Packets != 150 || st.Limited != 0 {
		t.Errorf("the neighbour has %+v", st)
	}
	w := r.node.Worker(0)
	var b packet.Batch
	for range 10 {
		b.Append(w.Cache().AllocFrom(packet.Node, []byte("handed")))
	}
	if n := limited.HandOff(w, &b); n != 0 {
		t.Errorf("%d packets handed off beyond the rate", n)
	}
}

func TestInChanPace(t *testing.T) {
	for _, c := range []struct {
		rate, burst         int
		interval, tolerance time.Duration
	}{
		{0, 0, 0, 0},
		{1, 0, time.Second, 0},
		{1000, 0, time.Millisecond, 9 * time.Millisecond}, // 10 ms at that rate
		{1000, 1, time.Millisecond, 0},
		{300, 5, 3333334, 4 * 3333334}, // never more than asked for
		{MaxRate, MaxBurst, 1, MaxBurst - 1},
	} {
		s := InChanSpec{Rate: c.rate, Burst: c.burst}
		if i, tol, err := s.pace(); i != c.interval || tol != c.tolerance || err != nil {
			t.Errorf("%d per second, burst %d: %v, %v, %v", c.rate, c.burst, i, tol, err)
		}
	}
	r := stepped(t, resctl.Spec{})
	r.link("eth0")
	for _, s := range []InChanSpec{{Rate: -1}, {Rate: MaxRate + 1}, {Rate: 1, Burst: -1}, {Rate: 1, Burst: MaxBurst + 1}, {Burst: 1}} {
		s.Protocol = "eth0"
		if _, err := r.node.Root().NewInChan(s); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
