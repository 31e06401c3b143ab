package gate

import (
	"encoding/binary"
	"strings"
	"testing"
)

func checked(t *testing.T, m *mod) *Module {
	t.Helper()
	got, err := Check(m.bytes(), handlerConfig())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// counts adds 1 to the 32-bit cell at address 0.
var counts = []byte{opI32Const, 0, opI32Const, 0, 0x28, 2, 0, opI32Const, 1, opI32Add, opI32Store, 2, 0}

func cell(o outcome) uint32 { return binary.LittleEndian.Uint32(o.memory) }

// TestLoopRunsOutExactly counts the iterations of an endless loop: what is left of the budget after the entry, divided
// by the price of one, and not one more.
func TestLoopRunsOutExactly(t *testing.T) {
	m := evaluator(cat([]byte{opLoop, 0x40}, counts, []byte{opBr, 0, opEnd, opI32Const, 0})...)
	m.globals = []global{{I32, true, 0}, {I64, true, 0}} // read by runProgram
	mod := checked(t, m)
	const entry = costRegion + 1 // the entry pays the constant behind the loop too
	const round = costRegion + 4*costOne + 2*costMemory + costOne
	for i, rt := range newEngines(t) {
		for _, budget := range []uint64{0, entry - 1, entry, entry + round - 1, entry + round, entry + 2*round - 1, 1000, 20_000} {
			o := runProgram(t, rt, mod, budget)
			want := uint32(0)
			if budget > entry {
				want = uint32((budget - entry) / round)
			}
			if cell(o) != want || !strings.HasPrefix(o.out, "false") || o.fuel >= 0 {
				t.Errorf("engine %d, budget %d: %d rounds, want %d; left because of %q with %d", i, budget, cell(o), want, o.out, o.fuel)
			}
		}
	}
}

// TestPrices compares what a program is charged with the price list, and checks that one unit less stops it before it did anything.
func TestPrices(t *testing.T) {
	fill := func(n byte) []byte { // memory.fill of n*2^12 bytes at 16
		return []byte{opI32Const, 16, opI32Const, 1, opI32Const, n, opI32Const, 12, 0x74, 0xfc, 11, 0, opI32Const, 0}
	}
	arm := func(n int) []byte { return rep(n, opI32Const, 0, opDrop) }
	for name, tc := range map[string]struct {
		code []byte
		want uint64
	}{
		"straight":  {cat(counts, konst), costRegion + 5*costOne + 2*costMemory},
		"if":        {cat(counts, konst, []byte{opIf, 0x40}, arm(7), []byte{opElse}, arm(3), []byte{opEnd}, konst), costRegion + 5*costOne + 2*costMemory + 2*costOne + 7},
		"else":      {cat(counts, konst, []byte{opIf, 0x40}, arm(3), []byte{opElse}, arm(7), []byte{opEnd}, konst), costRegion + 5*costOne + 2*costMemory + 2*costOne + 7},
		"divide":    {cat(counts, []byte{opI32Const, 8, opI32Const, 2, 0x6d}), costRegion + 4*costOne + 2*costMemory + 2*costOne + costDivide},
		"fill":      {cat(counts, fill(1)), costRegion + 4*costOne + 2*costMemory + 6*costOne + costBulk + 4096>>bulkShift},
		"fill more": {cat(counts, fill(8)), costRegion + 4*costOne + 2*costMemory + 6*costOne + costBulk + 8*4096>>bulkShift},
		"grow":      {cat(counts, []byte{opI32Const, 1, opMemoryGrow, 0}), costRegion + 4*costOne + 2*costMemory + costOne + costGrow + 1<<growShift},
	} {
		m := evaluator(tc.code...)
		m.memory = []uint32{1, 3}
		m.globals = []global{{I32, true, 0}, {I64, true, 0}}
		mod := checked(t, m)
		for i, rt := range newEngines(t) {
			o := runProgram(t, rt, mod, 1<<20)
			if got := 1<<20 - o.fuel; o.out != "" || got != int64(tc.want) {
				t.Errorf("%s, engine %d: charged %d, want %d (%s)", name, i, got, tc.want, o.out)
			}
			if o = runProgram(t, rt, mod, tc.want); o.out != "" || o.fuel != 0 || cell(o) != 1 {
				t.Errorf("%s, engine %d: with exactly %d: %q, %d left", name, i, tc.want, o.out, o.fuel)
			}
			o = runProgram(t, rt, mod, tc.want-1)
			if !strings.HasPrefix(o.out, "false") {
				t.Errorf("%s, engine %d: with one unit less: %q", name, i, o.out)
			}
			// Static charges come before anything; dynamic ones before the bulk operation.
			if dynamic := strings.HasPrefix(name, "fill") || name == "grow"; o.memory[16] != 0 || len(o.memory) != 1<<16 || !dynamic && cell(o) != 0 {
				t.Errorf("%s, engine %d: with one unit less something was written", name, i)
			}
		}
	}
}

// TestHugeLengths: lengths that cannot be are charged for, not executed.
func TestHugeLengths(t *testing.T) {
	for _, code := range [][]byte{
		{opI32Const, 0, opI32Const, 0, opI32Const, 0x7f, 0xfc, 11, 0, opI32Const, 0}, // fill of 2^32-1
		{opI32Const, 0, opI32Const, 0, opI32Const, 0x7f, 0xfc, 10, 0, 0, opI32Const, 0},
		{opI32Const, 0x7f, opMemoryGrow, 0},
	} {
		m := evaluator(code...)
		m.globals = []global{{I32, true, 0}, {I64, true, 0}}
		mod := checked(t, m)
		for i, rt := range newEngines(t) {
			if o := runProgram(t, rt, mod, 1_000_000); !strings.HasPrefix(o.out, "false") {
				t.Errorf("engine %d: % x: %q", i, code, o.out)
			}
		}
	}
}

// TestCallStack: recursion ends after exactly Limits.Stack slots, and a call that returns gives its slots back,
// whichever way it returns.
func TestCallStack(t *testing.T) {
	deep := evaluator(cat(counts, []byte{opCall, 0})...)
	deep.globals = []global{{I32, true, 0}, {I64, true, 0}}
	mod := checked(t, deep)
	want := HandlerLimits().Stack / frameSlots(0, 0, 2, len(counts)+4)
	// f returns by return inside a block, by br to its outermost label, or at its end; a loop calls it 3000 times.
	f := cat([]byte{opBlock, 0x40, opLocalGet, 0, 0x45, opBrIf, 0, opLocalGet, 0, opI32Const, 1, 0x46, opIf, 0x40, opI32Const, 5, opReturn, opEnd,
		opI32Const, 6, opLocalGet, 0, opI32Const, 2, 0x46, opBrIf, 1, opDrop, opI32Const, 0, opCall, 1, opDrop, opEnd, opI32Const, 7})
	wide := evaluator(cat([]byte{opLoop, 0x40, opI32Const, 0, 0x28, 2, 0, opI32Const, 3, 0x71, opCall, 1, opDrop}, counts,
		[]byte{opI32Const, 0, 0x28, 2, 0, opI32Const, 0xb8, 0x17, 0x49, opBrIf, 0, opEnd, opI32Const, 0})...)
	wide.types = append(wide.types, Sig{Params: []Type{I32}, Results: []Type{I32}})
	wide.funcs = append(wide.funcs, fn{typ: 1, code: append(f, opEnd)})
	wide.globals = deep.globals
	for i, rt := range newEngines(t) {
		o := runProgram(t, rt, mod, 1<<20)
		if !strings.HasPrefix(o.out, "true") || cell(o) != want {
			t.Errorf("engine %d: %d calls deep, want %d: %q", i, cell(o), want, o.out)
		}
		got, err := Check(wide.bytes(), handlerConfig())
		if err != nil {
			t.Fatal(err)
		}
		if !got.Recursive {
			t.Fatal("the function is not counted")
		}
		if o := runProgram(t, rt, got, 1<<20); o.out != "" || cell(o) != 3000 {
			t.Errorf("engine %d: %d calls side by side: %q", i, cell(o), o.out)
		}
	}
}

// TestLongEncodings: encodings of different length make the same canonical module.
func TestLongEncodings(t *testing.T) {
	short := evaluator(opI32Const, 1, opCall, 0, 0x6a)
	long := evaluator(opI32Const, 0x81, 0x80, 0x80, 0x80, 0x00, opCall, 0x80, 0x80, 0x80, 0x80, 0x00, 0x6a)
	long.tail = section(secCustom, append([]byte{4}, "name and more"...)...)
	a, b := checked(t, short), checked(t, long)
	// The places in the charges differ, because they are those of the original.
	if len(a.Wasm) > len(b.Wasm)+8 || len(b.Wasm) > len(a.Wasm)+8 || strings.Contains(string(b.Wasm), "name and more") {
		t.Errorf("%d and %d bytes", len(a.Wasm), len(b.Wasm))
	}
}

// TestCallStart: the start function is an export, nothing runs by itself, and it must be one of the module's own.
func TestCallStart(t *testing.T) {
	cfg := handlerConfig()
	cfg.Limits.Start, cfg.CallStart = true, true
	m := evaluator(konst...)
	m.types = append(m.types, Sig{})
	m.funcs = append(m.funcs, fn{typ: 1, code: []byte{opNop, opEnd}})
	m.start = 2
	got, err := Check(m.bytes(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got.Wasm), ExportStart) {
		t.Error("the start function is not exported")
	}
	m.globals = []global{{I32, true, 0}, {I64, true, 0}} // read by runProgram
	if got, err = Check(m.bytes(), cfg); err != nil {
		t.Fatal(err)
	}
	for i, rt := range newEngines(t) {
		// Instances begin without fuel: a start function that ran by itself would leave at once.
		if o := runProgram(t, rt, got, 100); o.out != "" || o.fuel != 100-costRegion-1 {
			t.Errorf("engine %d: %+v", i, o)
		}
	}
	m.imports = []Import{{Module: "janos", Name: "nothing"}}
	cfg.Imports = append(cfg.Imports, m.imports[0])
	m.start, m.exports[0].index = 1, 1
	if _, err := Check(m.bytes(), cfg); err == nil || !strings.Contains(err.Error(), "start function 0 is an imported one") {
		t.Errorf("an imported start function: %v", err)
	}
}
