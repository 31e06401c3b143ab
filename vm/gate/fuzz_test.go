package gate_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// FuzzCheck feeds the gate. It must never panic; what it accepts must be accepted by the engine, and
// by the gate itself, in whose own terms the metered module is an ordinary one.
func FuzzCheck(f *testing.F) {
	for _, pattern := range []string{"../testdata/*.wasm", "testdata/*.wasm"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil {
				f.Add(b)
			}
		}
	}
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x00\x01\x7f\x03\x02\x01\x00\x0a\x06\x01\x04\x00\x41\x00\x0b"))
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV1|api.CoreFeatureSignExtensionOps|api.CoreFeatureMutableGlobal|
		api.CoreFeatureBulkMemoryOperations|api.CoreFeatureNonTrappingFloatToIntConversion|api.CoreFeatureMultiValue|api.CoreFeatureReferenceTypes))
	f.Cleanup(func() { rt.Close(ctx) })
	i32 := []gate.Type{gate.I32}
	imports := []gate.Import{
		{Module: "janos", Name: "state_get", Sig: gate.Sig{Params: []gate.Type{gate.I32, gate.I32, gate.I32, gate.I32}, Results: i32}},
		{Module: "janos", Name: "route_next", Sig: gate.Sig{Params: i32, Results: i32}},
	}
	cfg := &gate.Config{Limits: gate.HandlerLimits(), Imports: imports, AllExports: true}
	cfg.Limits.Start, cfg.Limits.MemoryDefault = true, 1
	again := &gate.Config{Limits: gate.Limits{Module: 1 << 22, Types: 1000, Params: 64, Imports: 100, Functions: 2000, Body: 1 << 20, Locals: 200, Nesting: 2000, Blocks: 10000,
		Operands: 1000, BranchTargets: 5000, Globals: 200, Exports: 500, Table: 4096, MemoryPages: 16, Segments: 256, Stack: 1 << 20, Start: true, Floats: true},
		Imports:    append([]gate.Import{{Module: gate.OutModule, Name: gate.OutName, Sig: gate.Sig{Params: i32}}}, imports...),
		AllExports: true}
	f.Fuzz(func(t *testing.T, code []byte) {
		m, err := gate.Check(code, cfg)
		if err != nil {
			return
		}
		if m2, err := gate.Check(code, cfg); err != nil || !bytes.Equal(m.Wasm, m2.Wasm) {
			t.Fatalf("twice the same input, two outputs: %v", err)
		}
		if _, err := gate.Check(m.Wasm, again); err != nil {
			t.Fatalf("the metered module is not valid: %v", err)
		}
		cm, err := rt.CompileModule(ctx, m.Wasm)
		if err != nil {
			t.Fatalf("the engine refuses what the gate accepts: %v", err)
		}
		cm.Close(ctx)
	})
}
