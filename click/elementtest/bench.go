package elementtest

import (
	"strconv"
	"testing"
	"time"
)

// Bench runs a graph that never ends until the handler named by count (such as "c.count") says that b.N packets
// have passed, and reports allocations. The unit is one packet.
func Bench(b *testing.B, config, count string, opt Options) {
	s, err := New(b, config, opt)
	if err != nil {
		b.Fatal(err)
	}
	read := func() int {
		v, err := s.Router.Read(count, "")
		if err != nil {
			b.Fatal(err)
		}
		n, err := strconv.Atoi(v)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	s.Node.Step()
	start := read()
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done = read() - start {
		for range 8 {
			s.Node.Step()
		}
	}
}

// Allocs reports how often a turn of a graph that has reached its steady state allocates memory.
func Allocs(t testing.TB, config string, opt Options) float64 {
	s, err := New(t, config, opt)
	if err != nil {
		t.Fatal(err)
	}
	step := func() {
		s.Clock.Advance(100 * time.Microsecond)
		s.Node.Step()
	}
	for range 10 {
		step()
	}
	return testing.AllocsPerRun(5, step)
}
