package threads_test

import (
	"testing"

	"github.com/janos-os/janos/click/elementtest"
)

func TestScripts(t *testing.T) { elementtest.Run(t, "testdata/*.txtar", elementtest.Options{}) }
