package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// CodeID is the SHA-256 of a module's bytes as they came.
type CodeID [sha256.Size]byte

// String returns the first half in hexadecimal.
func (id CodeID) String() string { return hex.EncodeToString(id[:len(id)/2]) }

// What a loaded code is charged, measured over ordinary capsules and modules made to be large: for each byte of metered
// code the interpreter keeps 20 to 60 bytes of decoded instructions, and the compiler 2 to 6 of
// machine code and tables; everything else is there two or three times. The gate itself works in some 16
// times the size of what came.
const (
	gateFactor        = 16
	moduleFactor      = 3
	interpretedFactor = 60
	compiledFactor    = 6
	codeFixed         = 4 << 10
)

// codeCharge returns the bytes that a loaded module is charged.
func (e *Engine) codeCharge(m *gate.Module) int64 {
	n := codeFixed + moduleFactor*int64(len(m.Wasm))
	if e.spec.Mode != ModeCompiled {
		n += interpretedFactor * int64(m.Code)
	}
	if e.spec.Mode != ModeInterpreter {
		n += compiledFactor * int64(m.Code)
	}
	return n
}

var handlerExports = []gate.Export{{Name: abi.ExportEvaluate, Sig: gate.Sig{Results: []gate.Type{gate.I32}}}}

var (
	processExports  = []gate.Export{{Name: ExportRun, Sig: gate.Sig{Results: []gate.Type{gate.I32}}}}
	processOptional = []gate.Export{{Name: ExportExiting}}
)

// codeKey says when code may be shared: same bytes, same class. (The gate's version is that of the program.)
type codeKey struct {
	id    CodeID
	class *Class
}

// entry is cached code.
type entry struct {
	key      codeKey
	refs     int // guarded by Engine.mu
	jobs     int // how many of them belong to the compiler's queue
	ready    chan struct{}
	err      error
	mod      *gate.Module
	manifest *abi.Manifest
	block    uint32
	window   uint32
	forms    [numTiers]form // set before best says so
	outside  OutsideCode    // where it is loaded; nil: here
	best     atomic.Int32   // the tier that new evaluations should use
	heat     atomic.Uint64  // how much it was used, see Engine.count
	owner    codeAccount    // of the first loader, pays compilation
	pool     []*body        // restored, wait for instances; guarded by Engine.mu

	blockSize uint32
	element   *elementLayout // of an element, or nil
	noted
}

// form is code made executable.
type form struct {
	tier    *tier
	module  wazero.CompiledModule // nil: not made
	imports map[string]api.Module
}

// Code is a loaded module. It is safe for concurrent use.
type Code struct {
	e        *Engine
	entry    *entry
	account  codeAccount // nil: nobody
	charged  int64
	once     sync.Once
	released bool // guarded by Engine.mu
}

// ID returns the hash of the module's bytes.
func (c *Code) ID() CodeID { return c.entry.key.id }

// Class returns the class it was loaded in.
func (c *Code) Class() *Class { return c.entry.key.class }

// Manifest returns what the module says about itself; it must not be changed.
func (c *Code) Manifest() *abi.Manifest { return c.entry.manifest }

// Size returns the bytes of the canonical metered module.
func (c *Code) Size() int { return c.Info().Canonical }

// Info is what is known about a code without running it.
type Info struct {
	Canonical int      `json:"canonical"` // bytes of the metered module
	Charge    int64    `json:"charge"`    // bytes that Load debits
	Instance  int64    `json:"instance"`  // bytes that an instance begins with
	MemoryMax int64    `json:"memory_max"`
	Functions int      `json:"functions"`
	Stack     int      `json:"stack"`     // most slots of 8 bytes that its calls take
	Recursive bool     `json:"recursive"` // calls are counted at run time
	Imports   []string `json:"imports,omitempty"`
}

// Info returns what the gate found out.
func (c *Code) Info() Info {
	if c.entry.outside != nil {
		return c.entry.outside.Info()
	}
	m := c.entry.mod
	return Info{
		Canonical: len(m.Wasm), Charge: c.e.codeCharge(m), Instance: c.entry.fixed() + int64(m.MemoryMin)<<16,
		MemoryMax: int64(m.MemoryMax) << 16, Functions: m.Functions, Stack: int(m.Stack), Recursive: m.Recursive, Imports: m.Imports,
	}
}

// fixed is what an instance costs besides its linear memory.
func (ent *entry) fixed() int64 { return instanceOverhead + ent.stack() + ent.table() }

// stack is what the calls of an instance may take on the engine's stack, which is twice as large where it had to grow.
func (ent *entry) stack() int64 { return 2 * 8 * int64(ent.mod.Stack) }

// table is what the table of an instance takes: a pointer for each entry.
func (ent *entry) table() int64 { return 8 * int64(ent.mod.Table) }

// Compiled reports whether compiled code is in use.
func (c *Code) Compiled() bool { return c.entry.best.Load() == compiled }

// Load passes a module through the gate and makes it ready to run. The bytes may be
// reused afterwards. Memory is debited from account before the work and returned by
// Release; a code that is loaded already costs the same again, but no time. The
// errors are of kind errs.Limit if the account refuses, of *gate.Error, or those of abi.ParseManifest.
// Load may be called from any goroutine, and may take milliseconds.
func (e *Engine) Load(code []byte, class *Class, account *resctl.Account) (*Code, error) {
	if account == nil {
		return e.load(code, class, nil)
	}
	return e.load(code, class, account)
}

// codeAccount is who pays for code: an account, or an isolate.
type codeAccount interface {
	payer
	Spend(r resctl.Resource, n int64)
}

func (e *Engine) load(code []byte, class *Class, account codeAccount) (*Code, error) {
	if class == nil || class.e != e {
		return nil, errs.New(errs.Invalid, "vm: load: the class belongs to another engine")
	}
	if n := uint32(len(code)); uint64(len(code)) > uint64(class.config.Limits.Module) {
		return nil, errs.New(errs.Refused, "vm: load: module of %d bytes, limit %d", n, class.config.Limits.Module)
	}
	key := codeKey{sha256.Sum256(code), class}
	c := &Code{e: e, account: account}
	if err := c.charge(codeFixed + gateFactor*int64(len(code))); err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		c.refund()
		return nil, errs.New(errs.Dead, "vm: load: the engine is closed")
	}
	if class.outside != nil {
		e.mu.Unlock()
		return e.loadOutside(code, key, c)
	}
	ent := e.cache[key]
	if ent == nil {
		ent = &entry{key: key, ready: make(chan struct{}), owner: account}
		e.cache[key] = ent
		ent.refs++
		e.mu.Unlock()
		ent.err = e.prepare(ent, code, c)
		close(ent.ready)
	} else {
		ent.refs++
		e.mu.Unlock()
		<-ent.ready
	}
	c.entry = ent
	err := ent.err
	if err == nil {
		err = c.charge(e.codeCharge(ent.mod))
	}
	if err != nil {
		c.Release()
		return nil, err
	}
	return c, nil
}

// charge changes what the account is debited for c to n bytes.
func (c *Code) charge(n int64) error {
	if c.account == nil {
		return nil
	}
	if n > c.charged {
		if err := c.account.Take(resctl.Memory, n-c.charged); err != nil {
			return err
		}
	} else {
		c.account.Return(resctl.Memory, c.charged-n)
	}
	c.charged = n
	return nil
}

func (c *Code) refund() {
	if c.account != nil {
		c.account.Return(resctl.Memory, c.charged)
		c.charged = 0
	}
}

// prepare does the work of a first Load.
func (e *Engine) prepare(ent *entry, code []byte, c *Code) error {
	class := ent.key.class
	mod, err := gate.Check(code, &class.config)
	if err != nil {
		return err
	}
	ent.mod = mod
	if err := ent.records(); err != nil {
		return err
	}
	first := e.first
	if class.process {
		// A process runs once and for long. It cannot move to the compiler while it runs, so it begins there.
		if e.Compiler() == nil {
			first = compiled
		}
	}
	if err := c.charge(e.codeCharge(mod)); err != nil {
		return err
	}
	if err := e.compile(ent, first); err != nil {
		return err
	}
	ent.best.Store(int32(first))
	return nil
}

// records finds and checks the manifest, the block and the window in the guest's memory.
func (ent *entry) records() error {
	m := ent.mod
	if ent.key.class.process {
		ent.manifest = &abi.Manifest{Name: "process"}
		if at, ok := m.Constant(abi.ExportManifest); ok {
			var raw [abi.ManifestSize]byte
			if m.Data(at, raw[:]) {
				if man, err := abi.ParseManifest(raw[:]); err == nil {
					ent.manifest = man // for the name
				}
			}
		}
		return nil
	}
	if ent.key.class.element {
		return ent.elementRecords()
	}
	at := map[string]uint32{}
	for _, name := range []string{abi.ExportManifest, abi.ExportBlock, abi.ExportWindow} {
		v, ok := m.Constant(name)
		if !ok {
			return errs.New(errs.Refused, "vm: load: the module does not export %s as an immutable i32 global: use the macros of the kit", name)
		}
		if v%8 != 0 {
			return errs.New(errs.Refused, "vm: load: %s is at %#x, want a multiple of 8", name, v)
		}
		at[name] = v
	}
	var raw [abi.ManifestSize]byte
	if !m.Data(at[abi.ExportManifest], raw[:]) {
		return errs.New(errs.Refused, "vm: load: %s at %#x is outside the initial memory", abi.ExportManifest, at[abi.ExportManifest])
	}
	var err error
	if ent.manifest, err = abi.ParseManifest(raw[:]); err != nil {
		return err
	}
	ent.block, ent.blockSize, ent.window = at[abi.ExportBlock], abi.BlockSize, at[abi.ExportWindow]
	return ent.apart([]area{
		{abi.ExportManifest, uint64(at[abi.ExportManifest]), abi.ManifestSize},
		{abi.ExportBlock, uint64(ent.block), abi.BlockSize},
		{abi.ExportWindow, uint64(ent.window), uint64(ent.manifest.WindowSize)},
	})
}

// area is where a record lies in guest memory.
type area struct {
	name    string
	at, len uint64
}

// apart checks that records lie inside the initial memory and do not overlap.
func (ent *entry) apart(areas []area) error {
	memory := uint64(ent.mod.MemoryMin) << 16
	for i, a := range areas {
		if a.at+a.len > memory {
			return errs.New(errs.Refused, "vm: load: %s (%#x, %d bytes) is outside the initial memory of %d bytes", a.name, a.at, a.len, memory)
		}
		for _, b := range areas[:i] {
			if a.at < b.at+b.len && b.at < a.at+a.len {
				return errs.New(errs.Refused, "vm: load: %s and %s overlap", b.name, a.name)
			}
		}
	}
	return nil
}

// compileIn compiles in a generation, or takes what the store has.
func (e *Engine) compileIn(t *tier, ent *entry) (map[string]api.Module, wazero.CompiledModule, error) {
	modules, err := t.modules(ent.key.class)
	if err != nil {
		return nil, nil, err
	}
	var cm wazero.CompiledModule
	if e.compiling != nil && t.kind == compiled {
		e.compiling(1)
		defer e.compiling(-1)
	}
	if t.staged != "" && e.stage.store != nil {
		cm, err = e.stage.compile(t, ent.mod.Wasm)
	} else {
		cm, err = t.compile(ent.mod.Wasm)
	}
	return modules, cm, err
}

// compile makes ent executable in a tier and charges the time to the code's owner.
func (e *Engine) compile(ent *entry, kind int) error {
	if kind == compiled {
		e.compiler.Lock() // others wait, and do not pay for that
		defer e.compiler.Unlock()
	}
	start := e.spec.Clock.Now()
	t := e.tierFor(kind, ent.mod.Types)
	modules, cm, err := e.compileIn(t, ent)
	if err != nil && t.staged != "" {
		e.leaveTier(t)
		e.withoutStage(t)
		t = e.tierFor(kind, ent.mod.Types)
		modules, cm, err = e.compileIn(t, ent)
	}
	if ent.owner != nil {
		ent.owner.Spend(resctl.CPU, int64(e.spec.Clock.Now().Sub(start)))
	}
	if err != nil {
		e.leaveTier(t)
		return errs.New(errs.Internal, "vm: the engine refuses what the gate accepted: %w", err)
	}
	ent.forms[kind] = form{tier: t, module: cm, imports: modules}
	if kind == compiled {
		e.compiles.Add(1)
	}
	return nil
}

// Release gives the code back. Instances of it may live on. Releasing twice is fine.
func (c *Code) Release() {
	c.once.Do(func() {
		c.e.mu.Lock()
		c.released = true
		c.e.mu.Unlock()
		c.e.drop(c.entry, false)
		c.refund()
	})
}

func (e *Engine) drop(ent *entry, job bool) {
	e.mu.Lock()
	ent.refs--
	if job {
		ent.jobs--
	}
	last := ent.refs == 0
	if last && ent.outside == nil {
		delete(e.cache, ent.key)
	}
	if last && ent.outside != nil {
		e.outside--
	}
	e.mu.Unlock()
	if last && ent.outside != nil {
		ent.outside.Release()
	} else if last {
		if ent.mod != nil {
			e.drain(ent)
		}
		for _, f := range ent.forms {
			if f.module != nil {
				f.module.Close(context.Background())
				e.leaveTier(f.tier)
			}
		}
	}
}

// heatFuel is how much fuel heats code like one more evaluation.
const heatFuel = 500

// count notes an interpreted evaluation, which used so much fuel, and has hot code compiled. It is called
// by instances, which hold the code.
func (e *Engine) count(ent *entry, used uint64) {
	if e.jobs == nil {
		return
	}
	hot, add := uint64(e.spec.HotAfter), 1+used/heatFuel
	if heat := ent.heat.Add(add); heat < hot || heat-add >= hot {
		return // not hot, or hot before
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	select {
	case e.jobs <- ent:
		ent.refs++
		ent.jobs++
	default:
		ent.heat.Store(0) // the queue is full: it has to become hot once more
	}
}

// compileHot is the engine's goroutine.
func (e *Engine) compileHot() {
	defer close(e.done)
	for ent := range e.jobs {
		e.mu.Lock()
		closed := e.closed
		e.mu.Unlock()
		if !closed && e.compile(ent, compiled) == nil {
			ent.best.Store(compiled)
			e.drain(ent)
		}
		e.drop(ent, true)
	}
}
