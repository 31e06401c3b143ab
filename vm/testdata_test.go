package vm

import (
	"flag"
	"strings"
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var update = flag.Bool("update", false, "rebuild testdata/*.wasm from the C sources")

// TestSources compares the test capsules with their sources, and loads what the compiler of this machine makes of them.
func TestSources(t *testing.T) {
	built := ckittest.Modules(t, *update, "testdata/compiler.txt", "testdata/*.c")
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	processes, err := r.e.NewClass(ClassSpec{Name: "process", Process: true, Imports: append(processImports(), Calls()...)})
	if err != nil {
		t.Fatal(err)
	}
	elements, err := r.e.NewClass(ClassSpec{Name: "element", Element: true})
	if err != nil {
		t.Fatal(err)
	}
	for src, module := range built {
		class := r.class
		if strings.Contains(src, "element") {
			class = elements
		}
		if strings.Contains(src, "process") {
			class = processes
		}
		if code, err := r.e.Load(module, class, r.acct); err != nil {
			t.Errorf("%s: %v", src, err)
		} else {
			code.Release()
		}
	}
}
