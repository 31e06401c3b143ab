package bench

import (
	"bytes"
	"os"
	"testing"

	"github.com/janos-os/janos/sdk/ckit"
)

// compilerFile names the compiler that built the module which is committed.
const compilerFile = "capsules/compiler.txt"

// TestCapsuleIsBuiltFromItsSource builds it again, where there is the compiler that built it.
func TestCapsuleIsBuiltFromItsSource(t *testing.T) {
	comp, err := ckit.FindCompiler(t.Context())
	if err != nil {
		t.Skipf("no compiler: %v", err)
	}
	made, err := os.ReadFile(compilerFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	if comp.Version != string(bytes.TrimSpace(made)) && !*update {
		t.Skipf("the module was built by %q, here is %q; rebuild with -update", bytes.TrimSpace(made), comp.Version)
	}
	got, warnings, err := comp.Build(t.Context(), "capsules/flow.c", ckit.Options{})
	if err != nil || warnings != "" {
		t.Fatal(warnings, err)
	}
	if *update {
		if err := os.WriteFile("capsules/flow.wasm", got, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(compilerFile, []byte(comp.Version+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, flowCode) {
		t.Error("capsules/flow.wasm is not what flow.c becomes; rebuild with -update")
	}
}
