package vm

import (
	"context"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm/gate"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// body is what an instance lives in: a module instance of the engine and its linear memory. It belongs to one instance, or waits in the pool of its
// code, restored to what it was at first. What was killed or grew is never used again, nor what was in a host function that broke its contract.
type body struct {
	tier    int
	mod     api.Module
	fn      api.Function // what is called
	carries bool         // it is gate.ExportEnter: it carries the fuel
	fuel    api.MutableGlobal
	slots   api.MutableGlobal   // of a recursive module; nil: not looked up yet
	globals []api.MutableGlobal // the guest's, as gate.Module.Mutable has them; nil: not looked up yet
	mem     linear

	// Of handlers, views of the memory:
	block  []byte
	window []byte

	used      bool   // something ran since it was fresh
	written   uint32 // most bytes of the window that the host wrote meanwhile
	hostWrote bool   // and elsewhere
}

// Bounds of what waits for use again, which is charged to nobody: bytes in an engine, and bodies of one code.
const (
	poolBytes = 8 << 20
	poolEach  = 8
)

// newBody makes a body for in, debiting its linear memory.
func (in *Instance) newBody(t int) (*body, error) {
	iso, ent := in.iso, in.code.entry
	b := &body{tier: t}
	b.mem = linear{in: in, buf: iso.e.spec.Arena.Reserve(int(ent.mod.MemoryMax) << 16)}
	if b.mem.buf == nil {
		return nil, errs.New(errs.NoMemory, "vm: isolate %s: no linear memory of %d pages", iso.spec.Name, ent.mod.MemoryMax)
	}
	// Taken here, because wazero cannot be told that the first allocation failed.
	if b.mem.Reallocate(uint64(ent.mod.MemoryMin)<<16) == nil {
		iso.e.closeBody(b)
		return nil, errs.New(errs.Limit, "vm: isolate %s: %d bytes for an instance of %s are not allowed", iso.spec.Name, int64(ent.mod.MemoryMin)<<16, ent.manifest.Name)
	}
	form := &ent.forms[t]
	ctx := experimental.WithMemoryAllocator(context.Background(), &b.mem)
	ctx = experimental.WithImportResolver(ctx, func(name string) api.Module { return form.imports[name] })
	mod, err := form.tier.instantiate(ctx, form.module, iso.e.config)
	if err != nil {
		iso.e.closeBody(b)
		return nil, errs.New(errs.Internal, "vm: isolate %s: instantiate: %w", iso.spec.Name, err)
	}
	b.mod = mod
	b.fuel = mod.ExportedGlobal(gate.ExportFuel).(api.MutableGlobal)
	if ent.key.class.process {
		b.fn = mod.ExportedFunction(ent.key.class.config.Exports[0].Name)
		return b, nil
	}
	b.fn = mod.ExportedFunction(abi.ExportEvaluate)
	if t == compiled { // the interpreter's calls cost more than two of ours
		b.fn, b.carries = mod.ExportedFunction(gate.ExportEnter), true
	}
	b.block = b.mem.buf[ent.block : ent.block+ent.blockSize : ent.block+ent.blockSize]
	end := ent.window + ent.manifest.WindowSize
	b.window = b.mem.buf[ent.window:end:end]
	return b, nil
}

// closeBody drops the memory. What was charged for it is the caller's to return.
func (e *Engine) closeBody(b *body) {
	if b.mod != nil {
		b.mod.Close(context.Background())
	}
	if b.mem.buf != nil {
		e.spec.Arena.Release(b.mem.buf, b.mem.n)
		b.mem = linear{}
	}
}

// restore makes b what it was at first and reports whether that is possible. The evaluation before may have ended in a fault: all that a guest has is its memory, its globals,
// the number of slots, and tables and segments, with which it is not possible.
func (b *body) restore(ent *entry) bool {
	m := ent.mod
	if m.SegmentState || b.mem.n != int(m.MemoryMin)<<16 {
		return false
	}
	if !b.used {
		return true
	}
	mem := b.mem.buf[:b.mem.n]
	if m.Writes && len(m.Imports) == 0 && !b.hostWrote {
		m.Restore(mem, m.WriteLow, m.WriteHigh)
		m.Restore(mem, ent.block, ent.block+ent.blockSize)
		m.Restore(mem, ent.window, ent.window+b.written)
	} else { // host functions write where the guest wants
		m.Restore(mem, 0, uint32(len(mem)))
	}
	if b.globals == nil && len(m.Mutable) > 0 {
		b.globals = make([]api.MutableGlobal, len(m.Mutable))
		for i, g := range m.Mutable {
			b.globals[i] = b.mod.ExportedGlobal(gate.GlobalName(g)).(api.MutableGlobal)
		}
	}
	for i, g := range b.globals {
		g.Set(m.Initial[i])
	}
	if m.Recursive { // a fault may have left calls open
		if b.slots == nil {
			b.slots = b.mod.ExportedGlobal(gate.ExportSlots).(api.MutableGlobal)
		}
		b.slots.Set(uint64(ent.key.class.config.Limits.Stack))
	}
	b.used, b.written, b.hostWrote = false, 0, false
	return true
}

// pooled returns a body of ent that waits in tier t, or nil.
func (e *Engine) pooled(ent *entry, t int) *body {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(ent.pool)
	if n == 0 || ent.pool[n-1].tier != t {
		return nil
	}
	b := ent.pool[n-1]
	ent.pool[n-1] = nil
	ent.pool = ent.pool[:n-1]
	e.waiting -= ent.bodyBytes()
	return b
}

// pool keeps b, which was restored, for another instance, and reports whether there was room.
func (e *Engine) pool(ent *entry, b *body) bool {
	size := ent.bodyBytes()
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.tier != int(ent.best.Load()) || len(ent.pool) >= poolEach || e.waiting+size > poolBytes {
		return false
	}
	b.mem.in = nil
	ent.pool = append(ent.pool, b)
	e.waiting += size
	return true
}

// drain empties the pool of a code that is not used any more, or in another tier now.
func (e *Engine) drain(ent *entry) {
	e.mu.Lock()
	list := ent.pool
	ent.pool = nil
	e.waiting -= int64(len(list)) * ent.bodyBytes()
	e.mu.Unlock()
	for _, b := range list {
		e.closeBody(b)
	}
}

// bodyBytes is what a body that waits keeps at most.
func (ent *entry) bodyBytes() int64 { return ent.fixed() + int64(ent.mod.MemoryMax)<<16 }
