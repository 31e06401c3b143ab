package ants

import (
	"flag"
	"os"
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var update = flag.Bool("update", false, "build testdata/*.wasm anew from the C sources beside them")

// TestBuildCapsules compares the committed modules with their sources; with -update it writes them.
func TestBuildCapsules(t *testing.T) {
	ckittest.Modules(t, *update, "testdata/compiler.txt", "testdata/*.c")
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
