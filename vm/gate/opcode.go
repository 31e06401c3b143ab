package gate

import (
	"encoding/binary"

	"github.com/janos-os/janos/errs"
)

// The opcodes that need a name. Opcodes behind the prefix 0xfc are prefixed|sub.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opI32Store     = 0x36
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44

	prefixed     = 0x100
	opMemoryInit = prefixed | 8
	opDataDrop   = prefixed | 9
	opMemoryCopy = prefixed | 10
	opMemoryFill = prefixed | 11
	opTableInit  = prefixed | 12
	opElemDrop   = prefixed | 13
	opTableCopy  = prefixed | 14
)

// immediate says what follows an opcode.
type immediate uint8

const (
	immNone immediate = iota
	immBlock
	immIndex  // one u32: label, local, function, global, segment
	immTable  // branch table
	immCallI  // type index, table index
	immMem    // alignment, offset
	immZero   // one zero byte
	immZeros  // two zero bytes
	immSegMem // segment index, zero byte
	immSegTab // segment index, table index
	immTabs   // two table indices
	immI32
	immI64
	immF32
	immF64
)

// opInfo describes an opcode: its immediate and, where it is plain stack arithmetic, its type.
type opInfo struct {
	known  bool
	imm    immediate
	params string // one letter a value: i I f F for i32 i64 f32 f64
	result byte   // a letter, or 0
	align  uint8  // log2 of the access width of a load or store
	cost   uint8  // price in fuel, see cost.go
}

var ops = buildOps()

func buildOps() (t [prefixed + 15]opInfo) {
	set := func(from, to int, params string, result byte, cost uint8) {
		for op := from; op <= to; op++ {
			t[op] = opInfo{known: true, params: params, result: result, cost: cost}
		}
	}
	imm := func(op int, i immediate, cost uint8) { t[op] = opInfo{known: true, imm: i, cost: cost} }
	imm(opUnreachable, immNone, costFree)
	imm(opNop, immNone, costFree)
	imm(opBlock, immBlock, costFree)
	imm(opLoop, immBlock, costRegion)
	imm(opIf, immBlock, costOne)
	imm(opElse, immNone, costFree)
	imm(opEnd, immNone, costFree)
	imm(opBr, immIndex, costOne)
	imm(opBrIf, immIndex, costOne)
	imm(opBrTable, immTable, costBranchTable)
	imm(opReturn, immNone, costOne)
	imm(opCall, immIndex, costCall)
	imm(opCallIndirect, immCallI, costCallIndirect)
	imm(opDrop, immNone, costFree)
	imm(opSelect, immNone, costOne)
	imm(opLocalGet, immIndex, costOne)
	imm(opLocalSet, immIndex, costOne)
	imm(opLocalTee, immIndex, costOne)
	imm(opGlobalGet, immIndex, costMemory)
	imm(opGlobalSet, immIndex, costMemory)
	for i, a := range []uint8{2, 3, 2, 3, 0, 0, 1, 1, 0, 0, 1, 1, 2, 2} {
		r := byte("iIfFiiiiIIIIII"[i])
		t[0x28+i] = opInfo{known: true, imm: immMem, params: "i", result: r, align: a, cost: costMemory}
	}
	for i, a := range []uint8{2, 3, 2, 3, 0, 1, 0, 1, 2} {
		v := string("iIfFiiIII"[i])
		t[opI32Store+i] = opInfo{known: true, imm: immMem, params: "i" + v, align: a, cost: costMemory}
	}
	t[opMemorySize] = opInfo{known: true, imm: immZero, result: 'i', cost: costMemory}
	t[opMemoryGrow] = opInfo{known: true, imm: immZero, params: "i", result: 'i', cost: costGrow}
	t[opI32Const] = opInfo{known: true, imm: immI32, result: 'i', cost: costOne}
	t[opI64Const] = opInfo{known: true, imm: immI64, result: 'I', cost: costOne}
	t[opF32Const] = opInfo{known: true, imm: immF32, result: 'f', cost: costOne}
	t[opF64Const] = opInfo{known: true, imm: immF64, result: 'F', cost: costOne}

	set(0x45, 0x45, "i", 'i', costOne)
	set(0x46, 0x4f, "ii", 'i', costOne)
	set(0x50, 0x50, "I", 'i', costOne)
	set(0x51, 0x5a, "II", 'i', costOne)
	set(0x5b, 0x60, "ff", 'i', costFloat)
	set(0x61, 0x66, "FF", 'i', costFloat)
	set(0x67, 0x69, "i", 'i', costOne)
	set(0x6a, 0x6c, "ii", 'i', costOne)
	set(0x6d, 0x70, "ii", 'i', costDivide)
	set(0x71, 0x78, "ii", 'i', costOne)
	set(0x79, 0x7b, "I", 'I', costOne)
	set(0x7c, 0x7e, "II", 'I', costOne)
	set(0x7f, 0x82, "II", 'I', costDivide)
	set(0x83, 0x8a, "II", 'I', costOne)
	set(0x8b, 0x91, "f", 'f', costFloat)
	set(0x91, 0x91, "f", 'f', costRoot)
	set(0x92, 0x98, "ff", 'f', costFloat)
	set(0x95, 0x95, "ff", 'f', costRoot)
	set(0x99, 0x9f, "F", 'F', costFloat)
	set(0x9f, 0x9f, "F", 'F', costRoot)
	set(0xa0, 0xa6, "FF", 'F', costFloat)
	set(0xa3, 0xa3, "FF", 'F', costRoot)
	for i, s := range []string{"Ii", "fi", "fi", "Fi", "Fi", "iI", "iI", "fI", "fI", "FI", "FI", "if", "if", "If", "If", "Ff",
		"iF", "iF", "IF", "IF", "fF", "fi", "FI", "if", "IF", "ii", "ii", "II", "II", "II"} {
		cost := uint8(costFloat)
		if s == "Ii" || s == "iI" || s == "ii" || s == "II" {
			cost = costOne
		}
		set(0xa7+i, 0xa7+i, s[:1], s[1], cost)
	}
	for i, s := range []string{"fi", "fi", "Fi", "Fi", "fI", "fI", "FI", "FI"} {
		set(prefixed+i, prefixed+i, s[:1], s[1], costFloat)
	}
	bulk := func(op int, i immediate, params string) {
		t[op] = opInfo{known: true, imm: i, params: params, cost: costBulk}
	}
	bulk(opMemoryInit, immSegMem, "iii")
	bulk(opDataDrop, immIndex, "")
	bulk(opMemoryCopy, immZeros, "iii")
	bulk(opMemoryFill, immZero, "iii")
	bulk(opTableInit, immSegTab, "iii")
	bulk(opElemDrop, immIndex, "")
	bulk(opTableCopy, immTabs, "iii")
	return t
}

// isFloat reports whether op touches floating point.
func (o *opInfo) isFloat() bool {
	for i := range len(o.params) {
		if o.params[i] == 'f' || o.params[i] == 'F' {
			return true
		}
	}
	return o.result == 'f' || o.result == 'F'
}

func letter(c byte) Type {
	switch c {
	case 'i':
		return I32
	case 'I':
		return I64
	case 'f':
		return F32
	}
	return F64
}

// instr is one decoded instruction.
type instr struct {
	op      int
	at      int // offset of its opcode
	a, b    uint32
	c       int64    // constant, or the bits of one; type index or -64+shorthand of a block
	targets []uint32 // of a branch table, without the default, which is in a
}

// blockEmpty is what instr.c holds for a block without parameters and results.
const blockEmpty = -64

// unaccepted refuses a feature by name.
func (r *reader) unaccepted(at int, what, remedy string) {
	r.fail(errs.Refused, at, remedy, "%s are not accepted", what)
}

// next reads an instruction. The branch table of in is reused.
func (r *reader) next(in *instr) {
	in.at, in.a, in.b, in.c, in.targets = r.pos, 0, 0, 0, in.targets[:0]
	in.op = int(r.byte())
	if in.op == 0xfc {
		sub := r.u32()
		if sub > 14 {
			if sub <= 17 {
				r.unaccepted(in.at, "reference types (table.grow, table.size, table.fill)", "compile with -mno-reference-types")
			} else {
				r.pos = in.at
				r.invalid("unknown instruction 0xfc %#x", sub)
			}
			in.op = opNop
			return
		}
		in.op = prefixed | int(sub)
	}
	info := &ops[in.op]
	if !info.known {
		r.unknownOp(in.op, in.at)
		in.op = opNop
		return
	}
	switch info.imm {
	case immBlock:
		in.c = r.signed(33)
	case immIndex:
		in.a = r.u32()
	case immTable:
		n := r.count("branch table", 1, 1<<16, "")
		for ; n > 0 && r.err == nil; n-- {
			in.targets = append(in.targets, r.u32())
		}
		in.a = r.u32()
	case immCallI, immTabs:
		in.a, in.b = r.u32(), r.u32()
	case immMem:
		in.a, in.b = r.u32(), r.u32()
	case immZero:
		r.zero()
	case immZeros:
		r.zero()
		r.zero()
	case immSegMem:
		in.a = r.u32()
		r.zero()
	case immSegTab:
		in.a, in.b = r.u32(), r.u32()
	case immI32:
		in.c = r.signed(32)
	case immI64:
		in.c = r.signed(64)
	case immF32:
		if b := r.bytes(4); b != nil {
			in.c = int64(binary.LittleEndian.Uint32(b))
		}
	case immF64:
		if b := r.bytes(8); b != nil {
			in.c = int64(binary.LittleEndian.Uint64(b))
		}
	}
}

func (r *reader) zero() {
	if at := r.pos; r.byte() != 0 && r.err == nil {
		r.pos = at
		r.invalid("zero byte expected")
	}
}

func (r *reader) unknownOp(op, at int) {
	switch {
	case op >= 0x06 && op <= 0x0a || op == 0x18 || op == 0x19 || op == 0x1f:
		r.unaccepted(at, "exceptions", "compile with -fno-exceptions")
	case op == 0x12 || op == 0x13:
		r.unaccepted(at, "tail calls", "compile with -mno-tail-call")
	case op == 0x1c || op == 0x25 || op == 0x26 || op >= 0xd0 && op <= 0xd2:
		r.unaccepted(at, "reference types", "compile with -mno-reference-types")
	case op == 0x14 || op == 0x15 || op >= 0xd3 && op <= 0xd6 || op == 0xfb:
		r.unaccepted(at, "typed references", "compile with -mno-gc -mno-reference-types")
	case op == 0xfd:
		r.unaccepted(at, "vectors (SIMD)", "compile with -mno-simd128")
	case op == 0xfe:
		r.unaccepted(at, "threads and atomics", "compile with -mno-atomics")
	default:
		r.pos = at
		r.invalid("unknown instruction %#x", op)
	}
}
