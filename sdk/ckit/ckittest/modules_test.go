package ckittest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/sdk/ckit"
)

// recorder is a test that writes down what went wrong and goes on.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Logf(string, ...any)       {}
func (r *recorder) Failed() bool              { return len(r.errors) > 0 }
func (r *recorder) Error(a ...any)            { r.errors = append(r.errors, fmt.Sprint(a...)) }
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Context() context.Context  { return r.TB.Context() }
func (r *recorder) wants(what ...string) error {
	ok := len(r.errors) == len(what)
	for i := 0; ok && i < len(what); i++ {
		ok = strings.Contains(r.errors[i], what[i])
	}
	if !ok {
		return fmt.Errorf("errors %q, want %d with %q", r.errors, len(what), what)
	}
	return nil
}

func TestModules(t *testing.T) {
	if _, err := ckit.FindCompiler(t.Context()); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const source = "#include <janos.h>\nJANOS_CAPSULE(\"one\", 64)\nJANOS_EVALUATE { return JANOS_DROP; }\n"
	check := func(step string, update bool, want ...string) map[string][]byte {
		t.Helper()
		r := &recorder{TB: t}
		built := Modules(r, update, filepath.Join(dir, "compiler.txt"), filepath.Join(dir, "*.c"))
		if err := r.wants(want...); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		return built
	}
	check("nothing there", false, "compiler.txt", "no sources match")
	write("one.c", source)
	check("a source alone", false, "compiler.txt", "one.wasm")
	if built := check("update", true); !strings.HasPrefix(string(built[filepath.Join(dir, "one.c")]), "\x00asm") {
		t.Errorf("built %q", built)
	}
	check("as it was written", false)
	write("one.c", strings.Replace(source, "64", "65", 1))
	check("another source", false, "one.wasm is not what one.c builds to")
	write("compiler.txt", "clang of yesterday\n")
	check("another compiler", false)
	check("update by it", true)
	check("as it was written then", false)
	write("one.c", "/* janos:build pages=0 */\n"+source)
	check("a bad directive", false, "one.c:1:")
	write("one.c", source+"static int unused;\n")
	check("a warning", false, "unused")
	write("compiler.txt", "clang of yesterday\n")
	check("an update that fails", true, "unused")
	if b, err := os.ReadFile(filepath.Join(dir, "compiler.txt")); err != nil || string(b) != "clang of yesterday\n" {
		t.Errorf("the version was written (%q, %v) although not all modules were", b, err)
	}
}
