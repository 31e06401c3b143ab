package gate

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/janos-os/janos/errs"
)

// Config says what a class of code may be.
type Config struct {
	Limits  Limits
	Imports []Import // what may be imported, with exact types
	Exports []Export // functions that must be exported; other exports are dropped
	// Optional are functions that are kept if they are exported, and must then have that type.
	Optional []Export
	// AllExports keeps every exported function, besides those in Exports.
	AllExports bool
	// HostMemory leaves the memory's maximum to the host's allocator: the metered module declares the largest there is,
	// so that the allocator hears of every growth and can tell why a guest got no memory. It must keep to Module.MemoryMax.
	HostMemory bool
	// Resume lets the out import return when fuel ran out: the host has then put the fuel global at 0 or above, and the guest goes on. The
	// charge that could not be met is a debt until then. Without it the module traps if the import returns. Out of stack it always does.
	Resume bool

	// CallStart leaves the start function, where Limits allows one, to the host: the metered module exports it as ExportStart and runs nothing by itself.
	CallStart bool

	// Enter names one of Exports, without parameters. The metered module has another function besides, ExportEnter, that takes the fuel, calls
	// it, and returns what it returned and the fuel that is left: one call in place of three.
	Enter string

	reload bool // the fuel is never taken from where it was kept: for tests
}

func (c *Config) wants(name string) bool {
	for _, list := range [][]Export{c.Exports, c.Optional} {
		for _, e := range list {
			if e.Name == name {
				return true
			}
		}
	}
	return c.AllExports
}

// Module is what came through the gate. It is immutable.
type Module struct {
	Wasm      []byte // the canonical metered module
	MemoryMin uint32 // pages of 64 KiB; 0 with a MemoryMax of 0: no memory
	MemoryMax uint32
	Table     uint32 // entries that the table may have
	Stack     uint32 // slots of 8 bytes that its calls may take
	Recursive bool   // some calls are counted at run time
	// SegmentState tells that the module changes its table or drops segments while it runs, which is
	// state that cannot be carried from one instance to another.
	SegmentState bool
	Types        int // function types in Wasm
	Functions    int // defined ones
	Code         int // bytes of the function bodies in Wasm
	Imports      []string
	// Mutable are the indices of the guest's mutable globals, see GlobalName.
	Mutable []int
	// Initial are the values with which they begin.
	Initial []uint64
	// Everything that the module itself may write to memory lies at WriteLow to WriteHigh, if Writes is set. Otherwise that is not known.
	Writes              bool
	WriteLow, WriteHigh uint32

	constants map[string]int32 // exported immutable i32 globals
	data      []segment
	first     int // function index of the first body
	bodies    []int
	ends      int
}

// Check decides about a module. It needs time and memory in proportion to len(code), which must
// not change meanwhile; the Module keeps no reference to it. The error is an *Error.
func Check(code []byte, cfg *Config) (*Module, error) {
	d, err := decodeAll(code, cfg)
	if err != nil {
		return nil, err
	}
	w := d.rewrite()
	m := &Module{Wasm: bytes.Clone(w.out.b), Types: len(d.types) + len(w.extra), Code: w.code, Functions: len(d.funcs), Stack: d.deepest, SegmentState: d.segmentState, first: len(d.imports), constants: map[string]int32{}}
	for _, i := range d.imports {
		m.Imports = append(m.Imports, cfg.Imports[i].Module+"."+cfg.Imports[i].Name)
	}
	for i := range d.funcs {
		m.Recursive = m.Recursive || d.funcs[i].counted
		m.bodies = append(m.bodies, d.funcs[i].start)
		m.ends = d.funcs[i].start + d.funcs[i].size
	}
	if m.Recursive {
		m.Stack += cfg.Limits.Stack
	}
	if d.memory != nil {
		m.MemoryMin, m.MemoryMax = d.memory[0], d.memory[1]
	}
	if d.table != nil {
		m.Table = max(d.table[0], d.table[1])
	}
	for i, g := range d.globals {
		if g.mutable {
			m.Mutable = append(m.Mutable, i)
			m.Initial = append(m.Initial, initial(g))
		}
	}
	if m.Writes = !d.wild; m.Writes && d.memory != nil {
		end := uint64(d.memory[0]) << 16
		m.WriteLow, m.WriteHigh = uint32(min(d.writeLow, end)), uint32(min(d.writeHigh, end))
	}
	for _, e := range d.exports {
		if e.kind == 3 && !d.globals[e.index].mutable && d.globals[e.index].t == I32 {
			m.constants[e.name] = int32(d.globals[e.index].init)
		}
	}
	for _, s := range d.data {
		if !s.passive {
			m.data = append(m.data, segment{offset: s.offset, data: append([]byte(nil), s.data...)})
		}
	}
	return m, nil
}

// decodeAll decides about a module; the rest of Check writes it anew.
func decodeAll(code []byte, cfg *Config) (*decoded, error) {
	d := &decoded{cfg: cfg}
	if err := d.decode(code); err != nil {
		return nil, err
	}
	v := validator{seen: map[uint64]bool{}, stack: make([]operand, 0, 32), frames: make([]frame, 0, 8), locals: make([]Type, 0, 32)}
	for i := range d.funcs {
		f := &d.funcs[i]
		if err := v.run(d, f); err != nil {
			return nil, err
		}
		f.frame = frameSlots(len(d.types[f.typ].Params), int(f.nlocal), f.operands, f.size)
	}
	if err := d.stacks(); err != nil {
		return nil, err
	}
	if err := d.required(len(code)); err != nil {
		return nil, err
	}
	return d, nil
}

// required checks the exports that the class of code must have.
func (d *decoded) required(end int) *Error {
	wanted := d.cfg.Exports
	for _, o := range d.cfg.Optional {
		if slices.ContainsFunc(d.exports, func(e export) bool { return e.name == o.Name && e.kind == 0 }) {
			wanted = append(wanted[:len(wanted):len(wanted)], o)
		}
	}
next:
	for _, want := range wanted {
		for _, e := range d.exports {
			if e.name != want.Name {
				continue
			}
			// An imported function would run without being charged, so it must be a defined one.
			if sig, ok := d.funcSig(e.index); e.kind == 0 && ok && int(e.index) >= len(d.imports) && sig.Equal(want.Sig) {
				continue next
			}
			return &Error{Kind: errs.Refused, Offset: end, Where: "exports", Remedy: "use the macros of the kit",
				Msg: fmt.Sprintf("%q must be a function of the module, of type %v", want.Name, want.Sig)}
		}
		return &Error{Kind: errs.Refused, Offset: end, Where: "exports", Remedy: "use the macros of the kit",
			Msg: fmt.Sprintf("the function %q is missing", want.Name)}
	}
	return nil
}

// Constant returns the value of an exported immutable i32 global.
func (m *Module) Constant(name string) (uint32, bool) {
	v, ok := m.constants[name]
	return uint32(v), ok
}

// Data copies what the memory holds at addr before anything runs to dst. It reports whether that
// lies inside the memory's initial size.
func (m *Module) Data(addr uint32, dst []byte) bool {
	if uint64(addr)+uint64(len(dst)) > uint64(m.MemoryMin)<<16 {
		return false
	}
	clear(dst)
	from, to := int64(addr), int64(addr)+int64(len(dst))
	for _, s := range m.data {
		a, b := max(from, int64(s.offset)), min(to, int64(s.offset)+int64(len(s.data)))
		if a < b {
			copy(dst[a-from:b-from], s.data[a-int64(s.offset):])
		}
	}
	return true
}

// Restore makes memory, which is all that an instance has, what it was at first at lo to hi, lo not above hi.
func (m *Module) Restore(memory []byte, lo, hi uint32) {
	clear(memory[lo:hi])
	for _, s := range m.data {
		from, to := max(int64(lo), int64(s.offset)), min(int64(hi), int64(s.offset)+int64(len(s.data)))
		if from < to {
			copy(memory[from:to], s.data[from-int64(s.offset):])
		}
	}
}

// initial is a global's first value as an engine takes it.
func initial(g global) uint64 {
	if g.t == I32 || g.t == F32 {
		return uint64(uint32(g.init))
	}
	return uint64(g.init)
}

// Place explains the argument of the out import: whether fuel or call stack ran out, and the offset in the
// original module where.
func Place(arg uint32) (stack bool, offset int) { return arg&1 == outOfStack, int(arg >> 1) }

// FuncAt returns the function whose body holds offset.
func (m *Module) FuncAt(offset int) (index int, ok bool) {
	i := sort.SearchInts(m.bodies, offset+1) - 1
	if i < 0 || offset >= m.ends {
		return 0, false
	}
	return i + m.first, true
}

// FuncIndex translates a function index of the metered module to the original's.
func (m *Module) FuncIndex(metered int) int {
	if metered > m.first {
		return metered - 1
	}
	return metered
}
