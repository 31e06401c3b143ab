package elements_test

import (
	"testing"

	_ "github.com/janos-os/janos/click/elements"
	_ "github.com/janos-os/janos/click/elements/wasm"
	"github.com/janos-os/janos/click/elementtest"
)

func TestScripts(t *testing.T) { elementtest.Run(t, "testdata/*.txtar", elementtest.Options{}) }
