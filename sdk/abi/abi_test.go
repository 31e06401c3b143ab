package abi

import (
	"bytes"
	"maps"
	"os"
	"testing"

	"github.com/janos-os/janos/sdk/abi/internal/gen"
)

// TestGenerated compares the committed files with what the descriptions say.
func TestGenerated(t *testing.T) {
	files, err := gen.Files(".")
	if err != nil {
		t.Fatal(err)
	}
	calls, err := gen.CallFiles(".")
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, calls)
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./sdk/abi", name)
		}
	}
}
