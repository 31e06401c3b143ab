package ckittest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/sdk/ckit"
)

// Modules builds every C source that matches one of the patterns, as its line janos:build says, and compares the result with the
// module beside it, NAME.wasm for NAME.c. made is the file that holds the version of the compiler that made the modules; with
// another compiler nothing is compared. If update is true, Modules writes the modules and made instead.
//
// Without a compiler the test is skipped, or fails if update is true. A pattern that matches nothing, a source that does not build
// without warnings and a module that is missing or stale are errors of the test. Modules returns what was built, by source.
func Modules(t testing.TB, update bool, made string, patterns ...string) map[string][]byte {
	t.Helper()
	comp, err := ckit.FindCompiler(t.Context())
	if err != nil {
		if update {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	version, err := os.ReadFile(made)
	if err != nil && !update {
		t.Errorf("%v; run this test with -update", err)
	}
	same := strings.TrimSpace(string(version)) == comp.Version
	built := make(map[string][]byte)
	for _, pattern := range patterns {
		sources, err := filepath.Glob(pattern)
		if err != nil || len(sources) == 0 {
			t.Errorf("no sources match %q (%v)", pattern, err)
		}
		for _, src := range sources {
			if module, ok := build(t, comp, src); ok {
				built[src] = module
			}
		}
	}
	for src, module := range built {
		file := strings.TrimSuffix(src, ".c") + ".wasm"
		if update {
			if err := os.WriteFile(file, module, 0o644); err != nil {
				t.Error(err)
			}
		} else if want, err := os.ReadFile(file); err != nil {
			t.Errorf("%v; run this test with -update", err)
		} else if same && !bytes.Equal(module, want) {
			t.Errorf("%s is not what %s builds to; run this test with -update", file, filepath.Base(src))
		}
	}
	switch {
	case update && !same && !t.Failed():
		if err := os.WriteFile(made, []byte(comp.Version+"\n"), 0o644); err != nil {
			t.Error(err)
		}
	case !update && !same:
		t.Logf("built and not compared: the modules were made with %q, here is %q", strings.TrimSpace(string(version)), comp.Version)
	}
	return built
}

func build(t testing.TB, comp *ckit.Compiler, src string) (module []byte, ok bool) {
	t.Helper()
	text, err := os.ReadFile(src)
	if err != nil {
		t.Error(err)
		return nil, false
	}
	opt, err := ckit.FileOptions(src, text)
	if err != nil {
		t.Error(err)
		return nil, false
	}
	module, warnings, err := comp.Build(t.Context(), src, opt)
	if err != nil || warnings != "" {
		t.Errorf("%s: %v\n%s", src, err, warnings)
		return nil, false
	}
	return module, true
}
