package gate

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// TestRestore: an instance whose memory and globals were set back does what a fresh one does, and ExportEnter is the call that it stands for.
func TestRestore(t *testing.T) {
	ctx := context.Background()
	const budget = 20_000
	rts := newEngines(t)
	for _, rt := range rts {
		_, err := rt.NewHostModuleBuilder(OutModule).NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) { panic(errLeft) }),
			[]api.ValueType{api.ValueTypeI32}, nil).Export(OutName).Instantiate(ctx)
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg := handlerConfig()
	cfg.Enter = "evaluate"
	restored := 0
	for seed := range uint64(300) {
		m, err := Check(randomModule(seed).bytes(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if m.SegmentState {
			continue
		}
		rt := rts[seed%2]
		mod, err := rt.InstantiateWithConfig(ctx, m.Wasm, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatal(err)
		}
		all := func() []byte { b, _ := mod.Memory().Read(0, mod.Memory().Size()); return b }
		fresh := bytes.Clone(all())
		var first outcome
		for round := range 3 {
			stack := []uint64{budget, 0}
			err := mod.ExportedFunction(ExportEnter).CallWithStack(ctx, stack)
			if err != nil {
				if !errors.Is(err, errLeft) && round > 0 {
					t.Errorf("seed %d, round %d: %v", seed, round, err)
				}
				break
			}
			fuel := mod.ExportedGlobal(ExportFuel).Get()
			o := outcome{result: stack[0], fuel: int64(fuel), memory: bytes.Clone(all())}
			if stack[1] != fuel {
				t.Errorf("seed %d: it returns that %d is left, the global says %d", seed, stack[1], fuel)
			}
			if round == 0 {
				first = o
			} else if o.result != first.result || o.fuel != first.fuel || !bytes.Equal(o.memory, first.memory) {
				t.Errorf("seed %d: %d with fuel %d at first, %d with fuel %d after it was restored", seed, first.result, first.fuel, o.result, o.fuel)
			}
			if len(all()) != len(fresh) {
				break // grown: it is not restored
			}
			lo, hi := uint32(0), uint32(len(fresh))
			if m.Writes {
				lo, hi = m.WriteLow, m.WriteHigh
			}
			m.Restore(all(), lo, hi)
			if !bytes.Equal(all(), fresh) {
				t.Fatalf("seed %d: the memory is not what it was", seed)
			}
			for i, g := range m.Mutable {
				mod.ExportedGlobal(GlobalName(g)).(api.MutableGlobal).Set(m.Initial[i])
			}
			restored++
		}
		mod.Close(ctx)
	}
	if restored < 50 {
		t.Errorf("only %d instances were restored: the generator tests too little", restored)
	}
}

// TestWrites: what a module can write to is known where all its addresses are constants.
func TestWrites(t *testing.T) {
	store := func(at, offset, align byte) []byte {
		return []byte{opI32Const, at, opI32Const, 7, opI32Store, align, offset}
	}
	for name, tc := range map[string]struct {
		code   []byte
		known  bool
		lo, hi uint32
	}{
		"nothing":      {nil, true, 0, 0},
		"one":          {store(8, 16, 2), true, 24, 28},
		"two":          {cat(store(8, 16, 2), store(0, 4, 2)), true, 4, 28},
		"byte":         {[]byte{opI32Const, 9, opI32Const, 7, 0x3a, 0, 1}, true, 10, 11},
		"eight":        {[]byte{opI32Const, 0, opI64Const, 7, 0x37, 3, 32}, true, 32, 40},
		"negative":     {[]byte{opI32Const, 0x78, opI32Const, 7, opI32Store, 2, 0}, true, 1 << 16, 1 << 16}, // it traps
		"a sum":        {[]byte{opI32Const, 8, opI32Const, 8, opI32Add, opI32Const, 7, opI32Store, 2, 0}, false, 0, 0},
		"through if":   {[]byte{opI32Const, 8, opI32Const, 1, opIf, 0x40, opEnd, opI32Const, 7, opI32Store, 2, 0}, true, 8, 12},
		"of a block":   {[]byte{opBlock, byte(I32), opI32Const, 8, opEnd, opI32Const, 7, opI32Store, 2, 0}, false, 0, 0},
		"after br_if":  {[]byte{opBlock, byte(I32), opI32Const, 8, opI32Const, 0, opBrIf, 0, opI32Const, 7, opI32Store, 2, 0, opI32Const, 0, opEnd, opDrop}, false, 0, 0},
		"fill":         {[]byte{opI32Const, 8, opI32Const, 0, opI32Const, 8, 0xfc, 11, 0}, false, 0, 0},
		"never run":    {[]byte{opI32Const, 0, opReturn, opI32Store, 2, 0}, true, 0, 0},
		"never, whole": {cat([]byte{opI32Const, 0, opReturn}, store(8, 0, 2)), true, 8, 12},
	} {
		m := checked(t, evaluator(cat(tc.code, []byte{opI32Const, 0})...))
		if m.Writes != tc.known || m.Writes && (m.WriteLow != tc.lo || m.WriteHigh != tc.hi) {
			t.Errorf("%s: %v, %d to %d", name, m.Writes, m.WriteLow, m.WriteHigh)
		}
	}
}
