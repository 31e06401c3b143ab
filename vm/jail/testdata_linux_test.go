package jail

import (
	"flag"
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var update = flag.Bool("update", false, "rebuild testdata/*.wasm from the C sources")

// TestSources compares the test capsule with its source, and loads what the compiler of this machine makes of it.
func TestSources(t *testing.T) {
	r := newRig(t, Spec{})
	for src, module := range ckittest.Modules(t, *update, "testdata/compiler.txt", "testdata/*.c") {
		code, err := r.e.Load(module, r.outside, r.acct)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		code.Release()
	}
}
