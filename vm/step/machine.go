package step

import (
	"fmt"
	"slices"

	"github.com/janos-os/janos/vm/gate"
)

const pageSize = 1 << 16

// Reason says why a call ended otherwise than by returning.
type Reason string

// The reasons, in the words of package vm where it has them.
const (
	OutOfFuel    Reason = "out of fuel"
	OutOfStack   Reason = "call depth exceeded"
	Unreachable  Reason = "unreachable executed"
	Bounds       Reason = "memory access out of bounds"
	Divide       Reason = "integer division by zero or overflow"
	Conversion   Reason = "invalid float conversion"
	IndirectCall Reason = "bad indirect call"
	Table        Reason = "table or segment access out of bounds"
	Nested       Reason = "more frames than a machine has"
)

// Trap is the end of a call that did not return.
type Trap struct {
	Reason Reason
	Func   int // index
	At     int // byte offset in the module
}

// Error implements error.
func (t *Trap) Error() string {
	return fmt.Sprintf("%s in function %d at module offset %#x", t.Reason, t.Func, t.At)
}

// Host answers calls of imported functions: i is the index of the import, and args are its arguments, which it may keep. What it returns beyond the function's results is
// ignored; with an error the call ends.
type Host func(m *Machine, i int, args []uint64) ([]uint64, error)

// Frame is a function that is running.
type Frame struct {
	Body   *gate.Body
	PC     int      // of the instruction that comes next
	Locals []uint64 // parameters first
	labels []label
	base   int // height of the operand stack at its beginning
}

type label struct {
	block  int // instruction that opened it
	height int // of the operand stack below its parameters
}

// Most frames, which is more than Slots allows for code that passed the gate.
const maxFrames = 4096

// Machine is an instance of a program.
type Machine struct {
	Prog    *gate.Program
	Memory  []byte
	Globals []uint64
	Fuel    int64 // what is left; negative after a charge that could not be met
	Slots   int   // of the call stack that are left
	Frames  []Frame
	Stack   []uint64 // operands of all frames
	Results []uint64 // of the call that ended
	Steps   uint64   // instructions executed

	host    Host
	pages   int
	table   []int // function, or -1
	dropped [2][]bool
}

// New makes an instance with its memory, globals and table as the module describes them. The start function is not run. maxPages bounds what memory.grow may
// make of the memory, besides its own maximum.
func New(p *gate.Program, maxPages int, host Host) *Machine {
	m := &Machine{Prog: p, Slots: p.Stack, host: host, pages: min(maxPages, int(p.Memory[1]))}
	m.Memory = make([]byte, int(p.Memory[0])*pageSize)
	for _, g := range p.Globals {
		m.Globals = append(m.Globals, g.Init)
	}
	m.table = slices.Repeat([]int{-1}, p.Table)
	m.dropped = [2][]bool{make([]bool, len(p.Data)), make([]bool, len(p.Elems))}
	for i, s := range p.Data {
		if !s.Passive {
			copy(m.Memory[s.Offset:], s.Bytes) // the gate has seen that it fits
			m.dropped[0][i] = true
		}
	}
	for i, s := range p.Elems {
		if !s.Passive {
			for k, f := range s.Funcs {
				m.table[int(s.Offset)+k] = int(f)
			}
			m.dropped[1][i] = true
		}
	}
	return m
}

// Enter begins a call of function i, which must be one of the module's own. What was running before is given up.
func (m *Machine) Enter(i int, args ...uint64) error {
	n := i - len(m.Prog.Imports)
	if n < 0 || n >= len(m.Prog.Funcs) || len(args) != len(m.Prog.Funcs[n].Sig.Params) {
		return fmt.Errorf("function %d with %d arguments cannot be called", i, len(args))
	}
	m.Frames, m.Stack, m.Results, m.Slots = m.Frames[:0], append(m.Stack[:0], args...), nil, m.Prog.Stack
	return m.call(&m.Prog.Funcs[n])
}

// Done reports whether the call has ended.
func (m *Machine) Done() bool { return len(m.Frames) == 0 }

// Top is the innermost frame, or nil.
func (m *Machine) Top() *Frame {
	if m.Done() {
		return nil
	}
	return &m.Frames[len(m.Frames)-1]
}

// Next is the instruction that comes next, or nil.
func (m *Machine) Next() *gate.Instr {
	if f := m.Top(); f != nil {
		return &f.Body.Code[f.PC]
	}
	return nil
}

// Operands are those of the innermost frame, the last one on top.
func (m *Machine) Operands() []uint64 {
	if f := m.Top(); f != nil {
		return m.Stack[f.base:]
	}
	return nil
}

// Run steps to the end.
func (m *Machine) Run() error {
	for !m.Done() {
		if err := m.Step(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) trap(why Reason) error {
	t := &Trap{Reason: why, Func: -1, At: -1}
	if f := m.Top(); f != nil {
		t.Func, t.At = f.Body.Index, f.Body.Code[f.PC].At
	}
	return t
}

func (m *Machine) charge(n uint64) bool {
	if n > 1<<62 {
		n = 1 << 62
	}
	m.Fuel -= int64(n)
	return m.Fuel >= 0
}

func (m *Machine) pop() uint64 {
	v := m.Stack[len(m.Stack)-1]
	m.Stack = m.Stack[:len(m.Stack)-1]
	return v
}

func (m *Machine) push(v uint64)   { m.Stack = append(m.Stack, v) }
func (m *Machine) pushBool(b bool) { m.push(bit(b)) }
func (m *Machine) push32(v uint32) { m.push(uint64(v)) }
func (m *Machine) pop32() uint32   { return uint32(m.pop()) }

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// call makes a frame of the arguments on the stack, after the charges.
func (m *Machine) call(b *gate.Body) error {
	at := func(why Reason) error { return &Trap{Reason: why, Func: b.Index, At: b.Start} }
	if len(m.Frames) == maxFrames {
		return at(Nested)
	}
	if !m.charge(b.Fuel) {
		return at(OutOfFuel)
	}
	if m.Slots -= b.Slots; m.Slots < 0 {
		return at(OutOfStack)
	}
	f := Frame{Body: b, Locals: make([]uint64, len(b.Locals)), base: len(m.Stack) - len(b.Sig.Params)}
	copy(f.Locals, m.Stack[f.base:])
	m.Stack = m.Stack[:f.base]
	m.Frames = append(m.Frames, f)
	return nil
}

// leave ends the innermost frame.
func (m *Machine) leave() {
	f := m.Top()
	n := len(f.Body.Sig.Results)
	m.keep(f.base, n)
	m.Slots += f.Body.Slots
	if m.Frames = m.Frames[:len(m.Frames)-1]; m.Done() {
		m.Results = slices.Clone(m.Stack)
		m.Stack = m.Stack[:0]
	}
}

// keep cuts the stack to height, but for the n values on top.
func (m *Machine) keep(height, n int) {
	copy(m.Stack[height:], m.Stack[len(m.Stack)-n:])
	m.Stack = m.Stack[:height+n]
}

// branch goes to a label. For a loop it is the head, where it is charged again.
func (m *Machine) branch(depth uint32) error {
	f := m.Top()
	n := len(f.labels) - 1 - int(depth)
	if n < 0 {
		m.leave()
		return nil
	}
	l := f.labels[n]
	b := &f.Body.Code[l.block]
	if b.Op == 0x03 {
		m.keep(l.height, b.Params)
		f.labels, f.PC = f.labels[:n+1], l.block
		if !m.charge(b.Fuel) {
			return m.trap(OutOfFuel)
		}
		f.PC++
		return nil
	}
	m.keep(l.height, b.Results)
	f.labels, f.PC = f.labels[:n], b.End+1
	return nil
}

// Step executes the next instruction. A [*Trap] leaves the machine where it happened; other errors are the host's.
func (m *Machine) Step() error {
	f := m.Top()
	if f == nil {
		return fmt.Errorf("nothing is running")
	}
	in := &f.Body.Code[f.PC]
	m.Steps++
	switch in.Op {
	case 0x00:
		return m.trap(Unreachable)
	case 0x01:
	case 0x02, 0x03:
		f.labels = append(f.labels, label{f.PC, len(m.Stack) - in.Params})
		if in.Op == 0x03 && !m.charge(in.Fuel) {
			return m.trap(OutOfFuel)
		}
	case 0x04:
		cond := m.pop32()
		switch {
		case cond != 0:
			f.labels = append(f.labels, label{f.PC, len(m.Stack) - in.Params})
		case in.Else > 0:
			f.labels = append(f.labels, label{f.PC, len(m.Stack) - in.Params})
			f.PC = in.Else
		default:
			f.PC = in.End
		}
	case 0x05: // the first arm is done
		l := f.labels[len(f.labels)-1]
		f.labels = f.labels[:len(f.labels)-1]
		f.PC = f.Body.Code[l.block].End
	case 0x0b:
		if len(f.labels) == 0 {
			m.leave()
			return nil
		}
		f.labels = f.labels[:len(f.labels)-1]
	case 0x0c:
		return m.branch(in.A)
	case 0x0d:
		if m.pop32() != 0 {
			return m.branch(in.A)
		}
	case 0x0e:
		to := in.A
		if i := m.pop32(); uint64(i) < uint64(len(in.Targets)) {
			to = in.Targets[i]
		}
		return m.branch(to)
	case 0x0f:
		m.leave()
		return nil
	case 0x10:
		return m.invoke(int(in.A))
	case 0x11:
		i := m.pop32()
		if uint64(i) >= uint64(len(m.table)) || m.table[i] < 0 || !m.sig(m.table[i]).Equal(m.Prog.Types[in.A]) {
			return m.trap(IndirectCall)
		}
		return m.invoke(m.table[i])
	case 0x1a:
		m.pop()
	case 0x1b:
		c, b, a := m.pop32(), m.pop(), m.pop()
		if c == 0 {
			a = b
		}
		m.push(a)
	case 0x20:
		m.push(f.Locals[in.A])
	case 0x21:
		f.Locals[in.A] = m.pop()
	case 0x22:
		f.Locals[in.A] = m.Stack[len(m.Stack)-1]
	case 0x23:
		m.push(m.Globals[in.A])
	case 0x24:
		m.Globals[in.A] = m.pop()
	case 0x3f:
		m.push32(uint32(len(m.Memory) / pageSize))
	case 0x40:
		if !m.charge(gate.Length(in.Op, uint32(m.Stack[len(m.Stack)-1]))) {
			return m.trap(OutOfFuel)
		}
		n, old := int(m.pop32()), len(m.Memory)/pageSize
		if old+n > m.pages {
			m.push32(^uint32(0))
			break
		}
		m.Memory = append(m.Memory, make([]byte, n*pageSize)...)
		m.push32(uint32(old))
	case 0x41, 0x43:
		m.push(uint64(uint32(in.C)))
	case 0x42, 0x44:
		m.push(uint64(in.C))
	default:
		var why Reason
		switch {
		case in.Op >= gate.Prefix|8:
			if !m.charge(gate.Length(in.Op, uint32(m.top()))) {
				return m.trap(OutOfFuel)
			}
			why = m.bulk(in)
		case in.Op >= 0x28 && in.Op <= 0x3e:
			why = m.memory(in)
		default:
			why = m.number(in.Op)
		}
		if why != "" {
			return m.trap(why)
		}
	}
	f.PC++
	return nil
}

// top is the operand on top, or 0.
func (m *Machine) top() uint64 {
	if n := len(m.Stack); n > 0 {
		return m.Stack[n-1]
	}
	return 0
}

func (m *Machine) sig(i int) gate.Sig {
	if i < len(m.Prog.Imports) {
		return m.Prog.Imports[i].Sig
	}
	return m.Prog.Funcs[i-len(m.Prog.Imports)].Sig
}

// invoke calls function i; what it returns to is the instruction behind.
func (m *Machine) invoke(i int) error {
	f := m.Top()
	if i >= len(m.Prog.Imports) {
		f.PC++
		err := m.call(&m.Prog.Funcs[i-len(m.Prog.Imports)])
		if err != nil {
			m.Top().PC--
		}
		return err
	}
	sig := m.Prog.Imports[i].Sig
	args := slices.Clone(m.Stack[len(m.Stack)-len(sig.Params):])
	out, err := m.host(m, i, args)
	if err != nil {
		return err
	}
	if len(out) < len(sig.Results) {
		return fmt.Errorf("import %s.%s has no result", m.Prog.Imports[i].Module, m.Prog.Imports[i].Name)
	}
	m.Stack = append(m.Stack[:len(m.Stack)-len(sig.Params)], out[:len(sig.Results)]...)
	f.PC++
	return nil
}
