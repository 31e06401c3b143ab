package vm

import (
	"bytes"
	"os"
	"testing"

	"github.com/janos-os/janos/errs"
)

// TestSampler: a class that is looked at does what others do, for the same fuel, and is looked at once for each so many units.
func TestSampler(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		r := newRig(t, m, IsolateSpec{})
		for i, every := range []uint64{1, 7, 1000, 1 << 30, 1, 50} {
			name := "hog"
			if i >= 4 {
				name = "loop"
			}
			looks, place := uint64(0), -1
			class, err := r.e.NewClass(ClassSpec{Name: "looked at", Imports: testImports(), Sampler: &Sampler{Every: every, Look: func(_ *Instance, at int) {
				looks++
				place = at
			}}})
			if err != nil {
				t.Fatal(err)
			}
			plain := r.instance(name)
			raw, err := os.ReadFile("testdata/" + name + ".wasm")
			if err != nil {
				t.Fatal(err)
			}
			code, err := r.e.Load(raw, class, r.acct)
			if err != nil {
				t.Fatal(err)
			}
			r.codes = append(r.codes, code)
			in, err := r.iso.Instantiate(code)
			if err != nil {
				t.Fatal(err)
			}
			used := uint64(0)
			for i := range 40 {
				w := make([]byte, 64)
				w[0] = byte(i % 4)
				a, b := call(w), call(bytes.Clone(w))
				a.Budget, b.Budget = uint64(100+i*211), uint64(100+i*211)
				v1, err1 := plain.Evaluate(nil, a)
				v2, err2 := in.Evaluate(nil, b)
				if v1 != v2 || a.Used != b.Used || errs.KindOf(err1) != errs.KindOf(err2) || (err1 == nil) != (err2 == nil) {
					t.Fatalf("every %d, evaluation %d: %v %d %v, looked at %v %d %v", every, i, v1, a.Used, err1, v2, b.Used, err2)
				}
				used += b.Used
			}
			if most := used/every + 1; looks > most || name == "loop" && looks < used/100 || every < 1<<30 && place < 0 {
				t.Errorf("every %d: %d looks at %d units, the last at %d", every, looks, used, place)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.e.NewClass(ClassSpec{Sampler: &Sampler{}}); errs.KindOf(err) != errs.Invalid {
			t.Errorf("a sampler without a function: %v", err)
		}
	})
}
