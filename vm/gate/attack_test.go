package gate

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

func handlerConfig() *Config {
	return &Config{Limits: HandlerLimits(), Exports: []Export{{"evaluate", i32Result}},
		Imports: []Import{{Module: "janos", Name: "ask", Sig: Sig{Params: []Type{I32}, Results: []Type{I32}}, Fuel: 100}, {Module: "janos", Name: "now", Sig: i32Result}}}
}

var (
	header = []byte("\x00asm\x01\x00\x00\x00")
	huge   = []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // 2^32-1
	konst  = []byte{opI32Const, 0}
)

// TestAttacks are modules that kill, stall or bloat an engine that is given them raw. Each must be
// refused for its own reason, with an offset, in memory in proportion to its size.
func TestAttacks(t *testing.T) {
	raw := func(sections ...[]byte) []byte { return append(append([]byte{}, header...), cat(sections...)...) }
	typ := section(secType, 1, 0x60, 0, 1, 0x7f)
	fun := section(secFunction, 1, 0)
	body := func(b ...byte) []byte {
		w := writer{b: []byte{1}}
		w.bytes(b)
		return section(secCode, w.b...)
	}
	deep := func(n int, locals uint32) []byte {
		m := evaluator(cat(rep(n, opLoop, 0x40), rep(n, opEnd), konst)...)
		m.funcs[0].locals = []localGroup{{locals, I32}}
		return m.bytes()
	}
	for _, tc := range []struct {
		name   string
		module []byte
		kind   errs.Kind
		want   string
	}{
		{"no module", []byte("#!/bin/sh"), errs.Invalid, "no WebAssembly module"},
		{"empty", nil, errs.Invalid, "no WebAssembly module"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), errs.Invalid, "version"},
		{"type count", raw(section(secType, huge...)), errs.Invalid, "types: 4294967295, but only 0 bytes"},
		{"import count", raw(typ, section(secImport, huge...)), errs.Invalid, "imports: 4294967295"},
		{"function count", raw(typ, section(secFunction, huge...)), errs.Invalid, "functions: 4294967295"},
		{"global count", raw(section(secGlobal, huge...)), errs.Invalid, "globals: 4294967295"},
		{"export count", raw(section(secExport, huge...)), errs.Invalid, "exports: 4294967295"},
		{"element count", raw(section(secElement, huge...)), errs.Invalid, "element segments: 4294967295"},
		{"code count", raw(section(secCode, huge...)), errs.Invalid, "4294967295 bodies for 0 functions"},
		{"data count", raw(section(secData, huge...)), errs.Invalid, "data segments: 4294967295"},
		{"data count section", raw(section(secDataCount, huge...)), errs.Invalid, "data count section says 4294967295"},
		{"functions without code", raw(typ, fun), errs.Invalid, "no code section"},
		{"parameters", raw(section(secType, cat([]byte{1, 0x60}, huge, []byte{0})...)), errs.Invalid, "parameters: 4294967295"},
		{"results", raw(section(secType, cat([]byte{1, 0x60, 0}, huge)...)), errs.Invalid, "results: 4294967295"},
		{"locals", raw(typ, fun, body(cat([]byte{1}, huge, []byte{0x7f, opI32Const, 0, opEnd})...)), errs.Refused, "locals: 4294967295, limit 128"},
		{"locals in groups", raw(typ, fun, body(cat([]byte{3}, huge, []byte{0x7f}, huge, []byte{0x7f}, huge, []byte{0x7f, opEnd})...)), errs.Refused, "locals"},
		{"50 million locals", raw(typ, fun, body(1, 0x80, 0xe1, 0xeb, 0x17, 0x7f, opI32Const, 0, opEnd)), errs.Refused, "locals: 50000000, limit 128"},
		{"local groups", raw(typ, fun, body(cat(huge, []byte{1, 0x7f, opEnd})...)), errs.Invalid, "groups of locals"},
		{"name length", raw(typ, section(secImport, cat([]byte{1}, huge)...)), errs.Invalid, "4294967295 bytes wanted"},
		{"long name", raw(typ, section(secImport, cat([]byte{1}, huge, []byte("abcdef"))...)), errs.Invalid, "bytes wanted"},
		{"custom name", raw(section(secCustom, huge...)), errs.Invalid, "bytes wanted"},
		{"body length", raw(typ, fun, section(secCode, cat([]byte{1}, huge)...)), errs.Refused, "bytes of function 0: 4294967295"},
		{"section length", raw(append([]byte{secType}, huge...)), errs.Invalid, "length 4294967295 with 0 bytes left"},
		{"section twice", raw(typ, typ), errs.Invalid, "out of order or there twice"},
		{"section order", raw(fun, typ), errs.Invalid, "type 0 of 0"},
		{"unknown section", raw(section(42)), errs.Invalid, "unknown section 42"},
		{"trailing bytes", raw(section(secType, 0, 1)), errs.Invalid, "1 bytes too many"},
		{"overlong integer", raw(section(secType, 0x80, 0x80, 0x80, 0x80, 0x80, 0)), errs.Invalid, "does not fit 32 bits"},
		{"nested loops", deep(500, 100), errs.Refused, "nested blocks: 33, limit 32"},
		{"many loops", evaluator(cat(rep(2000, opLoop, 0x40, opEnd), konst)...).bytes(), errs.Refused, "blocks of a function: 513, limit 512"},
		{"branch table", evaluator(cat([]byte{opBlock, 0x40}, konst, []byte{opBrTable, 0x80, 0x20}, rep(4096, 0), []byte{0, opEnd}, konst)...).bytes(), errs.Refused, "branch table entries of a function: 4097, limit 1024"},
		{"branch table count", evaluator(cat([]byte{opBlock, 0x40}, konst, []byte{opBrTable}, huge, []byte{0, opEnd}, konst)...).bytes(), errs.Invalid, "branch table: 4294967295"},
		{"large body", evaluator(cat(rep(9000, opNop), konst)...).bytes(), errs.Refused, "bytes of function 0: 9004, limit 8192"},
		{"large module", make([]byte, 64<<10+1), errs.Refused, "module bytes: 65537, limit 65536"},
		{"many functions", raw(typ, section(secFunction, cat([]byte{0x81, 0x08}, make([]byte, 1025))...)), errs.Refused, "functions: 1025, limit 1024"},
		{"operand stack", evaluator(cat(rep(600, opI32Const, 0), rep(599, opDrop))...).bytes(), errs.Refused, "values on the operand stack: 513, limit 512"},
		{"table", (&mod{types: []Sig{i32Result}, table: []uint32{1 << 27, 1 << 27}}).bytes(), errs.Refused, "table entries: 134217728, limit 4096"},
		{"table maximum", (&mod{types: []Sig{i32Result}, table: []uint32{1, 1 << 27}}).bytes(), errs.Refused, "table entries: 134217728, limit 4096"},
		{"table.grow", evaluator(0xd0, 0x70, opI32Const, 1, 0xfc, 15, 0).bytes(), errs.Refused, "reference types"},
		{"table.grow only", evaluator(opI32Const, 1, 0xfc, 15, 0).bytes(), errs.Refused, "table.grow"},
		{"memory", func() []byte { m := evaluator(konst...); m.memory = []uint32{1, 65536}; return m.bytes() }(), errs.Refused, "memory pages of 64 KiB: 65536, limit 16"},
		{"memory without maximum", raw(section(secMemory, 1, 0, 1)), errs.Refused, "declares no maximum: link with -Wl,--max-memory"},
		{"shared memory", raw(section(secMemory, 1, 3, 1, 1)), errs.Refused, "threads"},
		{"64-bit memory", raw(section(secMemory, 1, 4, 1)), errs.Refused, "64-bit"},
		{"two memories", raw(section(secMemory, 2, 1, 1, 1, 1, 1, 1)), errs.Refused, "memories: 2, limit 1"},
		{"start function", func() []byte {
			m := evaluator(konst...)
			m.types[0] = Sig{}
			m.with(opNop)
			m.start = 1
			return m.bytes()
		}(), errs.Refused, "start function"},
		{"vectors", evaluator(0xfd, 0x0c).bytes(), errs.Refused, "-mno-simd128"},
		{"vector type", raw(section(secType, 1, 0x60, 1, 0x7b, 0)), errs.Refused, "-mno-simd128"},
		{"atomics", evaluator(0xfe, 0x03, 0).bytes(), errs.Refused, "-mno-atomics"},
		{"exceptions", evaluator(0x06, 0x40).bytes(), errs.Refused, "-fno-exceptions"},
		{"tags", raw(section(13, 0)), errs.Refused, "-fno-exceptions"},
		{"tail call", evaluator(0x12, 0).bytes(), errs.Refused, "-mno-tail-call"},
		{"reference", evaluator(0xd2, 0).bytes(), errs.Refused, "-mno-reference-types"},
		{"references in elements", raw(typ, section(secElement, 1, 5, 0x70, 0)), errs.Refused, "-mno-reference-types"},
		{"unknown instruction", evaluator(0x27).bytes(), errs.Invalid, "unknown instruction 0x27"},
		{"unknown import", (&mod{types: []Sig{i32Result}, imports: []Import{{Module: "env", Name: "system", Sig: i32Result}}}).bytes(), errs.Refused, `"env"."system" is not offered: there are janos.ask, janos.now`},
		{"import of another type", (&mod{types: []Sig{i32Result}, imports: []Import{{Module: "janos", Name: "ask", Sig: i32Result}}}).bytes(), errs.Refused, "has type () -> i32, here it is (i32) -> i32"},
		{"import of the meter", (&mod{types: []Sig{{Params: []Type{I32}}}, imports: []Import{{Module: OutModule, Name: OutName, Sig: Sig{Params: []Type{I32}}}}}).bytes(), errs.Refused, "is not offered"},
		{"imported memory", raw(section(secImport, 1, 1, 'a', 1, 'b', 2, 0, 1)), errs.Refused, "is not a function"},
		{"imported global", raw(section(secImport, 1, 1, 'a', 1, 'b', 3, 0x7e, 1)), errs.Refused, "is not a function"},
		{"hidden global", evaluator(opGlobalGet, 0, 0xa7).bytes(), errs.Invalid, "global 0 of 0"},
		{"hidden global store", evaluator(cat([]byte{opI64Const, 0, opGlobalSet, 0}, konst)...).bytes(), errs.Invalid, "global 0 of 0"},
		{"call of the meter", evaluator(opI32Const, 1, opCall, 1, opI32Const, 0).bytes(), errs.Invalid, "function 1 does not exist"},
		{"scratch local", evaluator(opLocalGet, 0).bytes(), errs.Invalid, "local 0 of 0"},
		{"wrong stack", evaluator(0x6a).bytes(), errs.Invalid, "operand stack is empty"},
		{"no evaluate", func() []byte { m := evaluator(konst...); m.exports = nil; return m.bytes() }(), errs.Refused, `"evaluate" is missing`},
		{"evaluate is a memory", func() []byte { m := evaluator(konst...); m.exports[0].kind = 2; return m.bytes() }(), errs.Refused, `"evaluate" must be a function of the module, of type () -> i32`},
		{"evaluate is an import", func() []byte {
			m := evaluator(konst...)
			m.imports, m.exports[0].index = []Import{{Module: "janos", Name: "now", Sig: i32Result}}, 0
			return m.bytes()
		}(), errs.Refused, `"evaluate" must be a function of the module`},
		{"data outside", func() []byte {
			m := evaluator(konst...)
			m.data = [][]byte{{0, opI32Const, 0x7f, opEnd, 1, 'x'}}
			return m.bytes()
		}(), errs.Refused, "does not fit the initial memory"},
		{"elements outside", func() []byte {
			m := evaluator(konst...)
			m.table, m.elems = []uint32{1, 1}, [][]byte{{0, opI32Const, 1, opEnd, 1, 0}}
			return m.bytes()
		}(), errs.Refused, "does not fit the table"},
		{"call chain", chain(40).bytes(), errs.Refused, "slots of stack, limit 16384"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := handlerConfig()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, err := Check(tc.module, cfg)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatalf("accepted as % x", m.Wasm)
			}
			var e *Error
			if !errors.As(err, &e) || errs.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v: %v\nwant %v with %q", errs.KindOf(err), err, tc.kind, tc.want)
			}
			if e != nil && (e.Offset < 0 || e.Offset > len(tc.module)) {
				t.Errorf("offset %d in a module of %d bytes", e.Offset, len(tc.module))
			}
			if used, max := after.TotalAlloc-before.TotalAlloc, uint64(64*len(tc.module)+128<<10); used > max {
				t.Errorf("%d bytes allocated for a module of %d", used, len(tc.module))
			}
		})
	}
}

// chain is a row of functions, each with a large frame, that call one another without recursion.
func chain(n int) *mod {
	m := evaluator()
	m.funcs = nil
	for i := range n {
		code := cat(rep(500, opI32Const, 0, opDrop), konst)
		if i+1 < n {
			code = cat(rep(500, opI32Const, 0, opDrop), []byte{opCall, byte(i + 1)})
		}
		m.funcs = append(m.funcs, fn{locals: []localGroup{{100, I64}}, code: append(code, opEnd)})
	}
	return m
}

// TestLimits takes every limit by itself: what is exactly as large passes, one more does not.
func TestLimits(t *testing.T) {
	plain := func() *mod { return evaluator(konst...) }
	many := func(n int, fill func(m *mod, i int)) *mod {
		m := plain()
		for i := range n {
			fill(m, i)
		}
		return m
	}
	for _, tc := range []struct {
		name  string
		limit func(l *Limits) *uint32
		is    uint32
		build func(n int) *mod
	}{
		{"types", func(l *Limits) *uint32 { return &l.Types }, 5, func(n int) *mod {
			return many(n-1, func(m *mod, i int) { m.types = append(m.types, Sig{}) })
		}},
		{"parameters", func(l *Limits) *uint32 { return &l.Params }, 6, func(n int) *mod {
			return many(1, func(m *mod, i int) { m.types = append(m.types, Sig{Params: make32(n - 2), Results: make32(2)}) })
		}},
		{"imports", func(l *Limits) *uint32 { return &l.Imports }, 3, func(n int) *mod {
			m := many(n, func(m *mod, i int) { m.imports = append(m.imports, handlerConfig().Imports[0]) })
			m.types = append(m.types, m.imports[0].Sig)
			m.exports[0].index = uint32(n)
			return m
		}},
		{"functions", func(l *Limits) *uint32 { return &l.Functions }, 9, func(n int) *mod {
			return many(n-1, func(m *mod, i int) { m.funcs = append(m.funcs, m.funcs[0]) })
		}},
		{"bytes of function", func(l *Limits) *uint32 { return &l.Body }, 40, func(n int) *mod {
			return plain().with(cat(rep(n-4, opNop), konst)...)
		}},
		{"locals", func(l *Limits) *uint32 { return &l.Locals }, 17, func(n int) *mod {
			m := plain()
			m.funcs[0].locals = []localGroup{{uint32(n) - 1, I64}, {1, I32}}
			return m
		}},
		{"nested blocks", func(l *Limits) *uint32 { return &l.Nesting }, 5, func(n int) *mod {
			return plain().with(cat(rep(n, opBlock, 0x40), rep(n, opEnd), konst)...)
		}},
		{"blocks of a function", func(l *Limits) *uint32 { return &l.Blocks }, 5, func(n int) *mod {
			return plain().with(cat(rep(n, opBlock, 0x40, opEnd), konst)...)
		}},
		{"operand stack", func(l *Limits) *uint32 { return &l.Operands }, 5, func(n int) *mod {
			return plain().with(cat(rep(n, konst...), rep(n-1, 0x6a))...)
		}},
		{"branch table", func(l *Limits) *uint32 { return &l.BranchTargets }, 5, func(n int) *mod {
			return plain().with(cat([]byte{opBlock, 0x40}, konst, []byte{opBrTable, byte(n - 1)}, make([]byte, n), []byte{opEnd}, konst)...)
		}},
		{"globals", func(l *Limits) *uint32 { return &l.Globals }, 3, func(n int) *mod {
			return many(n, func(m *mod, i int) { m.globals = append(m.globals, global{t: I32}) })
		}},
		{"exports", func(l *Limits) *uint32 { return &l.Exports }, 3, func(n int) *mod {
			return many(n-1, func(m *mod, i int) { m.exports = append(m.exports, export{string(rune('a' + i)), 0, 0}) })
		}},
		{"table entries", func(l *Limits) *uint32 { return &l.Table }, 7, func(n int) *mod {
			m := plain()
			m.table = []uint32{0, uint32(n)}
			return m
		}},
		{"memory pages", func(l *Limits) *uint32 { return &l.MemoryPages }, 3, func(n int) *mod {
			m := plain()
			m.memory = []uint32{1, uint32(n)}
			return m
		}},
		{"data segments", func(l *Limits) *uint32 { return &l.Segments }, 3, func(n int) *mod {
			return many(n, func(m *mod, i int) { m.data = append(m.data, []byte{0, opI32Const, 0, opEnd, 0}) })
		}},
		{"element segments", func(l *Limits) *uint32 { return &l.Segments }, 3, func(n int) *mod {
			m := many(n, func(m *mod, i int) { m.elems = append(m.elems, []byte{0, opI32Const, 0, opEnd, 0}) })
			m.table = []uint32{1, 1}
			return m
		}},
		{"slots of stack", func(l *Limits) *uint32 { return &l.Stack }, minFrame * 2, func(n int) *mod {
			m := plain()
			m.funcs = append(m.funcs, m.funcs[0])
			m.with(opCall, 1)
			m.funcs[0].locals = []localGroup{{uint32(n - minFrame - frameOverhead - 1 - 1), I64}} // one operand, and a quarter of a body of 6 bytes
			return m
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := handlerConfig()
			*tc.limit(&cfg.Limits) = tc.is
			if _, err := Check(tc.build(int(tc.is)).bytes(), cfg); err != nil {
				t.Errorf("exactly at the limit of %d: %v", tc.is, err)
			}
			_, err := Check(tc.build(int(tc.is)+1).bytes(), cfg)
			if !errors.Is(err, errs.Refused) || !strings.Contains(err.Error(), tc.name) || !strings.Contains(err.Error(), "limit") {
				t.Errorf("one above the limit of %d: %v", tc.is, err)
			}
		})
	}
	cfg := handlerConfig()
	cfg.Limits.Floats = false
	for name, m := range map[string]*mod{
		"constant":  plain().with(cat([]byte{opF32Const, 0, 0, 0, 0, opDrop}, konst)...),
		"operation": plain().with(cat(konst, []byte{0xb2, opDrop}, konst)...),
		"load":      plain().with(cat(konst, []byte{0x2a, 0, 0, opDrop}, konst)...),
	} {
		if _, err := Check(m.bytes(), cfg); !errors.Is(err, errs.Refused) || !strings.Contains(err.Error(), "floating point") {
			t.Errorf("float %s: %v", name, err)
		}
	}
}

func make32(n int) []Type {
	t := make([]Type, n)
	for i := range t {
		t[i] = I32
	}
	return t
}
