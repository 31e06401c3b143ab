package gate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// counter is a loop that counts local 0 from begin by step, and goes on while cond, which leaves an i32, holds; inside is run in each pass before.
func counter(begin int64, inside []byte, step int64, cond ...byte) []byte {
	var w writer
	w.constant(I32, begin)
	w.b = append(w.b, opLocalSet, 0, opLoop, 0x40)
	w.b = append(w.b, inside...)
	w.b = append(w.b, opLocalGet, 0)
	w.constant(I32, step)
	w.b = append(w.b, opI32Add, opLocalTee, 0)
	w.b = append(w.b, cond...)
	return append(w.b, opBrIf, 0, opEnd)
}

func boundOf(t *testing.T, m *mod) Bound {
	t.Helper()
	m.globals = []global{{I32, true, 0}, {I64, true, 0}} // read by runProgram
	bs, err := Bounds(m.bytes(), handlerConfig())
	if err != nil {
		t.Fatal(err)
	}
	return bs[0]
}

// TestBoundsAreExact: where every pass of a loop runs, what a program uses is its bound.
func TestBoundsAreExact(t *testing.T) {
	rts := newEngines(t)
	less := func(n byte) []byte { return []byte{opI32Const, n, 0x48} } // lt_s
	for name, code := range map[string][]byte{
		"straight":  konst,
		"down to 0": cat(counter(10, nil, -1), konst),
		"up to 10":  cat(counter(0, counts, 1, less(10)...), konst),
		"not equal": cat(counter(3, counts, 4, opI32Const, 43, 0x47), konst),
		"turned":    cat([]byte{opI32Const, 60, opLocalSet, 0, opLoop, 0x40, opI32Const, 4, opLocalGet, 0, opI32Const, 7, opI32Sub, opLocalTee, 0, 0x48, 0x45, 0x45, opBrIf, 0, opEnd}, konst),
		"nested": cat(counter(0, cat([]byte{opI32Const, 0, opLocalSet, 1, opLoop, 0x40}, counts, []byte{opLocalGet, 1, opI32Const, 2, opI32Add, opLocalTee, 1,
			opI32Const, 20, 0x48, opBrIf, 0, opEnd}), 1, less(7)...), konst),
		"fill":      {opI32Const, 0, opI32Const, 0, opI32Const, 0xc0, 0, 0xfc, 11, 0, opI32Const, 0},
		"around":    cat(counter(-3, nil, 1), konst), // passes 0 by wrapping
		"while":     {opBlock, 0x40, opLoop, 0x40, opLocalGet, 0, opI32Const, 9, 0x4e, opBrIf, 1, opLocalGet, 0, opI32Const, 3, opI32Add, opLocalSet, 0, opBr, 0, opEnd, opEnd, opI32Const, 0},
		"if inside": {opLoop, 0x40, opLocalGet, 0, opI32Const, 9, 0x48, opIf, 0x40, opLocalGet, 0, opI32Const, 1, opI32Add, opLocalSet, 0, opBr, 1, opEnd, opEnd, opI32Const, 0},
	} {
		m := evaluator(code...)
		m.funcs[0].locals = []localGroup{{2, I32}}
		b := boundOf(t, m)
		if b.Why != "" {
			t.Errorf("%s: no bound: %s at %#x", name, b.Why, b.At)
			continue
		}
		mod := checked(t, m)
		for i, rt := range rts {
			o := runProgram(t, rt, mod, 1<<20)
			used := uint64(1<<20 - o.fuel)
			if o.out != "" || used > b.Fuel || used+40 < b.Fuel {
				t.Errorf("%s, engine %d: used %d, bound %d (%s)", name, i, used, b.Fuel, o.out)
			}
			exact := name != "while" && name != "if inside" && name != "around"
			if exact && used != b.Fuel {
				t.Errorf("%s, engine %d: used %d, bound %d", name, i, used, b.Fuel)
			}
		}
	}
}

// TestNoBound: what cannot be bounded says why and where.
func TestNoBound(t *testing.T) {
	for name, tc := range map[string]struct {
		code []byte
		why  string
	}{
		"endless":          {[]byte{opLoop, 0x40, opBr, 0, opEnd, opI32Const, 0}, "loop"},
		"from memory":      {[]byte{opI32Const, 0, 0x28, 2, 0, opLocalSet, 0, opLoop, 0x40, opLocalGet, 0, opI32Const, 1, opI32Sub, opLocalTee, 0, opBrIf, 0, opEnd, opI32Const, 0}, "loop"},
		"to memory's":      {counterTo([]byte{opI32Const, 0, 0x28, 2, 0, 0x48}), "loop"},
		"never equal":      {cat(counter(0, nil, 2, opI32Const, 7, 0x47), konst), "loop"},
		"itself":           {[]byte{opCall, 0}, "itself"},
		"length":           {[]byte{opI32Const, 0, opI32Const, 0, opI32Const, 0, 0x28, 2, 0, 0xfc, 11, 0, opI32Const, 0}, "length"},
		"other way back":   {cat([]byte{opLoop, 0x40, opI32Const, 0, 0x28, 2, 0, opBrIf, 0, opLocalGet, 0, opI32Const, 1, opI32Add, opLocalTee, 0, opI32Const, 5, 0x48, opBrIf, 0, opEnd}, konst), "loop"},
		"reset in a block": {cat([]byte{opLoop, 0x40, opBlock, 0x40, opI32Const, 0, opLocalSet, 0, opEnd, opLocalGet, 0, opI32Const, 1, opI32Add, opLocalTee, 0, opI32Const, 5, 0x48, opBrIf, 0, opEnd}, konst), "loop"},
		"reset in a loop": {cat([]byte{opLoop, 0x40}, counter(0, nil, 1, opI32Const, 3, 0x48), []byte{opLocalGet, 0, opI32Const, 1, opI32Add, opLocalTee, 0,
			opI32Const, 5, 0x48, opBrIf, 0, opEnd}, konst), "loop"},
		"reset in an arm": {cat([]byte{opLoop, 0x40, opI32Const, 0, 0x28, 2, 0, opIf, 0x40, opI32Const, 0, opLocalSet, 0, opEnd, opLocalGet, 0, opI32Const, 1, opI32Add, opLocalTee, 0,
			opI32Const, 5, 0x48, opBrIf, 0, opEnd}, konst), "loop"},
	} {
		m := evaluator(tc.code...)
		m.funcs[0].locals = []localGroup{{2, I32}}
		if b := boundOf(t, m); !strings.Contains(b.Why, tc.why) || b.At < b.Start || b.At >= b.Start+b.Size {
			t.Errorf("%s: bound %d, %q at %#x", name, b.Fuel, b.Why, b.At)
		}
	}
}

// counterTo counts up to what cond compares with.
func counterTo(cond []byte) []byte { return cat(counter(0, nil, 1, cond...), konst) }

// counted makes random programs with loops that are counted, in every form, some of them wrongly so.
func counted(seed uint64) *mod {
	r := rand.New(rand.NewPCG(seed, 7))
	var w writer
	var loops func(depth int)
	loops = func(depth int) {
		for range 1 + r.IntN(2) {
			l := byte(r.IntN(3))
			switch r.IntN(6) {
			case 0:
				w.constant(I32, int64(r.IntN(8)-2))
				w.opIndex(opLocalSet, uint32(l))
			case 1:
				w.b = append(w.b, counts...)
			case 2:
				w.b = append(w.b, opI32Const, 0, 0x28, 2, 0, opI32Const, 1, 0x71, opIf, 0x40)
				if depth > 0 {
					loops(depth - 1)
				}
				if r.IntN(2) == 0 {
					w.op(opElse)
					w.opIndex(opCall, 1)
				}
				w.op(opEnd)
			case 3:
				w.opIndex(opCall, 1)
			default:
				if depth == 0 {
					continue
				}
				w.constant(I32, int64(r.IntN(8)-2))
				w.opIndex(opLocalSet, uint32(l))
				w.b = append(w.b, opBlock, 0x40, opLoop, 0x40)
				exit := r.IntN(3) == 0
				cond := func(c ...byte) {
					w.opIndex(opLocalGet, uint32(l))
					w.b = append(w.b, c...)
				}
				if exit {
					cond(opI32Const, byte(r.IntN(20)), byte(0x4e), opBrIf, 1)
				}
				loops(depth - 1)
				w.opIndex(opLocalGet, uint32(l))
				w.constant(I32, int64(r.IntN(3)))
				w.b = append(w.b, opI32Add, opLocalTee, l)
				switch {
				case exit:
					w.b = append(w.b, opDrop, opBr, 0)
				case r.IntN(2) == 0:
					w.constant(I32, int64(r.IntN(20)))
					w.b = append(w.b, 0x47, opBrIf, 0)
				default:
					w.constant(I32, int64(r.IntN(20)))
					w.b = append(w.b, byte(0x48+r.IntN(2)), opBrIf, 0)
				}
				w.b = append(w.b, opEnd, opEnd)
			}
		}
	}
	loops(3)
	m := evaluator(append(w.b, konst...)...)
	m.types = append(m.types, Sig{})
	m.funcs[0].locals = []localGroup{{3, I32}}
	m.funcs = append(m.funcs, fn{typ: 1, code: append(append([]byte(nil), counts...), opEnd)})
	m.globals = []global{{I32, true, 0}, {I64, true, 0}}
	return m
}

// TestBoundsHold: no program that ends uses more than its bound.
func TestBoundsHold(t *testing.T) {
	rt := newEngines(t)[0]
	const budget = 300_000
	bounded, ended := 0, 0
	for seed := range uint64(600) {
		var m *mod
		if m = counted(seed); seed%3 == 0 {
			m = randomModule(seed)
		}
		bs, err := Bounds(m.bytes(), handlerConfig())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if bs[0].Why != "" {
			continue
		}
		bounded++
		mod := checked(t, m)
		o := runProgram(t, rt, mod, budget)
		if used := uint64(int64(budget) - o.fuel); o.out == "" {
			ended++
			if used > bs[0].Fuel {
				t.Errorf("seed %d used %d, its bound is %d", seed, used, bs[0].Fuel)
			}
		} else if strings.HasPrefix(o.out, "false") && bs[0].Fuel <= budget {
			t.Errorf("seed %d ran out of %d, its bound is %d", seed, budget, bs[0].Fuel)
		}
	}
	t.Logf("%d bounded, %d of them ended", bounded, ended)
	if bounded < 150 || ended < 100 {
		t.Errorf("%d bounded and %d ended: the generator tests too little", bounded, ended)
	}
}

func TestBoundsRefuse(t *testing.T) {
	if _, err := Bounds([]byte("\x00asm"), handlerConfig()); errs.KindOf(err) != errs.Invalid {
		t.Error(fmt.Sprint(err))
	}
}

// FuzzBounds: hostile modules are analysed in bounded time, or refused as Check refuses them.
func FuzzBounds(f *testing.F) {
	for seed := range uint64(6) {
		f.Add(counted(seed).bytes())
		f.Add(randomModule(seed).bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bs, err := Bounds(b, handlerConfig())
		m, err2 := Check(b, handlerConfig())
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%v, Check says %v", err, err2)
		}
		if err == nil && len(bs) != m.Functions {
			t.Fatalf("%d bounds for %d functions", len(bs), m.Functions)
		}
	})
}
