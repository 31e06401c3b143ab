package rewrite

import (
	"fmt"
	"testing"

	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/packet"
)

// warm makes so many flows through in0 and returns a function that pushes a batch of packets of them, n at a time in turn.
func warm(t testing.TB, rw string, flows int) (turn func(), s *elementtest.Session) {
	s, err := elementtest.New(t, "in0 :: ScriptIn -> MarkIPHeader -> rw :: "+rw+"; rw [0] -> c0 :: Discard; in1 :: ScriptIn -> MarkIPHeader -> [1] rw; rw [1] -> c1 :: Discard;", elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := s.Router.Element("in0").(*elementtest.ScriptIn)
	// An odd number of steps through all flows, so that neighbours in time are not neighbours in memory.
	next := 0
	data := make([][]byte, flows)
	for i := range data {
		src := 10<<24 + uint32(i)
		data[i] = []byte{0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0, byte(src >> 24), byte(src >> 16), byte(src >> 8), byte(src), 20, 0, byte(i >> 8), byte(i), 0, 7, 0, 80, 0, 28, 0xab, 0xcd, 47: 0}
	}
	push := func() {
		b := in.Thread().Scratch()
		for range packet.MaxBatch / 8 {
			p := in.Cache().AllocFrom(in.Owner(), data[next%flows])
			next += 7919
			b.Append(p)
		}
		in.Out(0).Push(b)
		in.Thread().Release(b)
	}
	if err := s.Router.Do(func() {
		b := in.Thread().Scratch()
		for i := range data {
			b.Append(in.Cache().AllocFrom(in.Owner(), data[i]))
			if b.Room() == 0 || i == flows-1 {
				in.Out(0).Push(b)
			}
		}
		in.Thread().Release(b)
	}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := s.Router.Do(push); err != nil {
			t.Fatal(err)
		}
	}, s
}

// TestKnownFlowsAllocateNothing: packets of known flows cost no memory, whatever the rewriter.
func TestKnownFlowsAllocateNothing(t *testing.T) {
	for _, rw := range []string{
		"IPRewriter(pattern 1.2.3.4 1024-65535 - - 0 1, drop)", "UDPRewriter(pattern 1.2.3.4 1024-65535 - - 0 1, drop)", "IPAddrRewriter(pattern 1.0.0.0/8 - 0 1, drop)", "IPAddrPairRewriter(pattern 1.0.0.0/8 - 0 1, drop)",
	} {
		turn, s := warm(t, rw, 1000)
		if n := s.Router.Element("rw").(sharer).core().table.n; n != 1000 {
			t.Fatalf("%s: %d flows", rw, n)
		}
		// Do itself allocates for the closure's way to the worker; what a turn of no packets costs is what it may cost.
		none := testing.AllocsPerRun(20, func() { _ = s.Router.Do(func() {}) })
		if n := testing.AllocsPerRun(20, turn); n > none {
			t.Errorf("%s: %v allocations for a batch, %v for none", rw, n, none)
		}
	}
}

// BenchmarkRewriter measures a packet of a known flow, with its way from the frame pool and back.
func BenchmarkRewriter(b *testing.B) {
	for _, flows := range []int{1, 1000, 100_000, 1_000_000} {
		for _, rw := range []string{"IPRewriter(pattern 1.2.3.4 1-65535? - - 0 1, drop)", "IPRewriter(pass 0, drop)"} {
			b.Run(fmt.Sprintf("%s/%d", rw[11:15], flows), func(b *testing.B) {
				turn, s := warm(b, rw, flows)
				for range 100 {
					turn()
				}
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += packet.MaxBatch / 8 {
					turn()
				}
				b.StopTimer()
				b.ReportMetric(float64(s.Router.Element("rw").(sharer).core().table.n), "flows")
			})
		}
	}
}

// BenchmarkNewFlow measures the first packet of a flow in a table that is full, so that another flow has to go.
func BenchmarkNewFlow(b *testing.B) {
	for _, capacity := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(capacity), func(b *testing.B) {
			_, s := warm(b, fmt.Sprintf("IPRewriter(pattern 1.2.3.4 1-65535? - - 0 1, drop, UDP_GUARANTEE 0, MAPPING_CAPACITY %d)", capacity), capacity)
			rw := s.Router.Element("rw").(sharer).core()
			b.ReportAllocs()
			b.ResetTimer()
			_ = s.Router.Do(func() {
				for i := range b.N {
					if _, ok := rw.create(0, newKey(11<<24+uint32(i), 20<<24+uint32(i)>>8, 9, 9, tagUDP), rw.Now()); !ok {
						b.Error("no flow")
						return
					}
				}
			})
		})
	}
}
