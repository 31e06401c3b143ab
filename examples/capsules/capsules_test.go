package capsules

import (
	"errors"
	"flag"
	"io/fs"
	"testing"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/sdk/ckit/ckittest"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/gate"
)

var update = flag.Bool("update", false, "build the modules from the C sources again")

// TestModulesAreBuiltFromTheirSources compares the modules with what the compiler of this machine makes of their sources.
func TestModulesAreBuiltFromTheirSources(t *testing.T) {
	if built := ckittest.Modules(t, *update, "compiler.txt", "*/*.c"); len(built) < 9 {
		t.Errorf("%d modules", len(built))
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
