package ants

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/sdk/ckit"
)

var update = flag.Bool("update", false, "build testdata/*.wasm anew from the C sources beside them")

// TestBuildCapsules checks that the committed modules have sources that build; with -update it
// writes them.
func TestBuildCapsules(t *testing.T) {
	comp, err := ckit.FindCompiler(context.Background())
	if err != nil {
		if *update {
			t.Fatal(err)
		}
		t.Skipf("no compiler: %v", err)
	}
	srcs, err := filepath.Glob("testdata/*.c")
	if err != nil || len(srcs) == 0 {
		t.Fatalf("sources: %v, %v", srcs, err)
	}
	for _, src := range srcs {
		opt := ckit.Options{}
		if strings.Contains(src, "greedy") {
			opt.Pages = 16
		}
		code, warnings, err := comp.Build(context.Background(), src, opt)
		if err != nil || warnings != "" {
			t.Errorf("%s: %v %s", src, err, warnings)
			continue
		}
		file := strings.TrimSuffix(src, ".c") + ".wasm"
		if *update {
			if err := os.WriteFile(file, code, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v; run go test -run TestBuildCapsules -update", file, err)
		}
	}
}

// wasm returns a committed module.
func wasm(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// proto returns a protocol of one group with the named classes.
func proto(t testing.TB, name string, classes ...string) *Protocol {
	t.Helper()
	g := Group{Name: "main"}
	for _, c := range classes {
		g.Classes = append(g.Classes, Class{Name: c, Code: wasm(t, c)})
	}
	return &Protocol{Name: name, Groups: []Group{g}}
}
