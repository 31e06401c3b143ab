package bench

import (
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

// TestCapsulesAreBuiltFromTheirSources builds them again, where there is the compiler that built them.
func TestCapsulesAreBuiltFromTheirSources(t *testing.T) {
	ckittest.Modules(t, *update, "capsules/compiler.txt", "capsules/*.c")
}
