package vm

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/janos-os/janos/errs"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// maxTypes bounds the function types that one generation of a tier is shown.
const maxTypes = 16 << 10

// tier is one way of execution, in one generation: a runtime of wazero. A runtime remembers every function type that
// it was ever shown, so it is replaced by a new one after so many; code that is loaded stays where
// it is, and a generation ends with the last of it.
type tier struct {
	kind  int
	rt    wazero.Runtime
	meter api.Module // the host module through which metered code leaves

	// With a stage: the cache that the runtime has, and the directory in which it keeps modules.
	cache  wazero.CompilationCache
	staged string

	types   int // function types shown; guarded by Engine.mu
	codes   int // entries compiled here; guarded by Engine.mu
	retired bool

	mu    sync.Mutex
	hosts map[*Class]map[string]api.Module // what guests of a class import, by module
}

// newTier makes a runtime that accepts what the gate accepts, and nothing else. With a stage it keeps what it compiles in that directory.
func newTier(kind int, stage string) (t *tier, err error) {
	// wazero panics where it has no compiler for the processor, and fails where the kernel
	// refuses executable memory.
	defer func() {
		if r := recover(); r != nil {
			t, err = nil, errs.New(errs.NotSupported, "vm: no compiler here (%v): use the interpreter", r)
		}
	}()
	cfg := wazero.NewRuntimeConfigInterpreter()
	if kind == compiled {
		cfg = wazero.NewRuntimeConfigCompiler()
	}
	var cache wazero.CompilationCache
	staged := ""
	if stage != "" && kind == compiled {
		if cache, err = wazero.NewCompilationCacheWithDir(stage); err != nil {
			return nil, errs.New(errs.Permission, "vm: code store: %w", err)
		}
		cfg = cfg.WithCompilationCache(cache)
		if dirs, _ := filepath.Glob(filepath.Join(stage, "*")); len(dirs) == 1 {
			staged = dirs[0]
		}
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, cfg.
		WithCoreFeatures(api.CoreFeaturesV1|api.CoreFeatureSignExtensionOps|api.CoreFeatureMutableGlobal|
			api.CoreFeatureBulkMemoryOperations|api.CoreFeatureNonTrappingFloatToIntConversion|api.CoreFeatureMultiValue|
			api.CoreFeatureReferenceTypes). // without it wazero 1.12 panics on a passive element segment; the gate lets none of its instructions through
		WithDebugInfoEnabled(false).WithCustomSections(false).WithCloseOnContextDone(false))
	t = &tier{kind: kind, rt: rt, cache: cache, staged: staged, hosts: map[*Class]map[string]api.Module{}}
	t.meter, err = t.host([]HostFunc{{
		Name: meterOut, params: []api.ValueType{api.ValueTypeI32}, fn: leave,
	}})
	if err != nil {
		t.close()
		return nil, errs.New(errs.NotSupported, "vm: no compiler here: %w: use the interpreter", err)
	}
	return t, nil
}

func (t *tier) close() {
	t.rt.Close(context.Background())
	if t.cache != nil { // then the compiled code is the cache's
		t.cache.Close(context.Background())
	}
}

// tierFor returns the generation in which a module with so many types is to be compiled, and counts the module
// in. It begins a new generation when the present one has seen enough.
func (e *Engine) tierFor(kind, types int) *tier {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tiers[kind]
	if t.types > 0 && t.types+types > e.maxTypes {
		if next, err := newTier(kind, e.stage.dir); err == nil { // else stay with the old one, which works
			t.retired = true
			if t.codes == 0 {
				t.close()
			}
			t, e.tiers[kind] = next, next
		}
	}
	t.types += types
	t.codes++
	return t
}

// withoutStage goes on without the stage of t, which does not work.
func (e *Engine) withoutStage(t *tier) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stage.close()
	next, err := newTier(t.kind, "")
	if err != nil || e.tiers[t.kind] != t {
		return
	}
	t.retired = true
	if t.codes == 0 {
		t.close()
	}
	e.tiers[t.kind] = next
}

// leaveTier counts a module out.
func (e *Engine) leaveTier(t *tier) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.codes--; t.codes == 0 && t.retired {
		t.close()
	}
}

// compile hands the gate's output to the engine. A panic there is a defect of the engine that the
// gate does not know about; it costs this module, not the node.
func (t *tier) compile(wasm []byte) (cm wazero.CompiledModule, err error) {
	defer func() {
		if r := recover(); r != nil {
			cm, err = nil, errs.New(errs.Internal, "the engine panicked: %v", r)
		}
	}()
	return t.rt.CompileModule(context.Background(), wasm)
}

// instantiate makes a module instance, see compile.
func (t *tier) instantiate(ctx context.Context, cm wazero.CompiledModule, cfg wazero.ModuleConfig) (mod api.Module, err error) {
	defer func() {
		if r := recover(); r != nil {
			mod, err = nil, errs.New(errs.Internal, "the engine panicked: %v", r)
		}
	}()
	return t.rt.InstantiateModule(ctx, cm, cfg)
}

// host makes an anonymous module of host functions. It lives as long as the runtime.
func (t *tier) host(fns []HostFunc) (api.Module, error) {
	ctx := context.Background()
	b := t.rt.NewHostModuleBuilder("host") // the instance stays anonymous
	for _, f := range fns {
		var results []api.ValueType
		if f.Result {
			results = []api.ValueType{api.ValueTypeI32}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(f.fn, f.params, results).Export(f.Name)
	}
	m, err := b.Compile(ctx)
	if err != nil {
		return nil, err
	}
	return t.rt.InstantiateModule(ctx, m, wazero.NewModuleConfig().WithName(""))
}

// modules returns what guests of class c import, made once in a generation.
func (t *tier) modules(c *Class) (map[string]api.Module, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.hosts[c]; m != nil {
		return m, nil
	}
	m := map[string]api.Module{meterModule: t.meter}
	for name, fns := range c.functions {
		h, err := t.host(fns)
		if err != nil {
			return nil, errs.New(errs.Internal, "vm: class %s: %w", c.name, err)
		}
		m[name] = h
	}
	t.hosts[c] = m
	return m, nil
}
