package vm

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
)

// TestHostileCrowd: domains of looping, recursing and memory-greedy guests come and go beside a victim. The victim's evaluations all
// succeed for the same fuel, every hostile account ends at zero, and the process does not grow.
func TestHostileCrowd(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		victim := r.instance("count")
		hostile := []*Instance{r.instance("loop"), r.instance("hog")}
		var before, after runtime.MemStats
		var fuel uint64
		const rounds = 60
		for round := range rounds {
			if round == rounds/3 { // everything that is kept for reuse is there by now
				runtime.GC()
				runtime.ReadMemStats(&before)
			}
			acct, err := r.root.NewChild(resctl.Spec{Name: fmt.Sprint("hostile", round), Limit: resctl.Amounts{resctl.Memory: 1 << 20}})
			if err != nil {
				t.Fatal(err)
			}
			iso, err := r.e.NewIsolate(IsolateSpec{Name: acct.Name(), Account: acct})
			if err != nil {
				t.Fatal(err)
			}
			for what := range byte(5) {
				for _, h := range hostile {
					in, err := iso.Instantiate(h.code)
					if err != nil {
						t.Fatal(err)
					}
					c := call([]byte{what, 0, 0, 0})
					c.Budget = 20_000
					_, err = in.Evaluate(acct.Meter(0), c)
					if looping := h == hostile[0] && what > 0; looping != (err != nil) && looping {
						t.Fatalf("%s %d ended", h.code.Manifest().Name, what)
					}
					if used := acct.Usage(resctl.Memory); used.Peak > used.Limit {
						t.Fatalf("%+v", used)
					}
					if what%2 == 0 { // the others are left to the isolate
						if err := in.Close(); err != nil {
							t.Fatal(err)
						}
					}
				}
				c := call(make([]byte, 8))
				if v, err := victim.Evaluate(r.acct.Meter(0), c); err != nil || v != abi.Forward || fuel != 0 && c.Used != fuel {
					t.Fatalf("the victim: %v %v, %d units after %d", v, err, c.Used, fuel)
				}
				fuel = c.Used
			}
			iso.Kill(nil)
			if err := iso.Close(); err != nil {
				t.Fatal(err)
			}
			if n := acct.Use(resctl.Memory); n != 0 {
				t.Fatalf("round %d: %d bytes left in the hostile account", round, n)
			}
			acct.Meter(0).Fold()
			if err := acct.Close(); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
	})
}
