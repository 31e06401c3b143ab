package vm

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/sdk/ckit"
)

var update = flag.Bool("update", false, "rebuild testdata/*.wasm from the C sources")

// TestSources builds the C sources of the test capsules and, if the compiler is the one that the committed
// modules were made with, compares.
func TestSources(t *testing.T) {
	comp, err := ckit.FindCompiler(context.Background())
	if err != nil {
		t.Skip(err)
	}
	made, _ := os.ReadFile("testdata/compiler.txt")
	same := strings.TrimSpace(string(made)) == comp.Version
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	files, _ := filepath.Glob("testdata/*.c")
	if len(files) == 0 {
		t.Fatal("no sources")
	}
	for _, src := range files {
		opt := ckit.Options{}
		if filepath.Base(src) == "hog.c" {
			opt.Pages = 16
		}
		mod, warn, err := comp.Build(context.Background(), src, opt)
		if err != nil || warn != "" {
			t.Errorf("%v\n%s", err, warn)
			continue
		}
		out := strings.TrimSuffix(src, ".c") + ".wasm"
		if *update {
			if err := os.WriteFile(out, mod, 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		if code, err := r.e.Load(mod, r.class, r.acct); err != nil {
			t.Errorf("%s: %v", src, err)
		} else {
			code.Release()
		}
		if want, err := os.ReadFile(out); same && (err != nil || !bytes.Equal(mod, want)) {
			t.Errorf("%s is stale: go test ./vm -run TestSources -update", out)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/compiler.txt", []byte(comp.Version+"\n"), 0o644); err != nil {
			t.Error(err)
		}
	}
}
