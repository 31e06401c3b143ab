package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// programs makes random valid modules: typed expressions, blocks, loops, calls in every direction, the
// table, bulk operations. Most of them trap or run out of something sooner or later.
type programs struct {
	r      *rand.Rand
	m      *mod
	w      writer
	labels []bool // open blocks; true: a loop
	locals int    // i32 locals, then as many i64 ones
	room   int    // instructions that may still be made
}

func randomModule(seed uint64) *mod {
	p := &programs{r: rand.New(rand.NewPCG(seed, 1)), m: &mod{memory: []uint32{1, 3}}}
	m := p.m
	m.types = []Sig{i32Result, {}, {Params: []Type{I32}, Results: []Type{I32}}, {Params: []Type{I32, I64}, Results: []Type{I64}}, {Results: []Type{I32, I64}}}
	m.globals = []global{{I32, true, 7}, {I64, true, -1}, {I32, false, 1024}}
	m.exports = []export{{"evaluate", 0, 0}}
	n := 3 + p.r.IntN(6)
	m.table = []uint32{uint32(n), uint32(n)}
	for i := range n {
		m.funcs = append(m.funcs, fn{typ: uint32(p.r.IntN(len(m.types)))})
		if i == 0 {
			m.funcs[0].typ = 0
		}
	}
	e := writer{b: []byte{0, opI32Const, 0, opEnd, byte(n - 1)}} // the last entry stays empty
	passive := writer{b: []byte{1, 0, 2, 0, 1}}
	for i := range n - 1 {
		e.u32(uint32(i))
	}
	m.elems = [][]byte{e.b, passive.b}
	m.data = [][]byte{append([]byte{0, opI32Const, 8, opEnd, 5}, "hello"...), append([]byte{1, 6}, "world!"...)}
	m.dcount = 3
	for i := range m.funcs {
		p.function(&m.funcs[i])
	}
	return m
}

func (p *programs) function(f *fn) {
	p.w.b, p.labels, p.room = nil, nil, 10+p.r.IntN(60)
	sig := p.m.types[f.typ]
	p.locals = 2
	// Parameters come first: they are copied to where the expressions look for locals.
	base := uint32(len(sig.Params))
	f.locals = []localGroup{{2, I32}, {2, I64}}
	for i, t := range sig.Params {
		p.w.opIndex(opLocalGet, uint32(i))
		if t == I32 {
			p.w.opIndex(opLocalSet, base)
		} else {
			p.w.opIndex(opLocalSet, base+2)
		}
	}
	p.statements(base, 3)
	for _, t := range sig.Results {
		p.expr(t, base, 3)
	}
	p.w.op(opEnd)
	f.code = p.w.b
}

func (p *programs) local(t Type, base uint32) uint32 {
	if t == I64 {
		base += 2
	}
	return base + uint32(p.r.IntN(2))
}

func (p *programs) statements(base uint32, depth int) {
	for n := 1 + p.r.IntN(4); n > 0 && p.room > 0; n-- {
		p.statement(base, depth)
	}
}

func (p *programs) nest(base uint32, depth int, op int) {
	p.w.op(op)
	p.w.byte(0x40)
	p.labels = append(p.labels, op == opLoop)
	p.statements(base, depth-1)
	if op == opIf && p.r.IntN(2) == 0 {
		p.w.op(opElse)
		p.statements(base, depth-1)
	}
	if op == opLoop && p.r.IntN(2) == 0 {
		p.expr(I32, base, 1)
		p.w.opIndex(opBrIf, 0)
	}
	p.labels = p.labels[:len(p.labels)-1]
	p.w.op(opEnd)
}

func (p *programs) statement(base uint32, depth int) {
	p.room--
	w, r := &p.w, p.r
	t := []Type{I32, I64}[r.IntN(2)]
	k := r.IntN(18)
	if depth == 0 && k < 4 {
		k = 4
	}
	switch k {
	case 0:
		p.nest(base, depth, opBlock)
	case 1:
		p.nest(base, depth, opLoop)
	case 2, 3:
		p.expr(I32, base, 2)
		p.nest(base, depth, opIf)
	case 4, 5, 6:
		p.expr(t, base, 3)
		w.opIndex(opLocalSet, p.local(t, base))
	case 7:
		p.expr(t, base, 2)
		w.opIndex(opGlobalSet, map[Type]uint32{I32: 0, I64: 1}[t])
	case 8, 9:
		p.expr(I32, base, 2)
		w.constant(I32, 0xffff)
		w.op(0x71) // and: mostly inside the memory
		p.expr(t, base, 2)
		w.op(map[Type]int{I32: 0x36, I64: 0x37}[t])
		w.u32(uint32(r.IntN(3)))
		w.u32(uint32(r.IntN(64)))
	case 10:
		if n := len(p.labels); n > 0 {
			p.expr(I32, base, 2)
			w.opIndex(opBrIf, uint32(r.IntN(n)))
		}
	case 11:
		if n := len(p.labels); n > 0 {
			p.expr(I32, base, 1)
			w.op(opBrTable)
			w.u32(2)
			for range 3 {
				w.u32(uint32(r.IntN(n)))
			}
		}
	case 12:
		for range 3 {
			p.expr(I32, base, 1)
			w.constant(I32, int64(r.IntN(1<<14)))
			w.op(0x71)
		}
		switch r.IntN(3) {
		case 0:
			w.op(opMemoryCopy)
			w.b = append(w.b, 0, 0)
		case 1:
			w.op(opMemoryFill)
			w.b = append(w.b, 0)
		case 2:
			w.op(opMemoryInit)
			w.b = append(w.b, 1, 0)
		}
	case 13:
		i := r.IntN(len(p.m.funcs))
		sig := p.m.types[p.m.funcs[i].typ]
		for _, q := range sig.Params {
			p.expr(q, base, 1)
		}
		w.opIndex(opCall, uint32(i))
		for range sig.Results {
			w.op(opDrop)
		}
	case 14:
		if r.IntN(8) == 0 {
			w.constant(I32, int64(r.IntN(2)))
			w.op(opMemoryGrow)
			w.byte(0)
			w.op(opDrop)
		}
	case 15:
		if r.IntN(16) == 0 {
			for range 3 {
				w.constant(I32, int64(r.IntN(3)))
			}
			if r.IntN(2) == 0 {
				w.op(opTableInit)
				w.b = append(w.b, 1, 0)
			} else {
				w.op(opTableCopy)
				w.b = append(w.b, 0, 0)
			}
		}
	case 16:
		if r.IntN(30) == 0 {
			w.op([]int{opUnreachable, opDataDrop, opElemDrop}[r.IntN(3)])
			if w.b[len(w.b)-1] != opUnreachable {
				w.u32(1)
			}
		}
	case 17:
		w.op(opNop)
	}
}

// expr leaves a value of type t.
func (p *programs) expr(t Type, base uint32, depth int) {
	p.room--
	w, r := &p.w, p.r
	if depth == 0 || p.room < 0 {
		if r.IntN(2) == 0 {
			w.opIndex(opLocalGet, p.local(t, base))
		} else {
			w.constant(t, int64(int32(r.Uint32()>>r.IntN(32))))
		}
		return
	}
	switch r.IntN(10) {
	case 0:
		w.opIndex(opGlobalGet, map[Type]uint32{I32: uint32(r.IntN(2) * 2), I64: 1}[t])
	case 1:
		p.expr(I32, base, depth-1)
		w.constant(I32, 0xffff)
		w.op(0x71)
		w.op(map[Type]int{I32: 0x28, I64: 0x29}[t])
		w.u32(0)
		w.u32(uint32(r.IntN(100)))
	case 2:
		p.expr(t, base, depth-1)
		p.expr(t, base, depth-1)
		p.expr(I32, base, depth-1)
		w.op(opSelect)
	case 3:
		if t == I32 {
			p.expr(I32, base, depth-1)
			w.constant(I32, int64(r.IntN(len(p.m.funcs))))
			w.op(opCallIndirect)
			w.b = append(w.b, 2, 0)
		} else {
			p.expr(I32, base, depth-1)
			w.op(0xad)
		}
	case 4:
		p.expr(t, base, depth-1)
		w.opIndex(opLocalTee, p.local(t, base))
	default:
		p.expr(t, base, depth-1)
		p.expr(t, base, depth-1)
		if t == I32 {
			w.op(0x6a + r.IntN(15))
		} else {
			w.op(0x7c + r.IntN(15))
		}
	}
}

// outcome is all that can be seen of a run.
type outcome struct {
	result  uint64
	out     string // why it left through the out import, or "trap", or ""
	fuel    int64
	memory  []byte
	globals [2]uint64
}

var errLeft = errors.New("left")

func runProgram(t testing.TB, rt wazero.Runtime, m *Module, budget uint64) outcome {
	ctx := context.Background()
	var o outcome
	b := rt.NewHostModuleBuilder("meter")
	b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) {
		o.out = fmt.Sprint(Place(uint32(s[0])))
		panic(errLeft)
	}), []api.ValueType{api.ValueTypeI32}, nil).Export(OutName)
	host, err := b.Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hm, err := rt.InstantiateModule(ctx, host, wazero.NewModuleConfig().WithName(OutModule))
	if err != nil {
		t.Fatal(err)
	}
	defer hm.Close(ctx)
	cm, err := rt.CompileModule(ctx, m.Wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer cm.Close(ctx)
	in, err := rt.InstantiateModule(ctx, cm, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close(ctx)
	fuel := in.ExportedGlobal(ExportFuel).(api.MutableGlobal)
	fuel.Set(budget)
	res, err := in.ExportedFunction("evaluate").Call(ctx)
	switch {
	case err == nil:
		o.result = res[0]
	case !errors.Is(err, errLeft):
		o.out = "trap: " + errors.Unwrap(err).Error()
	}
	o.fuel = int64(fuel.Get())
	mem, _ := in.Memory().Read(0, in.Memory().Size())
	o.memory = bytes.Clone(mem)
	for i := range o.globals {
		o.globals[i] = in.ExportedGlobal(GlobalName(i)).Get()
	}
	return o
}

func newEngines(t testing.TB) [2]wazero.Runtime {
	ctx := context.Background()
	features := api.CoreFeaturesV2 &^ api.CoreFeatureSIMD
	rts := [2]wazero.Runtime{wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features)),
		wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))}
	t.Cleanup(func() {
		for _, rt := range rts {
			rt.Close(ctx)
		}
	})
	return rts
}

func compareEngines(t testing.TB, rts [2]wazero.Runtime, seed, budget uint64) (string, bool) {
	cfg := &Config{Limits: HandlerLimits(), Exports: []Export{{"evaluate", i32Result}}}
	raw := randomModule(seed).bytes()
	m, err := Check(raw, cfg)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	a, b := runProgram(t, rts[0], m, budget), runProgram(t, rts[1], m, budget)
	if a.result != b.result || a.out != b.out || a.fuel != b.fuel || a.globals != b.globals || !bytes.Equal(a.memory, b.memory) {
		t.Errorf("seed %d: the engines differ: %d %q fuel %d globals %v, %d %q fuel %d globals %v, memory equal: %v", seed,
			a.result, a.out, a.fuel, a.globals, b.result, b.out, b.fuel, b.globals, bytes.Equal(a.memory, b.memory))
	}
	// Where the fuel is kept between charges makes no difference.
	cfg.reload = true
	if m, err = Check(raw, cfg); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if c := runProgram(t, rts[1], m, budget); c.out != b.out || c.fuel != b.fuel || c.globals != b.globals || !bytes.Equal(c.memory, b.memory) {
		t.Errorf("seed %d: fuel %d %q, and %d %q when it is loaded for every charge", seed, b.fuel, b.out, c.fuel, c.out)
	}
	return a.out, m.Recursive
}

// TestPrograms runs random programs on both engines and compares everything that can be seen.
func TestPrograms(t *testing.T) {
	rts := newEngines(t)
	kinds := map[string]int{}
	for seed := range uint64(400) {
		out, recursive := compareEngines(t, rts, seed, 20_000)
		switch {
		case out == "":
			kinds["result"]++
		case out[0] == 't' && out[1] == 'r' && out[2] == 'a':
			kinds["trap"]++
		case out[0] == 't':
			kinds["stack"]++
		default:
			kinds["fuel"]++
		}
		if recursive {
			kinds["recursive"]++
		}
	}
	t.Log(kinds)
	for _, k := range []string{"result", "trap", "stack", "fuel", "recursive"} {
		if kinds[k] < 3 {
			t.Errorf("only %d programs with %s: the generator tests too little", kinds[k], k)
		}
	}
}

// FuzzPrograms is TestPrograms without an end.
func FuzzPrograms(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint64(5000))
	}
	rts := newEngines(f)
	f.Fuzz(func(t *testing.T, seed, budget uint64) { compareEngines(t, rts, seed, budget%50_000) })
}
