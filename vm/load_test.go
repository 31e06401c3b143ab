package vm

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
)

// handmade is a capsule in a few bytes: evaluate returns forward. The records are where it is told.
type handmade struct {
	manifest, block, window uint32
	record                  [abi.ManifestSize]byte
	leave                   string // an export that is left out
}

func newHandmade() *handmade {
	h := &handmade{manifest: 0, block: 128, window: 1024}
	le := binary.LittleEndian
	le.PutUint32(h.record[abi.ManifestSizeOff:], abi.ManifestSize)
	le.PutUint32(h.record[abi.ManifestABIOff:], abi.Version)
	le.PutUint32(h.record[abi.ManifestWindowSizeOff:], 256)
	copy(h.record[abi.ManifestNameOff:], "handmade")
	return h
}

func (h *handmade) bytes() []byte {
	leb := binary.AppendUvarint
	section := func(b []byte, id byte, content []byte) []byte {
		return append(leb(append(b, id), uint64(len(content))), content...)
	}
	sleb := func(b []byte, v uint32) []byte { // five bytes whatever the value
		s := int64(int32(v))
		for range 4 {
			b = append(b, byte(s&0x7f)|0x80)
			s >>= 7
		}
		return append(b, byte(s&0x7f))
	}
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = section(b, 1, []byte{1, 0x60, 0, 1, 0x7f})
	b = section(b, 3, []byte{1, 0})
	b = section(b, 5, []byte{1, 1, 1, 1})
	names := []string{abi.ExportManifest, abi.ExportBlock, abi.ExportWindow}
	g, x, n := []byte{3}, []byte(nil), byte(0)
	for i, addr := range []uint32{h.manifest, h.block, h.window} {
		g = append(sleb(append(g, 0x7f, 0, 0x41), addr), 0x0b)
		if names[i] != h.leave {
			x = append(append(leb(x, uint64(len(names[i]))), names[i]...), 3, byte(i))
			n++
		}
	}
	x = append(append(leb(nil, 8), "evaluate"...), append([]byte{0, 0}, x...)...)
	b = section(b, 6, g)
	b = section(b, 7, append([]byte{n + 1}, x...))
	b = section(b, 10, []byte{1, 4, 0, 0x41, byte(abi.Forward), 0x0b})
	d := append(leb([]byte{1, 0, 0x41, 0, 0x0b}, abi.ManifestSize), h.record[:]...)
	return section(b, 11, d)
}

func TestRecords(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	put := func(off int, v uint32) func(*handmade) {
		return func(h *handmade) { binary.LittleEndian.PutUint32(h.record[off:], v) }
	}
	for name, tc := range map[string]struct {
		change func(h *handmade)
		want   string // "" for a module that is accepted
	}{
		"good":              {func(h *handmade) {}, ""},
		"at the end":        {func(h *handmade) { h.window = 65536 - 256 }, ""},
		"beyond the end":    {func(h *handmade) { h.window = 65536 - 248 }, "janos_window (0xff08, 256 bytes) is outside"},
		"block beyond":      {func(h *handmade) { h.block = 0xffffff00 }, "janos_block (0xffffff00, 384 bytes) is outside"},
		"manifest beyond":   {func(h *handmade) { h.manifest = 65536 }, "janos_manifest at 0x10000 is outside"},
		"not aligned":       {func(h *handmade) { h.block = 132 }, "janos_block is at 0x84, want a multiple of 8"},
		"overlap":           {func(h *handmade) { h.window = 128 + abi.BlockSize - 8 }, "janos_block and janos_window overlap"},
		"over the manifest": {func(h *handmade) { h.block = abi.ManifestSize - 8 }, "janos_manifest and janos_block overlap"},
		"no block":          {func(h *handmade) { h.leave = abi.ExportBlock }, "does not export janos_block"},
		"no manifest":       {func(h *handmade) { h.leave = abi.ExportManifest }, "does not export janos_manifest"},
		"other ABI":         {put(abi.ManifestABIOff, 9), "ABI version 9, this node speaks 1"},
		"huge window":       {put(abi.ManifestWindowSizeOff, 1<<20), "window_size is 1048576"},
		"no name":           {put(abi.ManifestNameOff, 0), "class name is empty"},
	} {
		h := newHandmade()
		tc.change(h)
		code, err := r.e.Load(h.bytes(), r.class, r.acct)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			in, err := r.iso.Instantiate(code)
			if err != nil {
				t.Fatal(err)
			}
			if v, err := in.Evaluate(nil, call(make([]byte, 256))); err != nil || v != abi.Forward {
				t.Errorf("%s: %v %v", name, v, err)
			}
			if err := in.Close(); err != nil {
				t.Error(err)
			}
			code.Release()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || errs.KindOf(err) == errs.Internal {
			t.Errorf("%s: %v (%v), want %q", name, err, errs.KindOf(err), tc.want)
		}
		if n := r.acct.Use(resctl.Memory); n != 0 {
			t.Fatalf("%s: %d bytes stay charged", name, n)
		}
	}
}

func TestLoad(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	mod, err := os.ReadFile("testdata/count.wasm")
	if err != nil {
		t.Fatal(err)
	}
	// The same bytes by many at once: one entry, everybody pays.
	var wg sync.WaitGroup
	var mu sync.Mutex
	var codes []*Code
	for range 8 {
		wg.Go(func() {
			c, err := r.e.Load(mod, r.class, r.acct)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			codes = append(codes, c)
			mu.Unlock()
		})
	}
	wg.Wait()
	each := r.e.codeCharge(codes[0].entry.mod)
	if n := r.e.Stats().Codes; n != 1 {
		t.Errorf("%d entries", n)
	}
	if n := r.acct.Use(resctl.Memory); n != 8*each {
		t.Errorf("charged %d, want 8 times %d", n, each)
	}
	// Another class is another code, because it may import other things.
	other, err := r.e.NewClass(ClassSpec{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.e.Load(mod, other, nil)
	if err != nil || r.e.Stats().Codes != 2 {
		t.Errorf("%v, %+v", err, r.e.Stats())
	}
	c.Release()
	if err := r.e.Close(); !errors.Is(err, errs.Exists) {
		t.Errorf("closed with loaded code: %v", err)
	}
	for _, c := range codes {
		c.Release()
		c.Release()
	}
	// Refused before the work if the account does not have the memory.
	if err := r.acct.SetLimit(resctl.Memory, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Load(mod, r.class, r.acct); !errors.Is(err, errs.Limit) || r.e.Stats().Codes != 0 {
		t.Errorf("above the account's limit: %v, %+v", err, r.e.Stats())
	}
	if err := r.acct.SetLimit(resctl.Memory, resctl.Unlimited); err != nil {
		t.Fatal(err)
	}
	var ge *gate.Error
	if _, err := r.e.Load(mod[:len(mod)-1], r.class, r.acct); !errors.As(err, &ge) || !errors.Is(err, errs.Invalid) {
		t.Errorf("truncated: %v", err)
	}
	if _, err := r.e.Load(make([]byte, 1<<20), r.class, r.acct); !errors.Is(err, errs.Refused) {
		t.Errorf("too large: %v", err)
	}
	if n := r.acct.Use(resctl.Memory); n != 0 {
		t.Errorf("%d bytes stay charged after refusals", n)
	}
}

func TestClassSpec(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	f := HostFunc{Module: "m", Name: "f", Call: func(*Instance, []uint64) {}}
	for name, spec := range map[string]ClassSpec{
		"twice":   {Imports: []HostFunc{f, f}},
		"no call": {Imports: []HostFunc{{Module: "m", Name: "f"}}},
		"meter":   {Imports: []HostFunc{{Module: gate.OutModule, Name: gate.OutName, Call: f.Call}}},
		"stack":   {Limits: gate.Limits{Stack: 1 << 20}},
		"start":   {Limits: gate.Limits{Stack: 100, Start: true}},
	} {
		if _, err := r.e.NewClass(spec); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewEngine(EngineSpec{}); !errors.Is(err, errs.Invalid) {
		t.Errorf("engine without a clock: %v", err)
	}
}

// TestGenerations: an engine that was shown many function types begins a new runtime; what is loaded stays.
func TestGenerations(t *testing.T) {
	for _, m := range modes {
		r := newRig(t, m, IsolateSpec{})
		r.e.maxTypes = 6
		kept := r.instance("echo")
		first := kept.code.entry.forms[r.e.first].tier
		c := call(make([]byte, 256))
		seen := map[*tier]bool{}
		for i := range 12 {
			h := newHandmade()
			h.window += uint32(8 * i)
			code, err := r.e.Load(h.bytes(), r.class, r.acct)
			if err != nil {
				t.Fatal(err)
			}
			in, err := r.iso.Instantiate(code)
			if err != nil {
				t.Fatal(err)
			}
			code.Release() // the instance lives on
			seen[in.code.entry.forms[r.e.first].tier] = true
			if v, err := in.Evaluate(nil, c); err != nil || v != abi.Forward {
				t.Fatal(v, err)
			}
			if i%2 == 0 {
				if err := in.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if v, err := kept.Evaluate(nil, c); err != nil || v != abi.Punt {
				t.Fatal(v, err)
			}
		}
		if len(seen) < 3 || !first.retired || first.codes == 0 {
			t.Errorf("%d generations, the first: %+v", len(seen), first)
		}
		if err := r.iso.Close(); err != nil {
			t.Fatal(err)
		}
		kept.code.Release()
		for old := range seen {
			if old.codes != 0 {
				t.Errorf("%d codes left in a generation", old.codes)
			}
		}
	}
}

func TestInfo(t *testing.T) {
	r := newRig(t, ModeInterpreter, IsolateSpec{})
	in := r.instance("loop")
	i := in.code.Info()
	if i.Charge+i.Instance != r.acct.Use(resctl.Memory) || !i.Recursive || i.Functions < 8 || i.MemoryMax != 65536 || i.Imports != nil || i.Canonical != in.code.Size() {
		t.Errorf("%+v, charged %d", i, r.acct.Use(resctl.Memory))
	}
	if i := r.instance("echo").code.Info(); i.Recursive || len(i.Imports) != 1 || i.Imports[0] != "janos.route_next" {
		t.Errorf("%+v", i)
	}
}
