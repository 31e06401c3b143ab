package bench

import (
	"errors"
	"testing"
	"time"
)

// TestSearch finds the rate of a device that drops above some rate, and says when the generator could not show it.
func TestSearch(t *testing.T) {
	for _, c := range []struct {
		device, generator, from float64
		bound                   bool
	}{
		{device: 300e3, generator: 1e9},
		{device: 300e3, generator: 1e9, from: 280e3},
		{device: 300e3, generator: 1e9, from: 5e6},
		{device: 300e3, generator: 310e3},
		{device: 1e9, generator: 250e3, bound: true},
		{device: 1e9, generator: 250e3, from: 4e6, bound: true},
		{device: 5e3, generator: 1e9},
		{device: 1e9, generator: 1e9, bound: true},
	} {
		trials := 0
		f, err := search(c.from, 2, func(want float64) (point, error) {
			trials++
			got := min(want, c.generator)
			return point{got, got <= c.device}, nil
		})
		if err != nil || f.bound != c.bound || f.trials != trials || trials > 40 {
			t.Errorf("%+v: %+v, %v, %d trials", c, f, err, trials)
		}
		switch want := min(c.device, c.generator); {
		case c.device < searchLeast && f.rate != 0:
			t.Errorf("%+v: found %v where nothing is clean", c, f.rate)
		case c.device >= searchLeast && want < searchMost && (f.rate > want || f.rate < want*15/16):
			t.Errorf("%+v: found %v", c, f.rate)
		}
	}
	// One try in two is disturbed: with two tries the rate is found all the same.
	n := 0
	f, err := search(0, 2, func(want float64) (point, error) { n++; return point{want, n%2 == 0 && want <= 300e3}, nil })
	if err != nil || f.rate < 280e3 || f.rate > 300e3 {
		t.Errorf("%+v, %v", f, err)
	}
	bad := errors.New("broken")
	if _, err := search(0, 1, func(float64) (point, error) { return point{}, bad }); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

func TestOffered(t *testing.T) {
	for _, c := range []struct {
		n            int
		span, paused time.Duration
		want         float64
	}{{1000, time.Second, 0, 1000}, {900, time.Second, 100 * time.Millisecond, 1000}, {600, time.Second, 400 * time.Millisecond, 600}, {5, 0, 0, 0}} {
		if got := offered(c.n, c.span, c.paused); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestOverload offers a rate by generators that fall short of what they are asked for, to a device that delivers half of what it is offered.
func TestOverload(t *testing.T) {
	for _, c := range []struct {
		part, most float64 // of what it is asked for, and at most
		tries      int
		bound      bool
	}{
		{part: 1, most: 1e9, tries: 1},
		{part: .98, most: 1e9, tries: 1},
		{part: .93, most: 1e9, tries: 2},
		{part: .85, most: 1e9, tries: 3},
		{part: 1, most: 9e5, tries: searchUrges, bound: true},
		{part: 0, most: 1e9, tries: 1, bound: true},
	} {
		tries, last := 0, 0.0
		x, err := overload(1e6, func(rate float64) (float64, float64, error) {
			tries++
			last = min(c.part*rate, c.most)
			return last, last / 2, nil
		})
		if err != nil || x.bound != c.bound || x.goodput != last/2 || tries != c.tries {
			t.Errorf("%+v: %+v, %v, %d tries", c, x, err, tries)
		}
	}
	bad := errors.New("broken")
	if _, err := overload(1, func(float64) (float64, float64, error) { return 0, 0, bad }); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
}

// TestSearchAsksForMore has a generator that reaches nine tenths of what it is asked for: the device is the limit, and is found.
func TestSearchAsksForMore(t *testing.T) {
	f, err := search(0, 2, func(want float64) (point, error) { return point{.9 * want, .9*want <= 3e5}, nil })
	if err != nil || f.bound || f.rate < 3e5*15/16 || f.rate > 3e5 {
		t.Errorf("%+v, %v", f, err)
	}
	// What is lost at no more than what was clean before says nothing about the device.
	n := 0
	f, err = search(1e6, 1, func(want float64) (point, error) { n++; return point{min(want, 1e6), n == 1}, nil })
	if err != nil || !f.bound || f.rate != 1e6 {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestGeneratorBound follows a bound from the search to the report: the figure, and every ratio of it, is a bound and not publishable.
func TestGeneratorBound(t *testing.T) {
	rec := newRecorder()
	r := newRound(&Env{}, rec, false)
	f, err := search(0, 1, func(want float64) (point, error) { return point{min(want, 1e5), true}, nil })
	if err != nil {
		t.Fatal(err)
	}
	r.bounded("a", "packets/s", f.rate, f.bound)
	r.bounded("b", "packets/s", 5, false)
	if err := r.Ratio("a to b", "a", "b"); err != nil {
		t.Fatal(err)
	}
	r.keep()
	for _, m := range rec.metrics() {
		if free := m.Name == "b"; m.Publishable != free || (m.Bound == "") != free {
			t.Errorf("%+v", m)
		}
	}
	// A round that is thrown away leaves nothing, nor does one for warming up.
	gone := newRound(&Env{}, rec, false)
	gone.bounded("b", "packets/s", 7, true)
	warm := newRound(&Env{}, rec, true)
	warm.bounded("b", "packets/s", 7, true)
	warm.keep()
	if m := rec.metrics()[1]; len(m.Samples) != 1 || m.Bound != "" {
		t.Errorf("%+v", m)
	}
	rec.disturbed = true
	if rec.metrics()[1].Publishable { // packets/s
		t.Error("a rate of a machine that others used is publishable")
	}
	r = newRound(&Env{}, rec, false)
	r.Add("cost", "ns/packet", 1)
	r.keep()
	if !rec.metrics()[len(rec.metrics())-1].Publishable {
		t.Error("processor time of a machine that others used is not publishable")
	}
	if rec.quick = true; rec.metrics()[1].Publishable {
		t.Error("a quick run is publishable")
	}
}
