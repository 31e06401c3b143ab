package ckit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

func compiler(t *testing.T) *Compiler {
	comp, err := FindCompiler(context.Background())
	if err != nil {
		t.Skip(err)
	}
	return comp
}

func TestBuild(t *testing.T) {
	comp := compiler(t)
	t.Log(comp.Version)
	src := filepath.Join(t.TempDir(), "one.c")
	text := "#include <janos.h>\nJANOS_CAPSULE(\"one\", 64, .window_min = 4)\nJANOS_EVALUATE { return JANOS_DROP; }\n"
	if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mod, warn, err := comp.Build(context.Background(), src, Options{})
	if err != nil || warn != "" {
		t.Fatalf("%v %s", err, warn)
	}
	if !strings.HasPrefix(string(mod), "\x00asm") || len(mod) > 400 {
		t.Errorf("module of %d bytes", len(mod))
	}
	if err := os.WriteFile(src, []byte(text+"int x = y;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err = comp.Build(context.Background(), src, Options{}); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "one.c:4:9") {
		t.Errorf("a faulty source gave %v", err)
	}
	if _, _, err = comp.Build(context.Background(), src+"x", Options{}); !errors.Is(err, errs.NotFound) {
		t.Errorf("a missing source gave %v", err)
	}
}

func TestNoCompiler(t *testing.T) {
	t.Setenv(EnvCompiler, "/nonexistent/clang")
	if _, err := FindCompiler(context.Background()); !errors.Is(err, errs.NotSupported) || !strings.Contains(err.Error(), "apt-get install clang lld") {
		t.Errorf("got %v", err)
	}
}
