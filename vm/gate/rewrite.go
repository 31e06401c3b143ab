package gate

import "strconv"

// Why a metered module calls its out import; see Place.
const (
	outOfFuel  = 0
	outOfStack = 1
)

// Names of what the rewritten module imports and exports beyond the guest's own. The guest's exports are
// dropped unless they were asked for, so the names cannot clash.
const (
	OutModule    = "\x00meter"
	OutName      = "out"
	ExportFuel   = "\x00fuel"
	ExportEnter  = "\x00enter"
	ExportStart  = "\x00start"
	ExportSlots  = "\x00slots" // of a Recursive module: what is left of the call stack, at first Limits.Stack
	ExportMemory = "memory"
	globalPrefix = "\x00g"
)

const (
	opI32Add  = 0x6a
	opI32Sub  = 0x6b
	opI32LtS  = 0x48
	opI64LtS  = 0x53
	opI64Sub  = 0x7d
	opI64ShrU = 0x88
	opI64Shl  = 0x86
	opExtendU = 0xad
)

// rewriter writes the metered module. Indices: imports keep theirs, the out import comes
// behind them, defined functions move up by one. The fuel global follows the guest's
// globals, the call stack global follows it.
type rewriter struct {
	d        *decoded
	out      writer
	sec      writer
	body     writer
	fuel     uint32 // index of the fuel global
	slots    uint32 // index of the call stack global
	counted  bool   // there is a call stack global
	outType  uint32
	multi    map[uint32]uint32 // type of a function with several results -> type of a block with these
	extra    []Sig             // appended types
	scratch  uint32            // of the current function: an i64 local, an i32 local behind it
	in       instr
	nested   uint32  // open blocks inside those of the exits
	outer    uint32  // those of them that are ours
	blocks   []open  // the guest's
	places   []int64 // arguments of out for the exits so far
	cached   bool    // the scratch local has the fuel
	regionAt int
	code     int    // bytes of bodies so far
	enter    int64  // index of the function that ExportEnter calls, or -1
	entry    uint32 // type of ExportEnter
}

// open is an open block.
type open struct {
	op     int
	cached bool // rewriter.cached when it began
	called bool // there was a call inside
}

// rewrite writes the metered module to the rewriter's out.
func (d *decoded) rewrite() *rewriter {
	w := &rewriter{d: d, fuel: uint32(len(d.globals)), multi: map[uint32]uint32{}, enter: -1}
	w.slots = w.fuel + 1
	n := d.size + d.size/2 + 512
	room := make([]byte, 3*n)
	w.out.b, w.sec.b, w.body.b = room[:0:n], room[n:n:2*n], room[2*n:2*n:3*n]
	w.outType = w.addType(Sig{Params: []Type{I32}})
	for i := range d.funcs {
		f := &d.funcs[i]
		w.counted = w.counted || f.counted
		if r := d.types[f.typ].Results; (f.counted || f.leaves) && len(r) > 1 {
			if _, ok := w.multi[f.typ]; !ok {
				w.multi[f.typ] = w.addType(Sig{Results: r})
			}
		}
	}
	for _, e := range d.exports {
		// It is a defined function, see required.
		if e.kind == 0 && e.name == d.cfg.Enter && e.name != "" {
			sig, _ := d.funcSig(e.index)
			w.enter = int64(w.funcIndex(e.index))
			w.entry = w.addType(Sig{Params: []Type{I64}, Results: append(append([]Type(nil), sig.Results...), I64)})
		}
	}
	w.module()
	return w
}

func (w *rewriter) addType(s Sig) uint32 {
	w.extra = append(w.extra, s)
	return uint32(len(w.d.types) + len(w.extra) - 1)
}

func (w *rewriter) funcIndex(i uint32) uint32 {
	if int(i) < len(w.d.imports) {
		return i
	}
	return i + 1
}

func (w *rewriter) module() {
	d, out := w.d, &w.out
	out.b = append(out.b, "\x00asm\x01\x00\x00\x00"...)
	out.section(secType, &w.sec, func(s *writer) {
		s.u32(uint32(len(d.types) + len(w.extra)))
		for _, list := range [][]Sig{d.types, w.extra} {
			for _, t := range list {
				s.byte(0x60)
				s.types(t.Params)
				s.types(t.Results)
			}
		}
	})
	out.section(secImport, &w.sec, func(s *writer) {
		s.u32(uint32(len(d.imports)) + 1)
		for i, n := range d.imports {
			s.name(d.cfg.Imports[n].Module)
			s.name(d.cfg.Imports[n].Name)
			s.byte(0)
			s.u32(d.impType[i])
		}
		s.name(OutModule)
		s.name(OutName)
		s.byte(0)
		s.u32(w.outType)
	})
	if len(d.funcs) > 0 {
		out.section(secFunction, &w.sec, func(s *writer) {
			s.u32(uint32(w.bodies()))
			for i := range d.funcs {
				s.u32(d.funcs[i].typ)
			}
			if w.enter >= 0 {
				s.u32(w.entry)
			}
		})
	}
	if d.table != nil {
		out.section(secTable, &w.sec, func(s *writer) { s.b = append(s.b, 1, 0x70); s.limits(d.table) })
	}
	if d.memory != nil {
		out.section(secMemory, &w.sec, func(s *writer) {
			size := *d.memory
			if d.cfg.HostMemory {
				size[1] = 1 << 16
			}
			s.byte(1)
			s.limits(&size)
		})
	}
	out.section(secGlobal, &w.sec, w.globals)
	out.section(secExport, &w.sec, w.exports)
	if d.start >= 0 && !d.cfg.CallStart {
		out.section(secStart, &w.sec, func(s *writer) { s.u32(w.funcIndex(uint32(d.start))) })
	}
	if len(d.elems) > 0 {
		out.section(secElement, &w.sec, w.elements)
	}
	if d.hasDC {
		out.section(secDataCount, &w.sec, func(s *writer) { s.u32(d.dcount) })
	}
	if len(d.funcs) > 0 {
		out.section(secCode, &w.sec, func(s *writer) {
			s.u32(uint32(w.bodies()))
			for i := range d.funcs {
				w.function(&d.funcs[i])
				s.bytes(w.body.b)
				w.code += len(w.body.b)
			}
			if w.enter >= 0 {
				w.entrance()
				s.bytes(w.body.b)
				w.code += len(w.body.b)
			}
		})
	}
	if len(d.data) > 0 {
		out.section(secData, &w.sec, func(s *writer) {
			s.u32(uint32(len(d.data)))
			for i := range d.data {
				s.segment(&d.data[i])
				s.bytes(d.data[i].data)
			}
		})
	}
}

// bodies is the number of functions that are written.
func (w *rewriter) bodies() int {
	if w.enter >= 0 {
		return len(w.d.funcs) + 1
	}
	return len(w.d.funcs)
}

// entrance writes ExportEnter to w.body.
func (w *rewriter) entrance() {
	b := &w.body
	b.b = b.b[:0]
	b.u32(0)
	b.opIndex(opLocalGet, 0)
	b.opIndex(opGlobalSet, w.fuel)
	b.opIndex(opCall, uint32(w.enter))
	b.opIndex(opGlobalGet, w.fuel)
	b.op(opEnd)
}

func (w *writer) limits(l *[2]uint32) {
	w.byte(1)
	w.u32(l[0])
	w.u32(l[1])
}

// segment writes what data and element segments have in common.
func (w *writer) segment(s *segment) {
	if s.passive {
		w.byte(1)
		return
	}
	w.byte(0)
	w.constant(I32, int64(int32(s.offset)))
	w.byte(opEnd)
}

func (w *rewriter) globals(s *writer) {
	n := len(w.d.globals) + 1
	if w.counted {
		n++
	}
	s.u32(uint32(n))
	one := func(t Type, mutable byte, v int64) {
		s.byte(byte(t))
		s.byte(mutable)
		s.constant(t, v)
		s.byte(opEnd)
	}
	for _, g := range w.d.globals {
		m := byte(0)
		if g.mutable {
			m = 1
		}
		one(g.t, m, g.init)
	}
	one(I64, 1, 0)
	if w.counted {
		one(I32, 1, int64(w.d.cfg.Limits.Stack))
	}
}

// exports keeps the functions that were asked for and adds what the host needs: memory, fuel,
// and the guest's mutable globals, so that an instance can move to another engine.
func (w *rewriter) exports(s *writer) {
	type ex struct {
		name  string
		kind  byte
		index uint32
	}
	list := []ex{{ExportFuel, 3, w.fuel}}
	if w.d.memory != nil {
		list = append(list, ex{ExportMemory, 2, 0})
	}
	for _, e := range w.d.exports {
		if e.kind == 0 && w.d.cfg.wants(e.name) {
			list = append(list, ex{e.name, 0, w.funcIndex(e.index)})
		}
	}
	if w.enter >= 0 {
		list = append(list, ex{ExportEnter, 0, uint32(len(w.d.imports) + 1 + len(w.d.funcs))})
	}
	if w.counted {
		list = append(list, ex{ExportSlots, 3, w.slots})
	}
	if w.d.start >= 0 && w.d.cfg.CallStart {
		list = append(list, ex{ExportStart, 0, w.funcIndex(uint32(w.d.start))})
	}
	for i, g := range w.d.globals {
		if g.mutable {
			list = append(list, ex{GlobalName(i), 3, uint32(i)})
		}
	}
	s.u32(uint32(len(list)))
	for _, e := range list {
		s.name(e.name)
		s.byte(e.kind)
		s.u32(e.index)
	}
}

// GlobalName returns the name under which the metered module exports the guest's mutable global i.
func GlobalName(i int) string { return globalPrefix + strconv.Itoa(i) }

func (w *rewriter) elements(s *writer) {
	s.u32(uint32(len(w.d.elems)))
	for i := range w.d.elems {
		e := &w.d.elems[i]
		s.segment(e)
		if e.passive {
			s.byte(0)
		}
		s.u32(uint32(len(e.funcs)))
		for _, f := range e.funcs {
			s.u32(w.funcIndex(f))
		}
	}
}

// function writes a body to w.body. Most of it is the guest's, between what is charged at its entry and where it goes when that cannot be
// paid:
//
//	block block ... charge fuel, or branch out of the first
//	                charge slots, or branch out of the second
//	      block BODY end; give slots back; return
//	end; call out; unreachable end; call out; unreachable ...
//
// The loops of BODY, which charge at their heads, have such an exit each. A branch forwards to code that is hardly ever run costs a
// compiler less than code in the way. Where the import may return, it is called in place. The block around BODY is there if
// slots are given back, or if the guest branches to it.
func (w *rewriter) function(f *function) {
	b := &w.body
	b.b = b.b[:0]
	w.scratch = uint32(len(w.d.types[f.typ].Params)) + f.nlocal
	groups := uint32(1)
	if f.dynamic || f.counted {
		groups++
	}
	for _, g := range f.locals {
		if g.n > 0 {
			groups++
		}
	}
	b.u32(groups)
	for _, g := range f.locals {
		if g.n > 0 {
			b.u32(g.n)
			b.byte(byte(g.t))
		}
	}
	b.u32(1)
	b.byte(byte(I64))
	if f.dynamic || f.counted {
		b.u32(1)
		b.byte(byte(I32))
	}
	exits := len(f.regions)
	if f.counted {
		exits++
	}
	if w.d.cfg.Resume {
		exits = 0
	}
	for range exits {
		b.op(opBlock)
		b.byte(0x40)
	}
	w.places, w.blocks, w.nested, w.cached = w.places[:0], w.blocks[:0], 0, false
	w.charge(f.regions[0].cost, f.start)
	w.regionAt = 1
	if f.counted {
		w.deeper(f)
	}
	body := f.counted || f.leaves
	if body {
		w.nested++
		b.op(opBlock)
		switch r := w.d.types[f.typ].Results; len(r) {
		case 0:
			b.byte(0x40)
		case 1:
			b.byte(byte(r[0]))
		default:
			b.signed(int64(w.multi[f.typ]))
		}
	}
	w.outer = w.nested
	r := f.code
	for r.more() {
		r.next(&w.in)
		if r.more() || body {
			w.instruction(f, &w.in)
		}
	}
	if f.counted {
		b.opIndex(opGlobalGet, w.slots)
		b.constant(I32, int64(f.weight))
		b.op(opI32Add)
		b.opIndex(opGlobalSet, w.slots)
	}
	if exits > 0 {
		b.op(opReturn)
	}
	for _, place := range w.places {
		b.op(opEnd)
		b.constant(I32, place)
		b.opIndex(opCall, uint32(len(w.d.imports)))
		b.op(opUnreachable)
	}
	b.op(opEnd)
}

// charge takes cost units of fuel and leaves if there are not as many. What is left is in a local afterwards, which saves the compiler a
// load from where it has just stored.
func (w *rewriter) charge(cost uint64, at int) {
	b := &w.body
	w.fuelOnStack()
	b.constant(I64, int64(cost))
	b.op(opI64Sub)
	w.settle()
	w.leave(outOfFuel, at)
}

// fuelOnStack loads the fuel, from the local where that has it.
func (w *rewriter) fuelOnStack() {
	if w.cached && !w.d.cfg.reload {
		w.body.opIndex(opLocalGet, w.scratch)
	} else {
		w.body.opIndex(opGlobalGet, w.fuel)
	}
}

// settle stores the fuel that is on the operand stack and leaves there whether it is negative.
func (w *rewriter) settle() {
	b := &w.body
	b.opIndex(opLocalTee, w.scratch)
	b.opIndex(opGlobalSet, w.fuel)
	b.opIndex(opLocalGet, w.scratch)
	b.constant(I64, 0)
	b.op(opI64LtS)
	w.cached = true
}

// leave goes to the out import, by an exit of the function, if the operand on the stack is not 0.
func (w *rewriter) leave(why, at int) {
	if w.d.cfg.Resume {
		w.leaveHere(why, at)
		return
	}
	w.body.opIndex(opBrIf, w.nested+uint32(len(w.places)))
	w.places = append(w.places, int64(at)<<1|int64(why))
}

// leaveHere calls the out import if the operand on the stack is not 0. It returns only to code that resumes with other fuel.
func (w *rewriter) leaveHere(why, at int) {
	b := &w.body
	b.op(opIf)
	b.byte(0x40)
	b.constant(I32, int64(at)<<1|int64(why))
	b.opIndex(opCall, uint32(len(w.d.imports)))
	if why == outOfFuel && w.d.cfg.Resume {
		b.opIndex(opGlobalGet, w.fuel)
		b.opIndex(opLocalSet, w.scratch)
	} else {
		b.op(opUnreachable)
	}
	b.op(opEnd)
}

// deeper takes the slots of f and leaves if there are not as many.
func (w *rewriter) deeper(f *function) {
	b := &w.body
	b.opIndex(opGlobalGet, w.slots)
	b.constant(I32, int64(f.weight))
	b.op(opI32Sub)
	b.opIndex(opLocalTee, w.scratch+1)
	b.opIndex(opGlobalSet, w.slots)
	b.opIndex(opLocalGet, w.scratch+1)
	b.constant(I32, 0)
	b.op(opI32LtS)
	w.leave(outOfStack, f.start)
}

// chargeLength charges for the length on top of the operand stack and leaves it there.
func (w *rewriter) chargeLength(shift int, up bool, at int) {
	b := &w.body
	b.opIndex(opLocalSet, w.scratch+1)
	w.fuelOnStack()
	b.opIndex(opLocalGet, w.scratch+1)
	b.op(opExtendU)
	if shift > 0 {
		b.constant(I64, int64(shift))
		if up {
			b.op(opI64Shl)
		} else {
			b.op(opI64ShrU)
		}
	}
	b.op(opI64Sub)
	w.settle()
	w.leaveHere(outOfFuel, at)
	b.opIndex(opLocalGet, w.scratch+1)
}

func (w *rewriter) instruction(f *function, in *instr) {
	b := &w.body
	switch in.op {
	case opNop:
		return
	case opI32Const:
		b.constant(I32, in.c)
		return
	case opI64Const:
		b.constant(I64, in.c)
		return
	case opF32Const:
		b.constant(F32, in.c)
		return
	case opF64Const:
		b.constant(F64, in.c)
		return
	case opReturn:
		if f.counted {
			b.opIndex(opBr, w.nested-w.outer)
			return
		}
	case opMemoryCopy, opMemoryFill, opMemoryInit:
		w.chargeLength(bulkShift, false, in.at)
	case opTableCopy, opTableInit:
		w.chargeLength(tableShift, false, in.at)
	case opMemoryGrow:
		w.chargeLength(growShift, true, in.at)
	}
	if in.op == opLoop && !f.regions[w.regionAt].calls && !w.cached {
		// Nothing in the loop changes the fuel but its own charges.
		b.opIndex(opGlobalGet, w.fuel)
		b.opIndex(opLocalSet, w.scratch)
		w.cached = true
	}
	b.op(in.op)
	switch ops[in.op].imm {
	case immBlock:
		b.signed(in.c)
		w.nested++
		w.blocks = append(w.blocks, open{op: in.op, cached: w.cached})
	case immIndex:
		if in.op == opCall {
			in.a = w.funcIndex(in.a)
		}
		b.u32(in.a)
	case immTable:
		b.u32(uint32(len(in.targets)))
		for _, t := range in.targets {
			b.u32(t)
		}
		b.u32(in.a)
	case immCallI, immSegTab, immTabs, immMem:
		b.u32(in.a)
		b.u32(in.b)
	case immZero:
		b.byte(0)
	case immZeros:
		b.byte(0)
		b.byte(0)
	case immSegMem:
		b.u32(in.a)
		b.byte(0)
	}
	switch in.op {
	case opLoop:
		g := &f.regions[w.regionAt]
		w.cached = !g.calls
		w.charge(g.cost, in.at)
		w.regionAt++
	case opCall, opCallIndirect:
		w.cached = false
		if n := len(w.blocks); n > 0 {
			w.blocks[n-1].called = true
		}
	case opElse:
		w.cached = w.blocks[len(w.blocks)-1].cached
	case opEnd:
		w.nested--
		n := len(w.blocks) - 1
		if n < 0 {
			break
		}
		o := w.blocks[n]
		w.blocks = w.blocks[:n]
		if o.op != opLoop { // its end may be reached from anywhere inside
			w.cached = o.cached && !o.called
		}
		if o.called && n > 0 {
			w.blocks[n-1].called = true
		}
	}
}
