package demo

import (
	"flag"
	"testing"

	"github.com/janos-os/janos/sdk/ckit/ckittest"
)

var update = flag.Bool("update", false, "build the hostile modules again")

func TestHostileModules(t *testing.T) {
	const dir = "../../examples/first-network/hostile/"
	ckittest.Modules(t, *update, dir+"compiler.txt", dir+"*.c")
}
