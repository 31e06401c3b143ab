package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/vm/gate"
	"github.com/janos-os/janos/vm/step"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// specDir finds the WebAssembly specification's test suite, which the engine's own module carries.
func specDir(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Skipf("the engine's module cannot be located, so there is no specification suite: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal/integration_test/spectest/v2/testdata")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the engine's module has no specification suite here: %v", err)
	}
	return dir
}

type specValue struct {
	Type  string
	Value any
}

type specCommand struct {
	Type, Filename, Text, Name, As string
	Line                           int
	ModuleType                     string `json:"module_type"`
	Action                         struct {
		Type, Field, Module string
		Args                []specValue
	}
	Expected []specValue
}

var errOut = errors.New("out")

// specRunner is one engine with the host module of the suite.
type specRunner struct {
	rt  wazero.Runtime
	mod api.Module
}

func newSpecRunner(t *testing.T, cfg wazero.RuntimeConfig) *specRunner {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, cfg.WithCoreFeatures(api.CoreFeaturesV1|api.CoreFeatureSignExtensionOps|api.CoreFeatureMutableGlobal|
		api.CoreFeatureBulkMemoryOperations|api.CoreFeatureNonTrappingFloatToIntConversion|api.CoreFeatureMultiValue|api.CoreFeatureReferenceTypes))
	b := rt.NewHostModuleBuilder(gate.OutModule)
	b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) { panic(errOut) }), []api.ValueType{api.ValueTypeI32}, nil).Export(gate.OutName)
	if _, err := b.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	b = rt.NewHostModuleBuilder("spectest")
	for _, i := range specImports() {
		var ps []api.ValueType
		for _, p := range i.Sig.Params {
			ps = append(ps, api.ValueType(p))
		}
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), ps, nil).Export(i.Name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close(ctx) })
	return &specRunner{rt: rt}
}

func specImports() []gate.Import {
	var list []gate.Import
	for name, ps := range map[string][]gate.Type{"print": nil, "print_i32": {gate.I32}, "print_i64": {gate.I64}, "print_f32": {gate.F32}, "print_f64": {gate.F64},
		"print_i32_f32": {gate.I32, gate.F32}, "print_f64_f64": {gate.F64, gate.F64}} {
		list = append(list, gate.Import{Module: "spectest", Name: name, Sig: gate.Sig{Params: ps}, Fuel: 10})
	}
	return list
}

// instantiate runs a start function, if there is one, without fuel; such a module only counts as accepted.
func (s *specRunner) instantiate(m *gate.Module) error {
	ctx := context.Background()
	cm, err := s.rt.CompileModule(ctx, m.Wasm)
	if err != nil {
		return err
	}
	s.mod, err = s.rt.InstantiateModule(ctx, cm, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if errors.Is(err, errOut) {
		s.mod = nil
		return nil
	}
	return err
}

const specFuel = 1 << 40

func (s *specRunner) invoke(c *specCommand) (res []uint64, used uint64, err error) {
	fuel := s.mod.ExportedGlobal(gate.ExportFuel).(api.MutableGlobal)
	fuel.Set(specFuel)
	var args []uint64
	for _, a := range c.Action.Args {
		v, _ := strconv.ParseUint(a.Value.(string), 10, 64)
		args = append(args, v)
	}
	f := s.mod.ExportedFunction(c.Action.Field)
	if f == nil {
		return nil, 0, fmt.Errorf("no function %q", c.Action.Field)
	}
	res, err = f.Call(context.Background(), args...)
	return res, specFuel - fuel.Get(), err
}

// specMachine is the engine that steps.
type specMachine struct{ m *step.Machine }

func (s *specMachine) instantiate(raw []byte, cfg *gate.Config) error {
	p, err := gate.Decode(raw, cfg)
	if err != nil {
		return err
	}
	s.m = step.New(p, 65536, func(*step.Machine, int, []uint64) ([]uint64, error) { return nil, nil })
	return nil
}

func (s *specMachine) invoke(c *specCommand) (res []uint64, used uint64, err error) {
	var args []uint64
	for _, a := range c.Action.Args {
		v, _ := strconv.ParseUint(a.Value.(string), 10, 64)
		args = append(args, v)
	}
	i, ok := s.m.Prog.Exports[c.Action.Field]
	if !ok {
		return nil, 0, fmt.Errorf("no function %q", c.Action.Field)
	}
	s.m.Fuel = specFuel
	if err = s.m.Enter(i, args...); err == nil {
		err = s.m.Run()
	}
	return s.m.Results, uint64(specFuel - s.m.Fuel), err
}

func specEqual(got uint64, want specValue) bool {
	text, _ := want.Value.(string)
	switch {
	case want.Type == "f32" && strings.HasPrefix(text, "nan"):
		return math.IsNaN(float64(math.Float32frombits(uint32(got))))
	case want.Type == "f64" && strings.HasPrefix(text, "nan"):
		return math.IsNaN(math.Float64frombits(got))
	case want.Type == "i32" || want.Type == "f32":
		v, _ := strconv.ParseUint(text, 10, 32)
		return uint32(v) == uint32(got)
	}
	v, _ := strconv.ParseUint(text, 10, 64)
	return v == got
}

// TestSpecification runs the specification's own suite through the gate and both engines: what is invalid must
// be refused, what is valid must be accepted unless it uses what the gate names as not accepted, and
// the metered program must do what the original does, for the same fuel on both engines, and on the one that steps through the original and charges after the
// documented rule.
func TestSpecification(t *testing.T) {
	dir := specDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no suite in %s: %v", dir, err)
	}
	lim := gate.Limits{Module: 1 << 24, Types: 1000, Params: 1000, Imports: 1000, Functions: 10000, Body: 1 << 20, Locals: 1 << 17, Nesting: 2000, Blocks: 10000, Operands: 20000,
		BranchTargets: 1 << 17, Globals: 1000, Exports: 10000, Table: 1 << 25, MemoryPages: 65536, MemoryDefault: 65536, Segments: 1000, Stack: 16 << 10, Start: true, Floats: true}
	cfg := &gate.Config{Limits: lim, Imports: specImports(), AllExports: true}
	var refusedBad, accepted, unaccepted, returns, traps int
	for _, file := range files {
		base := filepath.Base(file)
		if strings.HasPrefix(base, "simd") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var script struct{ Commands []specCommand }
		if err := json.Unmarshal(text, &script); err != nil {
			t.Fatal(err)
		}
		runners := []*specRunner{newSpecRunner(t, wazero.NewRuntimeConfigInterpreter()), newSpecRunner(t, wazero.NewRuntimeConfigCompiler())}
		live, stepped := false, new(specMachine)
		for i := range script.Commands {
			c := &script.Commands[i]
			at := fmt.Sprintf("%s line %d", base, c.Line)
			var raw []byte
			if c.Filename != "" && strings.HasSuffix(c.Filename, ".wasm") {
				if raw, err = os.ReadFile(filepath.Join(dir, c.Filename)); err != nil {
					t.Fatal(err)
				}
			}
			switch c.Type {
			case "assert_invalid", "assert_malformed":
				if raw == nil {
					continue
				}
				if _, err := gate.Check(raw, cfg); err == nil {
					t.Errorf("%s (%s): accepted, want refused because of %q", at, c.Filename, c.Text)
				}
				refusedBad++
			case "module":
				live = false
				m, err := gate.Check(raw, cfg)
				if err != nil {
					if !errors.Is(err, errs.Refused) {
						t.Errorf("%s (%s): %v", at, c.Filename, err)
					}
					unaccepted++
					continue
				}
				accepted++
				live = true
				if err := stepped.instantiate(raw, cfg); err != nil {
					t.Errorf("%s (%s): %v", at, c.Filename, err)
				}
				for _, r := range runners {
					if err := r.instantiate(m); err != nil {
						t.Errorf("%s (%s): instantiate: %v", at, c.Filename, err)
						live = false
					}
					live = live && r.mod != nil
				}
			case "assert_return", "assert_trap", "assert_exhaustion", "action":
				if !live || c.Action.Type != "invoke" || c.Action.Module != "" {
					continue
				}
				var used [3]uint64
				for k, invoke := range []func(*specCommand) ([]uint64, uint64, error){runners[0].invoke, runners[1].invoke, stepped.invoke} {
					res, n, err := invoke(c)
					used[k] = n
					if c.Type == "assert_trap" || c.Type == "assert_exhaustion" {
						if err == nil {
							t.Errorf("%s: no trap, want %q", at, c.Text)
						}
						var trap *step.Trap
						ours := errors.Is(err, errOut) || errors.As(err, &trap) && trap.Reason == step.OutOfStack
						if c.Type == "assert_exhaustion" && !ours {
							t.Errorf("%s: recursion was ended by the engine: %v", at, err)
						}
						traps++
						continue
					}
					if err != nil {
						t.Errorf("%s: %s: %v", at, c.Action.Field, err)
						continue
					}
					for j, want := range c.Expected {
						if !specEqual(res[j], want) {
							t.Errorf("%s: %s%v = %v, want %v", at, c.Action.Field, c.Action.Args, res, c.Expected)
						}
					}
					returns++
				}
				if used[0] != used[1] || used[0] != used[2] {
					t.Errorf("%s: %s used %d in the interpreter, %d compiled, %d stepped", at, c.Action.Field, used[0], used[1], used[2])
				}
				if c.Type == "assert_exhaustion" {
					live = false // the call stack is not reset here
				}
			}
		}
	}
	t.Logf("refused %d bad modules; accepted %d, did not accept %d; %d results and %d traps as specified", refusedBad, accepted, unaccepted, returns, traps)
	if refusedBad < 1000 || accepted < 500 || returns < 10000 || traps < 500 {
		t.Error("the suite is smaller than it was")
	}
}
