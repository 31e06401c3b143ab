package gate

import (
	"context"
	"runtime"
	"testing"
)

// bombs are modules that stay just inside HandlerLimits and are as hard to compile as was found.
func bombs() map[string]*mod { return bombsFor(HandlerLimits()) }

// bombsFor are those for other limits, which are not below the handlers'.
func bombsFor(l Limits) map[string]*mod {
	fill := func(locals uint32, code []byte) *mod {
		m := evaluator()
		m.funcs = nil
		code = append(code, opEnd)
		for size := 0; size+len(code)+8 < int(l.Module)-200 && len(m.funcs) < 1000; size += len(code) + 8 {
			m.funcs = append(m.funcs, fn{locals: []localGroup{{locals, I32}}, code: code})
		}
		return m
	}
	nest := int(l.Nesting) - 1
	loops := rep(int(l.Blocks)/nest-1, cat(rep(nest, opLoop, 0x40), rep(nest, opLocalGet, 3, opBrIf, 0, opLocalGet, 9, opLocalSet, 8, opEnd))...)
	var moves []byte
	for i := range byte(11) {
		moves = append(moves, opLocalGet, i, opI32Const, 1, opI32Add, opLocalSet, (i+1)%11)
	}
	return map[string]*mod{
		"loops":   fill(l.Locals, cat(loops, konst)),
		"ifs":     fill(128, cat(rep(500, opLocalGet, 0, opIf, 0x40, opI32Const, 1, opLocalSet, 5, opEnd), konst)),
		"brtable": fill(128, cat(rep(30, opBlock, 0x40), rep(30, cat([]byte{opLocalGet, 0, opBrTable, 31}, make([]byte, 32), []byte{opEnd})...), konst)),
		"long":    fill(128, cat(rep(100, moves...), konst)),
		"calls":   fill(128, cat(rep(1200, opCall, 0, opLocalSet, 7), konst)),
		"tiny":    fill(0, konst),
	}
}

// TestBombs: they pass the gate, so what they cost is what the limits allow. Their metered form stays in
// proportion, and what the interpreter keeps of it stays below what package vm charges the owner.
func TestBombs(t *testing.T) {
	rts := newEngines(t)
	for name, b := range bombs() {
		raw := b.bytes()
		m, err := Check(raw, handlerConfig())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(m.Wasm) > 6*len(raw) {
			t.Errorf("%s grew from %d to %d bytes", name, len(raw), len(m.Wasm))
		}
		before := liveHeap()
		cm, err := rts[0].CompileModule(context.Background(), m.Wasm)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if kept, charge := liveHeap()-before, int64(60*m.Code+3*len(m.Wasm)); kept > charge+256<<10 {
			t.Errorf("%s: the interpreter keeps %d bytes, the charge is %d", name, kept, charge)
		}
		cm.Close(context.Background())
	}
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first one may only have run finalizers
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkBombs is the worst that a hostile module may cost: in the gate, in the interpreter, which is on the way of
// a first use, and in the compiler, which is not.
func BenchmarkBombs(b *testing.B) {
	rts := newEngines(b)
	for name, bomb := range bombs() {
		raw := bomb.bytes()
		m, err := Check(raw, handlerConfig())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/gate", func(b *testing.B) {
			for b.Loop() {
				if _, err := Check(raw, handlerConfig()); err != nil {
					b.Fatal(err)
				}
			}
		})
		for i, engine := range []string{"interpreter", "compiler"} {
			b.Run(name+"/"+engine, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					cm, err := rts[i].CompileModule(context.Background(), m.Wasm)
					if err != nil {
						b.Fatal(err)
					}
					cm.Close(context.Background())
				}
			})
		}
	}
}

// TestBombsOfClasses: what is at the limits of a class passes in it, and one unit more does not; a carrier's is refused as a capsule.
func TestBombsOfClasses(t *testing.T) {
	for name, l := range map[string]Limits{"element": ElementLimits(), "carrier": CarrierLimits()} {
		cfg := handlerConfig()
		cfg.Limits = l
		for kind, b := range bombsFor(l) {
			m, err := Check(b.bytes(), cfg)
			if err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
			} else if len(m.Wasm) > 6*int(l.Module) {
				t.Errorf("%s, %s: %d bytes", name, kind, len(m.Wasm))
			}
		}
		b := evaluator(konst...)
		b.memory = []uint32{1, l.MemoryPages}
		if _, err := Check(b.bytes(), cfg); err != nil {
			t.Errorf("%s with %d pages: %v", name, l.MemoryPages, err)
		}
		if _, err := Check(b.bytes(), handlerConfig()); err == nil {
			t.Errorf("a capsule with %d pages is accepted", l.MemoryPages)
		}
		b.memory[1]++
		if _, err := Check(b.bytes(), cfg); err == nil {
			t.Errorf("%s with %d pages is accepted", name, b.memory[1])
		}
	}
	if _, err := Check(bombsFor(CarrierLimits())["loops"].bytes(), handlerConfig()); err == nil {
		t.Error("a capsule with the limits of a carrier is accepted")
	}
}
