package gate

import "fmt"

// mnemonics are the names of instructions in the text format, by opcode.
var mnemonics = func() map[int]string {
	m := map[int]string{}
	put := func(from int, names ...string) {
		for i, n := range names {
			m[from+i] = n
		}
	}
	put(opUnreachable, "unreachable", "nop", "block", "loop", "if", "else")
	put(opEnd, "end", "br", "br_if", "br_table", "return", "call", "call_indirect")
	put(opDrop, "drop", "select")
	put(opLocalGet, "local.get", "local.set", "local.tee", "global.get", "global.set")
	put(0x28, "i32.load", "i64.load", "f32.load", "f64.load", "i32.load8_s", "i32.load8_u", "i32.load16_s", "i32.load16_u", "i64.load8_s", "i64.load8_u", "i64.load16_s",
		"i64.load16_u", "i64.load32_s", "i64.load32_u", "i32.store", "i64.store", "f32.store", "f64.store", "i32.store8", "i32.store16", "i64.store8", "i64.store16",
		"i64.store32", "memory.size", "memory.grow", "i32.const", "i64.const", "f32.const", "f64.const")
	compare := []string{"eqz", "eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"}
	arith := []string{"clz", "ctz", "popcnt", "add", "sub", "mul", "div_s", "div_u", "rem_s", "rem_u", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr"}
	fcompare := []string{"eq", "ne", "lt", "gt", "le", "ge"}
	farith := []string{"abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt", "add", "sub", "mul", "div", "min", "max", "copysign"}
	for _, g := range []struct {
		at    int
		t     string
		names []string
	}{{0x45, "i32", compare}, {0x50, "i64", compare}, {0x5b, "f32", fcompare}, {0x61, "f64", fcompare}, {0x67, "i32", arith}, {0x79, "i64", arith}, {0x8b, "f32", farith}, {0x99, "f64", farith}} {
		for i, n := range g.names {
			m[g.at+i] = g.t + "." + n
		}
	}
	put(0xa7, "i32.wrap_i64", "i32.trunc_f32_s", "i32.trunc_f32_u", "i32.trunc_f64_s", "i32.trunc_f64_u", "i64.extend_i32_s", "i64.extend_i32_u", "i64.trunc_f32_s",
		"i64.trunc_f32_u", "i64.trunc_f64_s", "i64.trunc_f64_u", "f32.convert_i32_s", "f32.convert_i32_u", "f32.convert_i64_s", "f32.convert_i64_u", "f32.demote_f64",
		"f64.convert_i32_s", "f64.convert_i32_u", "f64.convert_i64_s", "f64.convert_i64_u", "f64.promote_f32", "i32.reinterpret_f32", "i64.reinterpret_f64",
		"f32.reinterpret_i32", "f64.reinterpret_i64", "i32.extend8_s", "i32.extend16_s", "i64.extend8_s", "i64.extend16_s", "i64.extend32_s")
	put(prefixed, "i32.trunc_sat_f32_s", "i32.trunc_sat_f32_u", "i32.trunc_sat_f64_s", "i32.trunc_sat_f64_u", "i64.trunc_sat_f32_s", "i64.trunc_sat_f32_u",
		"i64.trunc_sat_f64_s", "i64.trunc_sat_f64_u", "memory.init", "data.drop", "memory.copy", "memory.fill", "table.init", "elem.drop", "table.copy")
	return m
}()

// mnemonic is the name of an instruction in the text format.
func mnemonic(op int) string {
	if n, ok := mnemonics[op]; ok {
		return n
	}
	return fmt.Sprintf("op %#x", op)
}

// String returns the instruction in the text format, without the types of blocks.
func (in *Instr) String() string {
	switch ops[in.Op].imm {
	case immIndex:
		return fmt.Sprintf("%s %d", in.Mnemonic, in.A)
	case immTable:
		return fmt.Sprintf("%s %v %d", in.Mnemonic, in.Targets, in.A)
	case immCallI:
		return fmt.Sprintf("%s (type %d)", in.Mnemonic, in.A)
	case immMem:
		return fmt.Sprintf("%s offset=%d", in.Mnemonic, in.B)
	case immI32, immI64:
		return fmt.Sprintf("%s %d", in.Mnemonic, in.C)
	case immF32, immF64:
		return fmt.Sprintf("%s %#x", in.Mnemonic, uint64(in.C))
	case immSegMem, immSegTab, immTabs:
		return fmt.Sprintf("%s %d", in.Mnemonic, in.A)
	}
	return in.Mnemonic
}
