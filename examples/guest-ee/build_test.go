package guestee

import (
	"flag"
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var update = flag.Bool("update", false, "rebuild the modules from the C sources")

// The modules are what the sources beside them build to.
func TestSources(t *testing.T) { ckittest.Modules(t, *update, "guests/compiler.txt", "guests/*.c") }
