package gate

import "github.com/janos-os/janos/errs"

// frame is an open block during validation.
type frame struct {
	op          int
	params      []Type
	results     []Type
	height      int // of the operand stack below the block
	unreachable bool

	// metering
	region int    // a loop's index in function.regions
	outer  uint64 // loop: cost so far of the region around it; if: cost before the arms
	then   uint64 // if: cost of the first arm, known from else on
}

// operand is a value on the operand stack.
type operand struct {
	t Type
	c int64 // value of a constant i32, as unsigned; -1: not known
}

// validator checks the body of one function after the algorithm in the appendix of the
// WebAssembly specification, and adds up the cost of its regions.
type validator struct {
	d      *decoded
	f      *function
	r      *reader
	sig    Sig
	locals []Type // with parameters
	stack  []operand
	frames []frame
	cost   uint64 // of the current region, so far
	blocks uint32
	labels uint32 // entries of branch tables
	seen   map[uint64]bool
	held   []Type
	in     instr
}

func (v *validator) run(d *decoded, f *function) *Error {
	r := f.code // a copy: the body is read again for rewriting
	sig := d.types[f.typ]
	*v = validator{d: d, f: f, r: &r, sig: sig, locals: v.locals[:0], stack: v.stack[:0], frames: v.frames[:0], seen: v.seen, held: v.held, in: v.in}
	clear(v.seen)
	v.locals = append(v.locals, sig.Params...)
	for _, g := range f.locals {
		for range g.n {
			v.locals = append(v.locals, g.t)
		}
	}
	for _, t := range v.locals {
		if (t == F32 || t == F64) && !d.cfg.Limits.Floats {
			r.noFloats(f.start)
		}
	}
	f.regions = append(f.regions, region{})
	v.cost = costRegion
	v.frames = append(v.frames, frame{op: opBlock, results: sig.Results})
	for len(v.frames) > 0 && r.err == nil {
		r.next(&v.in)
		if r.err == nil {
			v.step(&v.in)
		}
	}
	if r.err == nil && r.left() > 0 {
		r.invalid("%d bytes after the function's end", r.left())
	}
	f.regions[0].cost, f.blocks, f.targets = v.cost, v.blocks, v.labels
	return r.err
}

func (v *validator) bad(format string, args ...any) {
	v.r.fail(errs.Invalid, v.in.at, "", format, args...)
}

func (v *validator) push(t Type) {
	if len(v.stack) >= int(v.d.cfg.Limits.Operands) {
		v.r.limit(v.in.at, "values on the operand stack", uint64(len(v.stack))+1, v.d.cfg.Limits.Operands, "split the expression")
		return
	}
	v.stack = append(v.stack, operand{t, -1})
	v.f.operands = max(v.f.operands, len(v.stack))
}

func (v *validator) pop(want Type) Type {
	top := &v.frames[len(v.frames)-1]
	if len(v.stack) == top.height {
		if !top.unreachable {
			v.bad("operand stack is empty, %v wanted", want)
		}
		return unknown
	}
	t := v.stack[len(v.stack)-1].t
	v.stack = v.stack[:len(v.stack)-1]
	if t != want && t != unknown && want != unknown {
		v.bad("operand is %v, %v wanted", t, want)
	}
	return t
}

func (v *validator) pushAll(ts []Type) {
	for _, t := range ts {
		v.push(t)
	}
}

func (v *validator) popAll(ts []Type) {
	for i := len(ts) - 1; i >= 0; i-- {
		v.pop(ts[i])
	}
}

func (v *validator) setUnreachable() {
	top := &v.frames[len(v.frames)-1]
	v.stack = v.stack[:top.height]
	top.unreachable = true
}

// label returns the types that a branch to depth n carries.
func (v *validator) label(n uint32) ([]Type, bool) {
	if uint64(n) >= uint64(len(v.frames)) {
		v.bad("branch to label %d of %d", n, len(v.frames))
		return nil, false
	}
	f := &v.frames[len(v.frames)-1-int(n)]
	v.f.leaves = v.f.leaves || int(n) == len(v.frames)-1
	if f.op == opLoop {
		return f.params, true
	}
	return f.results, true
}

var single = map[Type][]Type{I32: {I32}, I64: {I64}, F32: {F32}, F64: {F64}}

// blockType resolves the type of a block.
func (v *validator) blockType(c int64) (params, results []Type) {
	if c >= 0 {
		if c >= int64(len(v.d.types)) {
			v.bad("block type %d of %d", c, len(v.d.types))
			return nil, nil
		}
		s := v.d.types[c]
		return s.Params, s.Results
	}
	if c == blockEmpty {
		return nil, nil
	}
	t := Type(c & 0x7f)
	if c < -64 || single[t] == nil {
		switch {
		case c == -5:
			v.r.unaccepted(v.in.at, "vectors (SIMD)", "compile with -mno-simd128")
		case c == -16 || c == -17:
			v.r.unaccepted(v.in.at, "reference types", "compile with -mno-reference-types")
		default:
			v.bad("unknown block type")
		}
		return nil, nil
	}
	return nil, single[t]
}

func (v *validator) step(in *instr) {
	info := &ops[in.op]
	v.cost += uint64(info.cost)
	if !v.d.cfg.Limits.Floats && info.isFloat() {
		v.r.noFloats(in.at)
		return
	}
	switch in.op {
	case opUnreachable:
		v.setUnreachable()
	case opNop:
	case opBlock, opLoop, opIf:
		v.open(in)
	case opElse:
		v.orElse()
	case opEnd:
		v.end()
	case opBr:
		if ts, ok := v.label(in.a); ok {
			v.popAll(ts)
			v.setUnreachable()
		}
	case opBrIf:
		v.pop(I32)
		if ts, ok := v.label(in.a); ok {
			v.popAll(ts)
			v.pushAll(ts)
		}
	case opBrTable:
		v.branchTable(in)
	case opReturn:
		v.popAll(v.sig.Results)
		v.setUnreachable()
	case opCall:
		v.call(in.a)
	case opCallIndirect:
		v.callIndirect(in)
	case opDrop:
		v.pop(unknown)
	case opSelect:
		v.pop(I32)
		t := v.pop(unknown)
		if u := v.pop(t); t == unknown {
			t = u
		}
		v.push(t)
	case opLocalGet, opLocalSet, opLocalTee:
		if uint64(in.a) >= uint64(len(v.locals)) {
			v.bad("local %d of %d", in.a, len(v.locals))
			return
		}
		t := v.locals[in.a]
		if in.op != opLocalGet {
			v.pop(t)
		}
		if in.op != opLocalSet {
			v.push(t)
		}
	case opGlobalGet, opGlobalSet:
		if uint64(in.a) >= uint64(len(v.d.globals)) {
			v.bad("global %d of %d", in.a, len(v.d.globals))
			return
		}
		g := v.d.globals[in.a]
		if in.op == opGlobalGet {
			if (g.t == F32 || g.t == F64) && !v.d.cfg.Limits.Floats {
				v.r.noFloats(in.at)
			}
			v.push(g.t)
		} else {
			if !g.mutable {
				v.bad("global %d is immutable", in.a)
			}
			v.pop(g.t)
		}
	default:
		v.arithmetic(in, info)
	}
}

// arithmetic handles what only has an immediate, operands and a result.
func (v *validator) arithmetic(in *instr, info *opInfo) {
	switch info.imm {
	case immMem:
		if in.a > uint32(info.align) {
			v.bad("alignment 2^%d is above the width of the access, 2^%d", in.a, info.align)
		}
		v.needMemory()
		if info.result == 0 {
			v.write(in.b, 1<<info.align)
		}
	case immZero, immZeros:
		v.needMemory()
		v.d.wild = v.d.wild || in.op == opMemoryFill || in.op == opMemoryCopy
		v.f.dynamic = v.f.dynamic || in.op == opMemoryGrow || in.op == opMemoryFill || in.op == opMemoryCopy
	case immSegMem:
		v.needMemory()
		v.needData(in.a)
		v.f.dynamic, v.d.wild = true, true
	case immSegTab:
		v.needElem(in.a)
		v.needTable(in.b)
		v.f.dynamic, v.d.segmentState = true, true
	case immTabs:
		v.needTable(in.a)
		v.needTable(in.b)
		v.f.dynamic, v.d.segmentState = true, true
	case immIndex:
		v.d.segmentState = true
		if in.op == opDataDrop {
			v.needData(in.a)
		} else {
			v.needElem(in.a)
		}
	}
	for i := len(info.params) - 1; i >= 0; i-- {
		v.pop(letter(info.params[i]))
	}
	if info.result != 0 {
		v.push(letter(info.result))
		if in.op == opI32Const && len(v.stack) > 0 {
			v.stack[len(v.stack)-1].c = int64(uint32(in.c))
		}
	}
}

// write notes a store of n bytes whose operands are on the stack.
func (v *validator) write(offset uint32, n uint64) {
	if top := &v.frames[len(v.frames)-1]; len(v.stack) < top.height+2 {
		return // it is never run, or not valid
	}
	d := v.d
	c := v.stack[len(v.stack)-2].c
	if c < 0 {
		d.wild = true
		return
	}
	at := uint64(c) + uint64(offset)
	if d.writeHigh == 0 {
		d.writeLow = at
	}
	d.writeLow, d.writeHigh = min(d.writeLow, at), max(d.writeHigh, at+n)
}

func (v *validator) needMemory() {
	if v.d.memory == nil {
		v.bad("there is no memory")
	}
}

func (v *validator) needTable(i uint32) {
	if v.d.table == nil || i != 0 {
		v.bad("table %d does not exist", i)
	}
}

func (v *validator) needData(i uint32) {
	if !v.d.hasDC {
		v.bad("there is no data count section")
	} else if i >= v.d.dcount {
		v.bad("data segment %d of %d", i, v.d.dcount)
	}
}

func (v *validator) needElem(i uint32) {
	if uint64(i) >= uint64(len(v.d.elems)) {
		v.bad("element segment %d of %d", i, len(v.d.elems))
	}
}

func (v *validator) open(in *instr) {
	if in.op == opIf {
		v.pop(I32)
	}
	params, results := v.blockType(in.c)
	v.popAll(params)
	lim := &v.d.cfg.Limits
	v.blocks++
	v.r.limit(in.at, "blocks of a function", uint64(v.blocks), lim.Blocks, "split the function")
	v.r.limit(in.at, "nested blocks", uint64(len(v.frames)), lim.Nesting, "split the function")
	if v.r.err != nil {
		return
	}
	f := frame{op: in.op, params: params, results: results, height: len(v.stack)}
	switch in.op {
	case opLoop:
		v.cost -= costRegion // it is charged by the loop itself
		f.region, f.outer = len(v.f.regions), v.cost
		v.f.regions = append(v.f.regions, region{})
		v.cost = costRegion
	case opIf:
		f.outer = v.cost
	}
	v.f.nesting = max(v.f.nesting, uint32(len(v.frames)))
	v.frames = append(v.frames, f)
	v.pushAll(params)
}

// close checks that the innermost block leaves its results, and removes it.
func (v *validator) close() frame {
	f := v.frames[len(v.frames)-1]
	v.popAll(f.results)
	if len(v.stack) != f.height {
		v.bad("%d values too many at the end of a block", len(v.stack)-f.height)
	}
	v.frames = v.frames[:len(v.frames)-1]
	return f
}

func (v *validator) orElse() {
	if v.frames[len(v.frames)-1].op != opIf {
		v.bad("else without if")
		return
	}
	f := v.close()
	v.frames = append(v.frames, frame{op: opElse, params: f.params, results: f.results, height: f.height, outer: f.outer, then: v.cost - f.outer})
	v.cost = f.outer
	v.pushAll(f.params)
}

func (v *validator) end() {
	f := v.close()
	switch f.op {
	case opLoop:
		v.f.regions[f.region].cost = v.cost
		v.cost = f.outer
	case opIf:
		if !typesEqual(f.params, f.results) {
			v.bad("if without else must leave what it takes")
		}
	case opElse:
		// Only one arm runs: the dearer one is charged.
		v.cost = f.outer + max(f.then, v.cost-f.outer)
	}
	v.pushAll(f.results)
}

func (v *validator) branchTable(in *instr) {
	v.pop(I32)
	v.labels += uint32(len(in.targets)) + 1
	if !v.r.limit(in.at, "branch table entries of a function", uint64(v.labels), v.d.cfg.Limits.BranchTargets, "split the switch, or compile with -fno-jump-tables") {
		return
	}
	def, ok := v.label(in.a)
	if !ok {
		return
	}
	for _, t := range in.targets {
		ts, ok := v.label(t)
		if !ok {
			return
		}
		if len(ts) != len(def) {
			v.bad("branch table labels %d and %d carry different values", t, in.a)
			return
		}
		// Below unreachable code operands may be of any type, so they are popped for each label.
		v.held = v.held[:0]
		for i := len(ts) - 1; i >= 0; i-- {
			v.held = append(v.held, v.pop(ts[i]))
		}
		for i := len(v.held) - 1; i >= 0; i-- {
			v.push(v.held[i])
		}
	}
	v.popAll(def)
	v.setUnreachable()
}

// called marks the loops around a call.
func (v *validator) called() {
	for i := range v.frames {
		if f := &v.frames[i]; f.op == opLoop {
			v.f.regions[f.region].calls = true
		}
	}
}

func (v *validator) call(i uint32) {
	v.called()
	sig, ok := v.d.funcSig(i)
	if !ok {
		v.bad("function %d does not exist", i)
		return
	}
	if n := len(v.d.imports); int(i) < n {
		v.cost += uint64(v.d.cfg.Imports[v.d.imports[i]].Fuel)
	} else if key := uint64(i); !v.seen[key] {
		v.seen[key] = true
		v.f.calls = append(v.f.calls, i-uint32(n))
	}
	v.popAll(sig.Params)
	v.pushAll(sig.Results)
}

func (v *validator) callIndirect(in *instr) {
	if in.b != 0 || v.d.table == nil {
		v.bad("table %d does not exist", in.b)
		return
	}
	if int(in.a) >= len(v.d.types) {
		v.bad("type %d of %d", in.a, len(v.d.types))
		return
	}
	if key := 1<<32 | uint64(in.a); !v.seen[key] {
		v.seen[key] = true
		v.f.indirect = append(v.f.indirect, in.a)
	}
	v.called()
	// The function in the table may be an imported one: the dearest is charged.
	v.cost += v.d.dearestIndirect
	v.pop(I32)
	sig := v.d.types[in.a]
	v.popAll(sig.Params)
	v.pushAll(sig.Results)
}
