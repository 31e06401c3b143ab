package capsules

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/sdk/ckit"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

var update = flag.Bool("update", false, "build the modules from the C sources again")

// TestModulesAreBuiltFromTheirSources builds all sources and, if the compiler is the one that the committed modules were made
// with, compares.
func TestModulesAreBuiltFromTheirSources(t *testing.T) {
	comp, err := ckit.FindCompiler(t.Context())
	if err != nil {
		t.Skip(err)
	}
	made, _ := os.ReadFile("compiler.txt")
	same := strings.TrimSpace(string(made)) == comp.Version
	files, err := filepath.Glob("*/*.c")
	if err != nil || len(files) < 9 {
		t.Fatalf("sources: %v, %v", files, err)
	}
	for _, src := range files {
		text, err := os.ReadFile(src)
		if err != nil {
			t.Fatal(err)
		}
		opt, err := ckit.FileOptions(src, text)
		if err != nil {
			t.Error(err)
			continue
		}
		mod, warnings, err := comp.Build(context.Background(), src, opt)
		if err != nil || warnings != "" {
			t.Errorf("%s: %v\n%s", src, err, warnings)
			continue
		}
		out := strings.TrimSuffix(src, ".c") + ".wasm"
		if *update {
			if err := os.WriteFile(out, mod, 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		if want, err := os.ReadFile(out); err != nil || same && !bytes.Equal(mod, want) {
			t.Errorf("%s is stale (%v): go generate ./examples/capsules", out, err)
		}
	}
	if *update {
		if err := os.WriteFile("compiler.txt", []byte(comp.Version+"\n"), 0o644); err != nil {
			t.Error(err)
		}
	} else if !same {
		t.Logf("built and not compared: the modules were made with %q, here is %q", strings.TrimSpace(string(made)), comp.Version)
	}
}

// TestProtocols loads every description, and every module as a node would.
func TestProtocols(t *testing.T) {
	engine, err := vm.NewEngine(vm.EngineSpec{Mode: vm.ModeInterpreter, Clock: clock.NewReal()})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	var imports []vm.HostFunc
	for _, c := range abi.Calls {
		imports = append(imports, vm.HostFunc{
			Module: abi.Module, Name: c.Name, Params: c.Params, Result: c.Result, Fuel: c.Fuel, Call: func(*vm.Instance, []uint64) {},
		})
	}
	class, err := engine.NewClass(vm.ClassSpec{Name: "capsule", Imports: imports})
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(FS, "*/*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatalf("descriptions: %v, %v", files, err)
	}
	for _, file := range files {
		p, err := ants.LoadProtocolFS(FS, file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, g := range p.Groups {
			for _, c := range g.Classes {
				code, err := engine.Load(c.Code, class, nil)
				if c.Name == "huge" {
					var refused *gate.Error
					if !errors.As(err, &refused) || errs.KindOf(err) != errs.Refused || refused.Offset == 0 || refused.Remedy == "" {
						t.Errorf("huge: %v, want a refusal by the gate", err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: class %s: %v", file, c.Name, err)
					continue
				}
				if got := code.Manifest().Name; got != c.Name {
					t.Errorf("%s: class %s calls itself %s", file, c.Name, got)
				}
				code.Release()
			}
		}
	}
}
