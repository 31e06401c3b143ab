package vm

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/store"
	"github.com/tetratelabs/wazero"
)

// Mode says how guest code is executed. It changes speed, never results.
type Mode uint8

// The modes.
const (
	ModeAuto        Mode = iota // interpreter first, compiled in the background when hot
	ModeInterpreter             // interpreter only
	ModeCompiled                // compiled by Load
)

// String returns the name that configuration files use.
func (m Mode) String() string {
	switch m {
	case ModeAuto:
		return "auto"
	case ModeInterpreter:
		return "interpreter"
	case ModeCompiled:
		return "compiled"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// DefaultHotAfter is how many short evaluations make code hot; a long one counts for many.
const DefaultHotAfter = 200

// EngineSpec says what an engine should be. The zero value, with a clock, is good.
type EngineSpec struct {
	Mode       Mode
	HotAfter   uint32       // ModeAuto: short evaluations of a code before it is compiled; 0: DefaultHotAfter
	Clock      clock.Clock  // measures compilation, which its owner pays; required
	Processors int          // how many processes run at a time; 0: 1. The others are for workers
	Store      *store.Store // keeps compiled code for the next start; nil: nothing is kept. The caller closes it, after the engine
	Arena      Arena        // where linear memories come from; nil: NewHeapArena()
}

// The tiers of an engine.
const (
	interpreted = iota
	compiled
	numTiers
)

// Engine executes guest code. It is safe for concurrent use.
type Engine struct {
	spec   EngineSpec
	first  int   // tier that Load prepares
	noJIT  error // why there is no compiler in ModeAuto
	config wazero.ModuleConfig

	mu       sync.Mutex
	tiers    [numTiers]*tier // the present generation; nil: not used
	maxTypes int             // function types that a generation sees, see tierFor
	cache    map[codeKey]*entry
	isolates int
	outside  int   // codes loaded outside
	waiting  int64 // bytes in pools
	closed   bool

	stage    stage
	compiler sync.Mutex // whoever compiles holds it: one at a time
	// compiling is told of the beginning (1) and the end (-1) of each compilation, for a test; nil: nobody is.
	compiling func(int)
	jobs      chan *entry // hot code; holds a reference each
	done      chan struct{}
	compiles  atomic.Uint64
	procs     processors
	handles   handles
	recorder  recorder
}

// NewEngine makes an engine. ModeCompiled fails with errs.NotSupported where
// there is no compiler for this processor; ModeAuto then stays with the interpreter, see Engine.Compiler.
func NewEngine(spec EngineSpec) (*Engine, error) {
	if spec.Clock == nil {
		return nil, errs.New(errs.Invalid, "vm: engine without a clock")
	}
	if spec.Mode > ModeCompiled {
		return nil, errs.New(errs.Invalid, "vm: unknown %v", spec.Mode)
	}
	if spec.HotAfter == 0 {
		spec.HotAfter = DefaultHotAfter
	}
	if spec.Arena == nil {
		spec.Arena = NewHeapArena()
	}
	e := &Engine{
		spec:  spec,
		cache: map[codeKey]*entry{}, maxTypes: maxTypes,
		// Nothing of the host is visible through the module's configuration: no clocks, no files, and a random
		// source that is never read but would otherwise be seeded for every instance.
		config: wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(noRandom{}),
	}
	if spec.Processors < 0 {
		return nil, errs.New(errs.Invalid, "vm: %d processors for processes", spec.Processors)
	}
	none, err := resctl.NewTree(resctl.Spec{Name: "vm"}, spec.Clock, 1)
	if err != nil {
		return nil, err
	}
	e.procs = processors{clk: spec.Clock, none: none, free: max(spec.Processors, 1)}
	if spec.Mode != ModeCompiled {
		t, err := newTier(interpreted, "")
		if err != nil {
			return nil, err
		}
		e.tiers[interpreted] = t
	}
	if spec.Mode != ModeInterpreter {
		st, err := openStage(spec.Store)
		if err != nil {
			return nil, err
		}
		t, err := newTier(compiled, st.dir)
		if err != nil {
			st.close()
		}
		e.stage = st
		if err != nil && spec.Mode == ModeCompiled {
			return nil, err
		}
		e.tiers[compiled], e.noJIT = t, err
	}
	if spec.Mode == ModeCompiled {
		e.first = compiled
	}
	if spec.Mode == ModeAuto && e.tiers[compiled] != nil {
		e.jobs, e.done = make(chan *entry, 64), make(chan struct{})
		go e.compileHot()
	}
	return e, nil
}

type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, io.EOF }

// Compiler returns nil if code can be compiled here, and otherwise why not.
func (e *Engine) Compiler() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tiers[compiled] == nil && e.noJIT == nil {
		return errs.New(errs.NotSupported, "vm: the engine was made for the interpreter only")
	}
	return e.noJIT
}

// Mode returns the engine's mode.
func (e *Engine) Mode() Mode { return e.spec.Mode }

// Stats are counts of an engine.
type Stats struct {
	Codes    int    `json:"codes"` // distinct modules in the cache
	Isolates int    `json:"isolates"`
	Compiled uint64 `json:"compiled"` // modules compiled ever
}

// Stats returns counts.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Stats{Codes: len(e.cache), Isolates: e.isolates, Compiled: e.compiles.Load()}
}

// Close ends the engine and waits for its goroutine. It refuses with errs.Exists while
// isolates are open or code is loaded. Closing twice is fine.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	held := e.outside
	for _, c := range e.cache {
		held += c.refs - c.jobs
	}
	if e.isolates > 0 || held > 0 {
		n := e.isolates
		e.mu.Unlock()
		return errs.New(errs.Exists, "vm: engine still has %d isolates and %d loaded codes: close and release them first", n, held)
	}
	e.closed = true
	if e.jobs != nil {
		close(e.jobs)
	}
	e.mu.Unlock()
	if e.jobs != nil {
		<-e.done
	}
	e.procs.close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.tiers {
		if t != nil {
			t.close()
		}
	}
	e.stage.close()
	return nil
}
