package abi

import (
	"bytes"
	"os"
	"testing"

	"github.com/janos-os/janos/sdk/abi/internal/gen"
)

// TestGenerated compares the committed files with what abi.yaml says.
func TestGenerated(t *testing.T) {
	files, err := gen.Files(".")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate ./sdk/abi", name)
		}
	}
}
