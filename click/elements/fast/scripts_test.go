package fast_test

import (
	"testing"

	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
)

func TestScripts(t *testing.T) { elementtest.Run(t, "testdata/*.txtar", elementtest.Options{}) }
