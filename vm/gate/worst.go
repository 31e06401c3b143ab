package gate

import (
	"fmt"
	"math"
	"slices"
)

// Bound is the most fuel that one call of a function can use, with all that it calls.
type Bound struct {
	Func  int    // in the module's function index space
	Start int    // offset of its body in the module
	Size  int    // bytes of the body
	Fuel  uint64 // the bound, if Why is empty
	Why   string // why none is known; the function is metered all the same
	At    int    // offset of what Why is about
}

// What Bounds follows of the passes of one loop, and of all loops of a module.
const (
	maxPasses    = 1 << 17
	maxAllPasses = 1 << 24
)

// Bounds passes code through the gate and returns a bound for each of its own functions, in order, from the text of the code alone. A loop is bounded
// if a local begins with a constant, changes by a constant on every way back to the loop's head, and is
// compared with a constant on each of them; recursion and lengths that are not constant are not bounded. It may take some tens of milliseconds: it is for tools.
// The error is that of [Check].
func Bounds(code []byte, cfg *Config) ([]Bound, error) {
	d, err := decodeAll(code, cfg)
	if err != nil {
		return nil, err
	}
	w := worst{d: d, known: make([]*bound, len(d.funcs)), budget: maxAllPasses}
	var out []Bound
	for i := range d.funcs {
		f := &d.funcs[i]
		b := w.function(i)
		out = append(out, Bound{Func: i + len(d.imports), Start: f.start, Size: f.size, Fuel: b.n, Why: b.why, At: b.at})
	}
	return out, nil
}

// bound is an amount of fuel, or why there is none.
type bound struct {
	n   uint64
	why string
	at  int
}

func (b bound) plus(o bound) bound {
	switch {
	case b.why != "":
		return b
	case o.why != "":
		return o
	case b.n+o.n < b.n:
		return bound{n: math.MaxUint64}
	}
	return bound{n: b.n + o.n}
}

func (b bound) times(n uint64) bound {
	if b.why == "" && b.n > 0 {
		if n > math.MaxUint64/b.n {
			b.n = math.MaxUint64
		} else {
			b.n *= n
		}
	}
	return b
}

func dearer(a, b bound) bound {
	if a.why != "" || b.why == "" && a.n >= b.n {
		return a
	}
	return b
}

// value is what is known about a value: a constant; what a local had when the present pass of a loop began (a symbol), plus a constant; or the
// outcome of a comparison of such a one with a constant. The zero value is one of which nothing is known.
type value struct {
	kind valueKind
	t    Type  // I32 or I64; of a test, of what is compared
	sym  int   // of symbols and tests
	c    int64 // the constant, or what is added; in a test, added to the symbol
	op   int   // of a test: the comparison
	k    int64 // what the symbol is compared with
	left bool  // the constant is on the left
	not  bool
}

type valueKind uint8

const (
	vUnknown valueKind = iota
	vConst
	vSym
	vTest
)

// fact is a condition that held on the way here.
type fact struct {
	cond  value // vSym or vTest
	holds bool
	prev  *fact
	depth int
}

// known is the state at a place: nil where code is never reached.
type known struct {
	locals []value
	facts  *fact
}

// assume adds a fact.
func (s *known) assume(cond value, holds bool) {
	if cond.kind == vSym || cond.kind == vTest {
		n := 1
		if s.facts != nil {
			n = s.facts.depth + 1
		}
		s.facts = &fact{cond, holds, s.facts, n}
	}
}

func (s *known) clone() *known { return &known{slices.Clone(s.locals), s.facts} }

// meet makes s what is known where two ways join.
func meet(s, o *known) *known {
	if s == nil {
		return o
	}
	if o == nil {
		return s
	}
	for i := range s.locals {
		if s.locals[i] != o.locals[i] {
			s.locals[i] = value{}
		}
	}
	a, b := s.facts, o.facts
	for a != b {
		if a == nil || b != nil && b.depth > a.depth {
			a, b = b, a
		}
		a = a.prev
	}
	s.facts = a
	return s
}

// scope is an open block.
type scope struct {
	op      int
	height  int
	results int
	joins   *known // where branches to its end come from
	outer   bound  // what was added up around it
	then    bound
	other   *known // if: the state of the other arm

	// loops
	at     int
	region int
	before []value     // locals at the entry
	symbol map[int]int // local -> symbol
	back   []*known    // at each branch to the head
	facts  *fact       // at the entry
}

// worst finds bounds.
type worst struct {
	d       *decoded
	known   []*bound
	budget  int
	symbols int
	walk    *walk
}

// walk is the pass over one function.
type walk struct {
	w      *worst
	f      *function
	types  []Type // of the locals
	s      *known
	stack  []value
	scopes []scope
	extra  bound // beyond the costs of the present region
	region int
}

func (w *worst) function(i int) bound {
	if b := w.known[i]; b != nil {
		return *b
	}
	f := &w.d.funcs[i]
	b := bound{why: "it may call itself", at: f.start}
	if !f.counted {
		b = w.body(f)
	}
	w.known[i] = &b
	return b
}

func (w *worst) body(f *function) bound {
	sig := w.d.types[f.typ]
	k := walk{w: w, f: f, region: 1, s: &known{locals: make([]value, len(sig.Params)+int(f.nlocal))}}
	n := len(sig.Params)
	k.types = slices.Clone(sig.Params)
	for _, g := range f.locals {
		for range g.n {
			k.types = append(k.types, g.t)
			if g.t == I32 || g.t == I64 {
				k.s.locals[n] = value{kind: vConst, t: g.t}
			}
			n++
		}
	}
	k.scopes = append(k.scopes, scope{op: opBlock, results: len(sig.Results)})
	r := f.code
	var in instr
	for len(k.scopes) > 0 && r.err == nil {
		r.next(&in)
		k.step(&in, r)
	}
	return bound{n: f.regions[0].cost}.plus(k.extra)
}

func (k *walk) pop() value {
	if h := k.scopes[len(k.scopes)-1].height; len(k.stack) <= h {
		return value{}
	}
	v := k.stack[len(k.stack)-1]
	k.stack = k.stack[:len(k.stack)-1]
	return v
}

func (k *walk) push(v value) { k.stack = append(k.stack, v) }

// replace pops n values and pushes m of which nothing is known.
func (k *walk) replace(n, m int) {
	for range n {
		k.pop()
	}
	for range m {
		k.push(value{})
	}
}

// branch notes a way to a label.
func (k *walk) branch(depth uint32, s *known) {
	n := len(k.scopes) - 1 - int(depth)
	if n <= 0 {
		return // it leaves the function
	}
	if t := &k.scopes[n]; t.op == opLoop {
		t.back = append(t.back, s.clone())
	} else {
		t.joins = meet(t.joins, s.clone())
	}
}

// step goes on by one instruction; rest is what follows.
func (k *walk) step(in *instr, rest reader) {
	switch in.op {
	case opBlock, opLoop, opIf:
		k.open(in, rest)
		return
	case opElse:
		t := &k.scopes[len(k.scopes)-1]
		if k.s != nil {
			t.joins = meet(t.joins, k.s)
		}
		k.s, t.other = t.other, nil
		t.then, k.extra = k.extra, bound{}
		k.stack = k.stack[:t.height]
		return
	case opEnd:
		k.close()
		return
	}
	if k.s == nil {
		return
	}
	info := &ops[in.op]
	switch in.op {
	case opBr:
		k.branch(in.a, k.s)
		k.s = nil
	case opBrIf:
		cond := k.pop()
		if !(cond.kind == vConst && cond.c == 0) {
			taken := k.s.clone()
			taken.assume(cond, true)
			k.branch(in.a, taken)
		}
		if cond.kind == vConst && cond.c != 0 {
			k.s = nil
		} else {
			k.s.assume(cond, false)
		}
	case opBrTable:
		k.branch(in.a, k.s)
		for _, t := range in.targets {
			k.branch(t, k.s)
		}
		k.s = nil
	case opReturn, opUnreachable:
		k.s = nil
	case opCall:
		sig, _ := k.w.d.funcSig(in.a)
		k.replace(len(sig.Params), len(sig.Results))
		if n := len(k.w.d.imports); int(in.a) >= n {
			k.called(int(in.a)-n, in.at)
		}
	case opCallIndirect:
		sig := k.w.d.types[in.a]
		k.replace(len(sig.Params)+1, len(sig.Results))
		k.indirect(sig, in.at)
	case opSelect:
		k.replace(3, 1)
	case opLocalGet:
		k.push(k.s.locals[in.a])
	case opLocalSet:
		k.s.locals[in.a] = k.pop()
	case opLocalTee:
		v := k.pop()
		k.s.locals[in.a] = v
		k.push(v)
	case opGlobalGet:
		v := value{}
		if g := k.w.d.globals[in.a]; !g.mutable && (g.t == I32 || g.t == I64) {
			v = value{kind: vConst, t: g.t, c: g.init}
		}
		k.push(v)
	case opDrop, opGlobalSet:
		k.pop()
	case opI32Const:
		k.push(value{kind: vConst, t: I32, c: int64(int32(in.c))})
	case opI64Const:
		k.push(value{kind: vConst, t: I64, c: in.c})
	case opMemoryCopy, opMemoryFill, opMemoryInit:
		k.length(bulkShift, false, in.at)
		k.replace(3, 0)
	case opTableCopy, opTableInit:
		k.length(tableShift, false, in.at)
		k.replace(3, 0)
	case opMemoryGrow:
		k.length(growShift, true, in.at)
		k.replace(1, 1)
	case 0x45, 0x50: // eqz
		v := k.pop()
		switch v.kind {
		case vTest:
			v.not = !v.not
		case vSym:
			v = value{kind: vTest, t: v.t, sym: v.sym, c: v.c, op: in.op + 1}
		default:
			v = value{}
		}
		k.push(v)
	default:
		if len(info.params) == 2 && info.result != 0 {
			b, a := k.pop(), k.pop()
			k.push(combine(in.op, a, b))
			return
		}
		k.replace(len(info.params), 0)
		if info.result != 0 {
			k.push(value{})
		}
	}
}

// combine is what is known about the result of an operation with two operands.
func combine(op int, a, b value) value {
	t := I32
	if op >= 0x7c || op >= 0x51 && op <= 0x5a {
		t = I64
	}
	if a.kind == vUnknown || b.kind == vUnknown || a.kind == vTest || b.kind == vTest || a.t != t || b.t != t {
		return value{}
	}
	switch op {
	case opI32Add, 0x7c:
		if a.kind == vConst {
			a, b = b, a
		}
		if b.kind == vConst {
			a.c = width(t, a.c+b.c)
			return a
		}
	case opI32Sub, opI64Sub:
		if b.kind == vConst {
			a.c = width(t, a.c-b.c)
			return a
		}
	}
	if op >= 0x46 && op <= 0x4f || op >= 0x51 && op <= 0x5a {
		switch {
		case a.kind == vSym && b.kind == vConst:
			return value{kind: vTest, t: t, sym: a.sym, c: a.c, op: op, k: b.c}
		case a.kind == vConst && b.kind == vSym:
			return value{kind: vTest, t: t, sym: b.sym, c: b.c, op: op, k: a.c, left: true}
		}
	}
	return value{}
}

func width(t Type, v int64) int64 {
	if t == I32 {
		return int64(int32(v))
	}
	return v
}

// holds tells whether a condition holds when its symbol has the value x.
func (v *value) holds(x int64) bool {
	x = width(v.t, x+v.c)
	if v.kind == vSym {
		return x != 0
	}
	a, b := x, v.k
	if v.left {
		a, b = b, a
	}
	op := v.op
	if op >= 0x51 {
		op -= 0x51 - 0x46
	}
	u, w := uint64(a), uint64(b)
	if v.t == I32 {
		u, w = uint64(uint32(a)), uint64(uint32(b))
	}
	var r bool
	switch op - 0x46 {
	case 0:
		r = a == b
	case 1:
		r = a != b
	case 2:
		r = a < b
	case 3:
		r = u < w
	case 4:
		r = a > b
	case 5:
		r = u > w
	case 6:
		r = a <= b
	case 7:
		r = u <= w
	case 8:
		r = a >= b
	case 9:
		r = u >= w
	}
	return r != v.not
}

func (k *walk) add(b bound) { k.extra = k.extra.plus(b) }

func (k *walk) called(i, at int) {
	b := k.w.function(i)
	if b.why != "" {
		b = bound{why: fmt.Sprintf("it calls function %d, which has no bound", i+len(k.w.d.imports)), at: at}
	}
	k.add(b)
}

// indirect adds the dearest function of the type that can be in the table.
func (k *walk) indirect(sig Sig, at int) {
	d := k.w.d
	var most bound
	for _, s := range d.elems {
		for _, i := range s.funcs {
			if n := len(d.imports); int(i) >= n && d.types[d.funcs[int(i)-n].typ].Equal(sig) {
				b := k.w.function(int(i) - n)
				if b.why != "" {
					b = bound{why: fmt.Sprintf("it calls through the table, and function %d, which is there, has no bound", i), at: at}
				}
				most = dearer(most, b)
			}
		}
	}
	k.add(most)
}

// length adds the charge for the length on top of the stack.
func (k *walk) length(shift int, up bool, at int) {
	v := k.pop()
	k.push(v)
	n := uint64(uint32(v.c))
	switch {
	case v.kind != vConst:
		k.add(bound{why: "it has a length that is not constant", at: at})
	case up:
		k.add(bound{n: n << shift})
	default:
		k.add(bound{n: n >> shift})
	}
}

func (k *walk) open(in *instr, rest reader) {
	params, results := k.w.d.blockTypes(in.c)
	t := scope{op: in.op, results: results, at: in.at, outer: k.extra}
	k.extra = bound{}
	if in.op == opLoop {
		t.region = k.region
		k.region++
	}
	if k.s == nil {
		t.height = len(k.stack)
		k.scopes = append(k.scopes, t)
		return
	}
	var cond value
	if in.op == opIf {
		cond = k.pop()
	}
	for range params {
		k.pop()
	}
	t.height = len(k.stack)
	switch in.op {
	case opIf:
		t.other = k.s.clone()
		t.other.assume(cond, false)
		k.s.assume(cond, true)
	case opLoop:
		t.before, t.facts, t.symbol = slices.Clone(k.s.locals), k.s.facts, map[int]int{}
		for _, l := range k.written(rest) {
			if _, ok := t.symbol[l]; ok {
				continue
			}
			k.w.symbols++
			t.symbol[l], k.s.locals[l] = k.w.symbols, value{}
			if lt := k.types[l]; lt == I32 || lt == I64 {
				k.s.locals[l] = value{kind: vSym, t: lt, sym: k.w.symbols}
			}
		}
	}
	k.scopes = append(k.scopes, t)
	for range params {
		k.push(value{})
	}
}

// written returns the locals that are written in the block whose body r is at, some more than once.
func (k *walk) written(r reader) (out []int) {
	var in instr
	for nested := 1; nested > 0 && r.more(); {
		r.next(&in)
		switch in.op {
		case opBlock, opLoop, opIf:
			nested++
		case opEnd:
			nested--
		case opLocalSet, opLocalTee:
			out = append(out, int(in.a))
		}
	}
	return out
}

func (k *walk) close() {
	t := k.scopes[len(k.scopes)-1]
	k.scopes = k.scopes[:len(k.scopes)-1]
	inside := k.extra
	switch t.op {
	case opIf:
		inside = dearer(t.then, inside)
		if t.other != nil {
			k.s = meet(k.s, t.other)
		}
	case opLoop:
		if t.before == nil {
			break // it is never reached
		}
		inside = bound{n: k.f.regions[t.region].cost}.plus(inside)
		if n := k.passes(&t); n > 0 {
			inside = inside.times(n)
		} else {
			inside = bound{why: "it has a loop whose passes are not bounded by constants", at: t.at}
		}
	}
	k.extra = t.outer.plus(inside)
	k.s = meet(k.s, t.joins)
	k.stack = k.stack[:t.height]
	for range t.results {
		k.push(value{})
	}
}

// passes returns how often the head of a loop is passed at most for each time the loop is entered, or 0 if that is not known.
func (k *walk) passes(t *scope) (least uint64) {
	if len(t.back) == 0 {
		return 1
	}
	for l, sym := range t.symbol {
		first := t.before[l]
		step := t.back[0].locals[l]
		if first.kind != vConst || step.kind != vSym || step.sym != sym || step.c == 0 {
			continue
		}
		conds := make([][]*fact, len(t.back))
		usable := true
		for i, b := range t.back {
			for f := b.facts; f != t.facts && f != nil; f = f.prev {
				if f.cond.sym == sym {
					conds[i] = append(conds[i], f)
				}
			}
			usable = usable && b.locals[l] == step && len(conds[i]) > 0
		}
		if !usable {
			continue
		}
		x := first.c
	count:
		for n := uint64(1); n <= maxPasses && k.w.budget > 0 && (least == 0 || n < least); n++ {
			k.w.budget--
			again := slices.ContainsFunc(conds, func(fs []*fact) bool {
				return !slices.ContainsFunc(fs, func(f *fact) bool { return f.cond.holds(x) != f.holds })
			})
			if !again {
				least = n
				break count
			}
			x = width(first.t, x+step.c)
		}
	}
	return least
}

// blockTypes returns how many parameters and results a block has whose type is encoded as c, which was validated.
func (d *decoded) blockTypes(c int64) (params, results int) {
	switch {
	case c >= 0:
		return len(d.types[c].Params), len(d.types[c].Results)
	case c == blockEmpty:
		return 0, 0
	}
	return 0, 1
}
