package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// embedded finds a chapter of examples/embed/README.md: a directory, and what `go run .` prints in it.
var embedded = regexp.MustCompile("(?s)\n## ([a-z]+)\n[^#]*?\n```console\n\\$ go run \\.\n(.*?)```\n")

func TestEmbeddedExamplesPrintWhatTheirReadmeSays(t *testing.T) {
	dir := filepath.Join(root(t), "examples", "embed")
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for _, m := range embedded.FindAllStringSubmatch(string(page), -1) {
		want[m[1]] = m[2]
	}
	modules, err := filepath.Glob(filepath.Join(dir, "*", "go.mod"))
	if err != nil || len(modules) == 0 {
		t.Fatalf("no modules in %s: %v", dir, err)
	}
	for _, mod := range modules {
		at := filepath.Dir(mod)
		name := filepath.Base(at)
		if want[name] == "" {
			t.Errorf("examples/embed/README.md shows nothing of %s", name)
			continue
		}
		cmd := exec.Command("go", "run", ".")
		cmd.Dir, cmd.Env = at, append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != want[name] {
			t.Errorf("%s: %v, prints\n%s\nand not\n%s", name, err, out, want[name])
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("examples/embed/README.md shows %s, which is not there", name)
	}
}
