package gate

import (
	"context"
	"runtime"
	"testing"
)

// bombs are modules that stay just inside HandlerLimits and are as hard to compile as was found.
func bombs() map[string]*mod {
	fill := func(locals uint32, code []byte) *mod {
		m := evaluator()
		m.funcs = nil
		code = append(code, opEnd)
		for size := 0; size+len(code)+8 < 64<<10-200 && len(m.funcs) < 1000; size += len(code) + 8 {
			m.funcs = append(m.funcs, fn{locals: []localGroup{{locals, I32}}, code: code})
		}
		return m
	}
	loops := rep(15, cat(rep(31, opLoop, 0x40), rep(31, opLocalGet, 3, opBrIf, 0, opLocalGet, 9, opLocalSet, 8, opEnd))...)
	var moves []byte
	for i := range byte(11) {
		moves = append(moves, opLocalGet, i, opI32Const, 1, opI32Add, opLocalSet, (i+1)%11)
	}
	return map[string]*mod{
		"loops":   fill(128, cat(loops, konst)),
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
