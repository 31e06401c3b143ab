package gate

import "slices"

// Program is a module as the gate reads it, for tools that run it themselves, instruction by instruction, and for translators to other machines. Beside the instructions
// it has the charges of the metering (docs/metering.md), so that whoever follows it uses the fuel that the metered module does. It is immutable.
type Program struct {
	Types   []Sig
	Imports []Import // the first functions, in order
	Funcs   []Body   // those behind them
	Globals []Global
	Table   int // entries; 0: there is no table
	// Memory is the minimum and the maximum in pages of 64 KiB. HasMemory distinguishes an empty one from none.
	Memory    [2]uint32
	HasMemory bool
	Data      []DataSegment
	Elems     []ElemSegment
	Exports   map[string]int // functions that are exported, in the function index space
	Start     int            // function, or -1
	Stack     int            // slots of 8 bytes for functions that are counted
}

// Body is a function.
type Body struct {
	Index       int // in the function index space
	Type        int
	Sig         Sig
	Locals      []Type // parameters first
	Code        []Instr
	Start, Size int    // of the body, in bytes of the module
	Fuel        uint64 // charged when it is entered
	Slots       int    // of the call stack, taken while it runs; 0: it is not counted
}

// Instr is an instruction. Op is the opcode as encoded; for those behind the prefix 0xfc, Prefix and the number behind it.
type Instr struct {
	Op      int
	At      int // byte offset in the module
	A, B    uint32
	C       int64    // a constant, or its bits
	Targets []uint32 // of br_table, the default is A
	// Of block, loop and if: how many parameters and results, and at which instruction the matching end and, or 0, else are.
	Params, Results int
	End, Else       int
	Fuel            uint64 // of loop: charged each time its head is passed
	Mnemonic        string // as in the text format
}

// Prefix is or-ed to the opcodes that stand behind 0xfc.
const Prefix = prefixed

// Global is a global of the module.
type Global struct {
	Type    Type
	Mutable bool
	Init    uint64
}

// DataSegment is initial memory.
type DataSegment struct {
	Passive bool
	Offset  uint32
	Bytes   []byte
}

// ElemSegment is initial table.
type ElemSegment struct {
	Passive bool
	Offset  uint32
	Funcs   []uint32
}

// Decode passes code through the gate and returns what it read. The error is that of [Check].
func Decode(code []byte, cfg *Config) (*Program, error) {
	d, err := decodeAll(code, cfg)
	if err != nil {
		return nil, err
	}
	p := &Program{Types: d.types, Exports: map[string]int{}, Start: int(d.start), Stack: int(cfg.Limits.Stack), HasMemory: d.memory != nil}
	for _, i := range d.imports {
		p.Imports = append(p.Imports, cfg.Imports[i])
	}
	if d.memory != nil {
		p.Memory = *d.memory
	}
	if d.table != nil {
		p.Table = int(d.table[0])
	}
	for _, g := range d.globals {
		p.Globals = append(p.Globals, Global{g.t, g.mutable, initial(g)})
	}
	for _, s := range d.data {
		p.Data = append(p.Data, DataSegment{s.passive, s.offset, slices.Clone(s.data)})
	}
	for _, s := range d.elems {
		p.Elems = append(p.Elems, ElemSegment{s.passive, s.offset, s.funcs})
	}
	for _, e := range d.exports {
		if e.kind == 0 {
			p.Exports[e.name] = int(e.index)
		}
	}
	for i := range d.funcs {
		p.Funcs = append(p.Funcs, d.body(i))
	}
	return p, nil
}

// body reads function i once more.
func (d *decoded) body(i int) Body {
	f := &d.funcs[i]
	b := Body{Index: i + len(d.imports), Type: int(f.typ), Sig: d.types[f.typ], Locals: slices.Clone(d.types[f.typ].Params), Start: f.start, Size: f.size, Fuel: f.regions[0].cost}
	if f.counted {
		b.Slots = int(f.weight)
	}
	for _, g := range f.locals {
		b.Locals = append(b.Locals, slices.Repeat([]Type{g.t}, int(g.n))...)
	}
	r := f.code
	var open []int
	region := 1
	for r.more() {
		var in instr
		r.next(&in)
		x := Instr{Op: in.op, At: in.at, A: in.a, B: in.b, C: in.c, Targets: in.targets, Mnemonic: mnemonic(in.op)}
		n := len(b.Code)
		switch in.op {
		case opBlock, opLoop, opIf:
			x.Params, x.Results = d.blockTypes(in.c)
			if in.op == opLoop {
				x.Fuel = f.regions[region].cost
				region++
			}
			open = append(open, n)
		case opElse:
			b.Code[open[len(open)-1]].Else = n
		case opEnd:
			if k := len(open) - 1; k >= 0 { // otherwise it is the body's
				b.Code[open[k]].End = n
				open = open[:k]
			}
		}
		b.Code = append(b.Code, x)
	}
	return b
}

// Length is the price of a length that is only known when the instruction runs: what is charged before bulk operations and memory.grow, for the unsigned
// length on top of the operand stack. It is 0 for other instructions.
func Length(op int, n uint32) uint64 {
	switch op {
	case opMemoryCopy, opMemoryFill, opMemoryInit:
		return uint64(n) >> bulkShift
	case opTableCopy, opTableInit:
		return uint64(n) >> tableShift
	case opMemoryGrow:
		return uint64(n) << growShift
	}
	return 0
}
