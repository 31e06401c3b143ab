package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOwnElement builds and tests the element in a module outside of this one, and compares the guide's pieces of it.
func TestOwnElement(t *testing.T) {
	dir := filepath.Join(root(t), "examples", "own-element")
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	guide, err := os.ReadFile(filepath.Join(root(t), "docs", "elements-howto.md"))
	if err != nil {
		t.Fatal(err)
	}
	var files strings.Builder
	for _, name := range []string{"nth.go", "testdata/nth.txtar"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files.Write(b)
	}
	pieces := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	if len(pieces) < 5 {
		t.Errorf("the guide has %d pieces of code", len(pieces))
	}
	for _, p := range pieces {
		if !strings.Contains(files.String(), p[1]) {
			t.Errorf("the guide shows what examples/own-element does not have:\n%s", p[1])
		}
	}
}
