package gate

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

// function is a defined function.
type function struct {
	typ    uint32
	locals []localGroup
	nlocal uint32 // without parameters
	code   reader // its instructions, after the locals
	start  int    // offset of its body
	size   int

	// what validation finds out
	regions  []region // of the entry and of each loop, in order
	leaves   bool     // some branch goes to its outermost label
	operands int
	calls    []uint32 // defined functions it calls, each once
	indirect []uint32 // types it calls through the table, each once
	dynamic  bool     // charges a length, needs a scratch local
	frame    uint32
	counted  bool // may be reached from itself: its calls are counted
	weight   uint32
	nesting  uint32 // most blocks within blocks
	blocks   uint32
	targets  uint32 // of branch tables
}

// region is what is charged at once: a function without its loops, or a loop without those inside.
type region struct {
	cost  uint64
	calls bool // there are calls in the loop, or in loops inside
}

type localGroup struct {
	n uint32
	t Type
}

type global struct {
	t       Type
	mutable bool
	init    int64 // value, or bits of one
}

type segment struct {
	passive bool
	offset  uint32
	data    []byte   // of a data segment
	funcs   []uint32 // of an element segment
}

type export struct {
	name  string
	kind  byte
	index uint32
}

// decoded is the module between decoding and rewriting.
type decoded struct {
	cfg     *Config
	size    int // of the input
	types   []Sig
	imports []int    // index into Config.Imports
	impType []uint32 // type index of each import
	funcs   []function
	table   *[2]uint32 // minimum, maximum
	memory  *[2]uint32 // pages
	globals []global
	exports []export
	start   int64 // function index, or -1
	elems   []segment
	data    []segment
	hasDC   bool
	dcount  uint32
	nslots  int    // function references in all element segments
	deepest uint32 // slots of the deepest chain of uncounted calls

	dearestIndirect uint64 // price of the dearest host call that the table may hold

	// What the module may write to memory, where the addresses of all writes are constants.
	wild                bool // they are not
	writeLow, writeHigh uint64

	segmentState bool // drops or re-initialises segments or the table at run time
}

const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export",
	"start", "element", "code", "data", "data count"}

// sectionPlaces are what errors call them.
var sectionPlaces = func() (p [len(sectionNames)]string) {
	for i, n := range sectionNames {
		p[i] = n + " section"
	}
	return p
}()

// place of each section in the order that is prescribed.
var sectionOrder = [...]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}

func (d *decoded) decode(b []byte) *Error {
	r := reader{b: b, end: len(b), where: "header"}
	if !r.limit(0, "module bytes", uint64(len(b)), d.cfg.Limits.Module, "make it smaller: -Os, --strip-all, no data tables") {
		return r.err
	}
	h := r.bytes(8)
	if h == nil || string(h[:4]) != "\x00asm" {
		r.pos = 0
		r.err = nil
		r.fail(errs.Invalid, r.pos, notWasm, "this is no WebAssembly module")
		return r.err
	}
	if v := binary.LittleEndian.Uint32(h[4:]); v != 1 {
		r.pos = 4
		r.fail(errs.Invalid, r.pos, notWasm, "WebAssembly version %d, want 1", v)
		return r.err
	}
	d.start, d.size = -1, len(b)
	last, codes := 0, -1
	for r.more() {
		at := r.pos
		id := r.byte()
		if int(id) >= len(sectionNames) {
			if id == 13 {
				r.unaccepted(at, "exceptions (tag section)", "compile with -fno-exceptions")
			} else {
				r.fail(errs.Invalid, at, "", "unknown section %d", id)
			}
			break
		}
		n := r.u32()
		if r.err != nil {
			break
		}
		s := r.sub(n, sectionPlaces[id])
		if r.err != nil {
			break
		}
		if id != secCustom {
			if sectionOrder[id] <= last {
				r.fail(errs.Invalid, at, "", "%s section is out of order or there twice", sectionNames[id])
				break
			}
			last = sectionOrder[id]
		}
		if id == secCode {
			codes = s.pos
		}
		d.section(&s, id)
		if s.err == nil && s.left() > 0 {
			s.invalid("%d bytes too many", s.left())
		}
		if s.err != nil {
			return s.err
		}
	}
	if r.err != nil {
		return r.err
	}
	r.err = nil
	r.pos = len(b)
	switch {
	case codes < 0 && len(d.funcs) > 0:
		r.invalid("%d functions are declared, but there is no code section", len(d.funcs))
	case d.hasDC && int(d.dcount) != len(d.data):
		r.invalid("data count section says %d, there are %d data segments", d.dcount, len(d.data))
	}
	return r.err
}

func (d *decoded) section(r *reader, id byte) {
	lim := &d.cfg.Limits
	switch id {
	case secCustom:
		r.name()
		r.pos = r.end
	case secType:
		n := r.count("types", 3, lim.Types, "split the module")
		for d.types = make([]Sig, 0, n); n > 0 && r.err == nil; n-- {
			d.types = append(d.types, r.sig(lim))
		}
	case secImport:
		for n := r.count("imports", 4, lim.Imports, "import only host calls"); n > 0 && r.err == nil; n-- {
			d.importEntry(r)
		}
	case secFunction:
		n := r.count("functions", 1, lim.Functions, "merge functions: -Os, -flto")
		if r.err == nil {
			d.funcs = make([]function, n)
		}
		for i := range d.funcs {
			d.funcs[i].typ = d.typeIndex(r)
		}
	case secTable:
		n := r.count("tables", 3, 1, "")
		if n == 1 {
			at := r.pos
			switch t := r.byte(); t {
			case 0x70:
			case 0x6f, 0x40, 0x64, 0x63:
				r.unaccepted(at, "reference types", "compile with -mno-reference-types")
			default:
				r.fail(errs.Invalid, at, "", "%#x is no table type", t)
			}
			at = r.pos
			lo, hi, has := r.limits(1 << 32)
			if !has {
				hi = lo // table.grow is not accepted, so it stays as it begins
			}
			if r.limit(at, "table entries", max(lo, hi), lim.Table, "use fewer function pointers") {
				d.table = &[2]uint32{uint32(lo), uint32(hi)}
			}
		}
	case secMemory:
		if n := r.count("memories", 2, 1, ""); n == 1 {
			at := r.pos
			lo, hi, has := r.limits(65536)
			if !has && r.err == nil {
				if hi = uint64(lim.MemoryDefault); hi == 0 {
					r.fail(errs.Refused, at, "link with -Wl,--max-memory=65536", "the memory declares no maximum")
				}
				hi = max(hi, lo)
			}
			if r.limit(at, "memory pages of 64 KiB", max(lo, hi), lim.MemoryPages, "link with a smaller -Wl,--max-memory and -z stack-size") {
				d.memory = &[2]uint32{uint32(lo), uint32(hi)}
			}
		}
	case secGlobal:
		n := r.count("globals", 4, lim.Globals, "keep data in memory")
		for d.globals = make([]global, 0, n); n > 0 && r.err == nil; n-- {
			g := global{t: r.valueType()}
			g.mutable = r.flag()
			g.init = d.constant(r, g.t)
			d.globals = append(d.globals, g)
		}
	case secExport:
		d.exportSection(r)
	case secStart:
		at := r.pos
		f := r.u32()
		if sig, ok := d.funcSig(f); r.err == nil && (!ok || len(sig.Params)+len(sig.Results) > 0) {
			r.fail(errs.Invalid, at, "", "start function %d must exist, take nothing and return nothing", f)
		}
		if !lim.Start {
			r.fail(errs.Refused, at, "link with --no-entry, initialise data statically", "a start function is not allowed here")
		}
		if d.cfg.CallStart && int(f) < len(d.imports) {
			r.fail(errs.Refused, at, "call it from a function of the module", "start function %d is an imported one", f)
		}
		d.start = int64(f)
	case secElement:
		for n := r.count("element segments", 3, lim.Segments, "use fewer tables of functions"); n > 0 && r.err == nil; n-- {
			d.element(r)
		}
	case secDataCount:
		d.hasDC = true
		d.dcount = r.u32()
	case secCode:
		d.code(r)
	case secData:
		for n := r.count("data segments", 2, lim.Segments, "link with --merge-data-segments"); n > 0 && r.err == nil; n-- {
			d.dataSegment(r)
		}
	}
}

func (r *reader) sig(lim *Limits) Sig {
	at := r.pos
	if f := r.byte(); f != 0x60 {
		if f == 0x5f || f == 0x5e || f == 0x50 || f == 0x4f || f == 0x4e {
			r.unaccepted(at, "typed references", "compile with -mno-gc")
		} else {
			r.fail(errs.Invalid, at, "", "%#x is no function type", f)
		}
		return Sig{}
	}
	const remedy = "pass a pointer to a structure"
	var s Sig
	np := r.count("parameters", 1, lim.Params, remedy)
	for range np {
		s.Params = append(s.Params, r.valueType())
	}
	nr := r.count("parameters and results", 1, lim.Params-min(np, lim.Params), remedy)
	for range nr {
		s.Results = append(s.Results, r.valueType())
	}
	return s
}

func (d *decoded) typeIndex(r *reader) uint32 {
	at := r.pos
	i := r.u32()
	if r.err == nil && int(i) >= len(d.types) {
		r.fail(errs.Invalid, at, "", "type %d of %d", i, len(d.types))
		return 0
	}
	return i
}

func (d *decoded) importEntry(r *reader) {
	at := r.pos
	mod, name := r.name(), r.name()
	kind := r.byte()
	if r.err != nil {
		return
	}
	if kind != 0 {
		if kind > 3 {
			r.fail(errs.Invalid, at, "", "import kind %d", kind)
		}
		r.fail(errs.Refused, at, "import functions only; link without --import-memory and --import-table", "import %q.%q is not a function", mod, name)
		return
	}
	ti := d.typeIndex(r)
	if r.err != nil {
		return
	}
	for i, imp := range d.cfg.Imports {
		if imp.Module == mod && imp.Name == name {
			if !imp.Sig.Equal(d.types[ti]) {
				r.fail(errs.Refused, at, "use the declarations of the kit", "import %q.%q has type %v, here it is %v", mod, name, d.types[ti], imp.Sig)
				return
			}
			d.imports = append(d.imports, i)
			d.impType = append(d.impType, ti)
			return
		}
	}
	var known []string
	for _, imp := range d.cfg.Imports {
		known = append(known, imp.Module+"."+imp.Name)
	}
	remedy := "this class of code may import nothing"
	if known != nil {
		remedy = "there are " + strings.Join(known, ", ") + "; a missing library function must be linked in"
	}
	r.fail(errs.Refused, at, remedy, "import %q.%q is not offered", mod, name)
}

// funcSig returns the type of a function of the function index space.
func (d *decoded) funcSig(i uint32) (Sig, bool) {
	if int(i) < len(d.imports) {
		return d.types[d.impType[i]], true
	}
	if int(i)-len(d.imports) < len(d.funcs) {
		return d.types[d.funcs[int(i)-len(d.imports)].typ], true
	}
	return Sig{}, false
}

func (r *reader) flag() bool {
	at := r.pos
	c := r.byte()
	if c > 1 {
		r.fail(errs.Invalid, at, "", "flag is %d, want 0 or 1", c)
	}
	return c == 1
}

// limits reads the size of a table or memory; top is the largest number allowed by the specification.
func (r *reader) limits(top uint64) (lo, hi uint64, has bool) {
	at := r.pos
	f := r.byte()
	if f > 1 {
		switch {
		case f <= 3:
			r.unaccepted(at, "shared memories (threads)", "compile with -mno-atomics, link without --shared-memory")
		case f <= 7:
			r.unaccepted(at, "64-bit memories", "compile for wasm32")
		default:
			r.fail(errs.Invalid, at, "", "limits flag %#x", f)
		}
		return 0, 0, false
	}
	lo = uint64(r.u32())
	if f == 1 {
		hi, has = uint64(r.u32()), true
		if lo > hi {
			r.fail(errs.Invalid, at, "", "minimum %d is above maximum %d", lo, hi)
		}
	}
	if max(lo, hi) > top {
		r.fail(errs.Invalid, at, "", "size %d is above %d", max(lo, hi), top)
	}
	return lo, hi, has
}

// constant reads an initialiser. Imported globals are not accepted, so it is a constant.
func (d *decoded) constant(r *reader, want Type) int64 {
	at := r.pos
	var in instr
	r.next(&in)
	if r.err != nil {
		return 0
	}
	var t Type
	switch in.op {
	case opI32Const:
		t = I32
	case opI64Const:
		t = I64
	case opF32Const:
		t = F32
	case opF64Const:
		t = F64
	case opGlobalGet:
		r.fail(errs.Invalid, at, "", "initialiser: global %d is not imported", in.a)
		return 0
	default:
		r.fail(errs.Invalid, at, "", "initialiser is not a constant")
		return 0
	}
	if t != want {
		r.fail(errs.Invalid, at, "", "initialiser is %v, want %v", t, want)
	}
	if (t == F32 || t == F64) && !d.cfg.Limits.Floats {
		r.noFloats(at)
	}
	if end := r.pos; r.byte() != opEnd && r.err == nil {
		r.fail(errs.Invalid, end, "", "initialiser is not a single constant")
	}
	return in.c
}

func (r *reader) noFloats(at int) {
	r.fail(errs.Refused, at, "use integers", "floating point is not allowed here")
}

func (d *decoded) exportSection(r *reader) {
	var seen names
	n := r.count("exports", 3, d.cfg.Limits.Exports, "link with -fvisibility=hidden, export less")
	d.exports = make([]export, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		at := r.pos
		e := export{name: r.name(), kind: r.byte(), index: r.u32()}
		if r.err != nil {
			return
		}
		if seen.has(d.exports, e.name) {
			r.fail(errs.Invalid, at, "", "export %q is there twice", e.name)
			return
		}
		ok := false
		switch e.kind {
		case 0:
			_, ok = d.funcSig(e.index)
		case 1:
			ok = d.table != nil && e.index == 0
		case 2:
			ok = d.memory != nil && e.index == 0
		case 3:
			ok = int(e.index) < len(d.globals)
		}
		if !ok {
			r.fail(errs.Invalid, at, "", "export %q names kind %d, index %d, which does not exist", e.name, e.kind, e.index)
			return
		}
		d.exports = append(d.exports, e)
	}
}

// names tells whether an export's name was there before; while there are few, without a map.
type names struct{ m map[string]bool }

func (n *names) has(list []export, name string) bool {
	if n.m == nil {
		if len(list) < 16 {
			for i := range list {
				if list[i].name == name {
					return true
				}
			}
			return false
		}
		n.m = map[string]bool{}
		for i := range list {
			n.m[list[i].name] = true
		}
	}
	had := n.m[name]
	n.m[name] = true
	return had
}

func (d *decoded) element(r *reader) {
	at := r.pos
	f := r.u32()
	if r.err != nil {
		return
	}
	if f > 7 {
		r.fail(errs.Invalid, at, "", "element segment kind %d", f)
		return
	}
	if f >= 3 {
		r.unaccepted(at, "element segments of references", "compile with -mno-reference-types")
		return
	}
	s := segment{passive: f == 1}
	if f == 2 {
		if t := r.u32(); t != 0 {
			r.invalid("table %d does not exist", t)
		}
	}
	if !s.passive {
		s.offset = uint32(d.constant(r, I32))
		if d.table == nil && r.err == nil {
			r.fail(errs.Invalid, at, "", "element segment without a table")
		}
	}
	if f != 0 {
		if k := r.byte(); k != 0 && r.err == nil {
			r.fail(errs.Invalid, at, "", "element kind %d", k)
		}
	}
	// The list ends with the module, the table bounds what is placed; passive segments fall under the same number.
	n := r.count("functions in an element segment", 1, d.cfg.Limits.Table, "use fewer function pointers")
	d.nslots += int(n)
	r.limit(at, "functions in all element segments", uint64(d.nslots), 2*d.cfg.Limits.Table, "use fewer function pointers")
	for ; n > 0 && r.err == nil; n-- {
		i := r.u32()
		if _, ok := d.funcSig(i); !ok && r.err == nil {
			r.invalid("function %d does not exist", i)
		}
		if r.err == nil && int(i) < len(d.imports) {
			d.dearestIndirect = max(d.dearestIndirect, uint64(d.cfg.Imports[d.imports[i]].Fuel))
		}
		s.funcs = append(s.funcs, i)
	}
	if !s.passive && r.err == nil && uint64(s.offset)+uint64(len(s.funcs)) > uint64(d.table[0]) {
		r.fail(errs.Refused, at, "", "element segment of %d at %d does not fit the table of %d", len(s.funcs), s.offset, d.table[0])
	}
	d.elems = append(d.elems, s)
}

func (d *decoded) dataSegment(r *reader) {
	at := r.pos
	f := r.u32()
	if f > 2 && r.err == nil {
		r.fail(errs.Invalid, at, "", "data segment kind %d", f)
	}
	s := segment{passive: f == 1}
	if f == 2 {
		if m := r.u32(); m != 0 && r.err == nil {
			r.invalid("memory %d does not exist", m)
		}
	}
	if !s.passive {
		s.offset = uint32(d.constant(r, I32))
		if d.memory == nil && r.err == nil {
			r.fail(errs.Invalid, at, "", "data segment without a memory")
		}
	}
	s.data = r.bytes(r.u32())
	if r.err == nil && !s.passive && uint64(s.offset)+uint64(len(s.data)) > uint64(d.memory[0])<<16 {
		r.fail(errs.Refused, at, "raise the memory's initial size", "data segment of %d bytes at %#x does not fit the initial memory", len(s.data), s.offset)
	}
	d.data = append(d.data, s)
}

func (d *decoded) code(r *reader) {
	lim := &d.cfg.Limits
	n := r.u32()
	if r.err == nil && int64(n) != int64(len(d.funcs)) {
		r.invalid("%d bodies for %d functions", n, len(d.funcs))
		return
	}
	for i := range d.funcs {
		f := &d.funcs[i]
		at := r.pos
		size := r.u32()
		if size > lim.Body {
			r.limit(at, "bytes of function "+strconv.Itoa(i+len(d.imports)), uint64(size), lim.Body, "split the function, or compile with -Os -fno-inline")
		}
		if r.err != nil {
			return
		}
		f.start, f.size = r.pos, int(size)
		if uint64(size) > uint64(r.left()) {
			r.sub(size, "function "+strconv.Itoa(i+len(d.imports)))
			return
		}
		f.code = r.sub(size, "")
		f.code.body = i + len(d.imports) + 1
		c := &f.code
		var total uint64
		for g := c.count("groups of locals", 2, 1<<16, ""); g > 0 && c.err == nil; g-- {
			at := c.pos
			n := c.u32()
			total += uint64(n)
			t := c.valueType()
			if total > 1<<32-1 {
				c.fail(errs.Invalid, at, "", "%d locals", total)
			}
			if !c.limit(at, "locals", total, lim.Locals, "split the function, or compile with -Os") {
				break
			}
			if (t == F32 || t == F64) && !lim.Floats {
				c.noFloats(at)
			}
			f.locals = append(f.locals, localGroup{n, t})
		}
		f.nlocal = uint32(total)
		if c.err != nil {
			r.err = c.err
			return
		}
		if r.err != nil {
			return
		}
	}
}
