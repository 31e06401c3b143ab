package conformance

import (
	"flag"
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var update = flag.Bool("update", false, "rebuild testdata/*.wasm from the C sources")

// The guests are what the sources beside them build to.
func TestSources(t *testing.T) {
	ckittest.Modules(t, *update, "testdata/compiler.txt", "testdata/*.c")
}
