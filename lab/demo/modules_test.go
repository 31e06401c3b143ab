package demo

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/sdk/ckit"
)

var update = flag.Bool("update", false, "build the hostile modules again")

// The committed modules are what their sources build to, where the compiler is the one they were built with.
func TestHostileModules(t *testing.T) {
	comp, err := ckit.FindCompiler(t.Context())
	if err != nil {
		t.Skip(err)
	}
	made, _ := os.ReadFile("../../examples/capsules/compiler.txt")
	for _, name := range []string{"loop", "greedy"} {
		src := filepath.Join("../../examples/first-network/hostile", name+".c")
		text, err := os.ReadFile(src)
		if err != nil {
			t.Fatal(err)
		}
		opt, err := ckit.FileOptions(src, text)
		if err != nil {
			t.Fatal(err)
		}
		mod, warnings, err := comp.Build(t.Context(), src, opt)
		if err != nil || warnings != "" {
			t.Fatalf("%s: %v\n%s", src, err, warnings)
		}
		out := strings.TrimSuffix(src, ".c") + ".wasm"
		if *update {
			if err := os.WriteFile(out, mod, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(made)) == comp.Version && !bytes.Equal(mod, want) {
			t.Errorf("%s is not what its source builds to; run go test ./lab/demo -update", out)
		}
	}
}
