package gate

// Limits bound what a module may contain. They are the measure of how long an engine may take
// to compile it and how much memory that needs. A zero allows none of the thing. Limits are comparable.
type Limits struct {
	Module        uint32 // bytes of the input
	Types         uint32 // function types
	Params        uint32 // parameters and results of a type together
	Imports       uint32
	Functions     uint32 // defined ones
	Body          uint32 // bytes of a function body
	Locals        uint32 // of a function, without its parameters
	Nesting       uint32 // blocks within blocks
	Blocks        uint32 // blocks, loops and ifs of a function
	Operands      uint32 // values on the operand stack of a function
	BranchTargets uint32 // entries of all branch tables of a function
	Globals       uint32
	Exports       uint32
	Table         uint32 // entries of the table
	MemoryPages   uint32 // declared maximum, in pages of 64 KiB
	MemoryDefault uint32 // maximum given to a memory that declares none; 0 refuses it
	Segments      uint32 // data segments, and as many element segments
	Stack         uint32 // slots of 8 bytes on the call stack, see Module.Stack
	Start         bool   // a start function is allowed; it runs with whatever fuel there is at instantiation
	Floats        bool   // floating point is allowed; bits of a NaN are not specified to be the same everywhere
}

// HandlerLimits is the table for code that is evaluated once per packet and comes from
// strangers. With it the slowest compilation found took a third of a second.
func HandlerLimits() Limits {
	return Limits{
		Module: 64 << 10, Types: 256, Params: 32, Imports: 32, Functions: 1024, Body: 8 << 10, Locals: 128,
		Nesting: 32, Blocks: 512, Operands: 512, BranchTargets: 1024, Globals: 128, Exports: 64, Table: 4096,
		MemoryPages: 16, Segments: 256, Stack: 16 << 10, Floats: true,
	}
}

// ElementLimits is the table for graph elements from strangers, which an operator has chosen and which run for every packet. They may have more memory.
func ElementLimits() Limits {
	l := HandlerLimits()
	l.MemoryPages = 64
	return l
}

// CarrierLimits is the table for processes: programs that somebody has sent or started and that run for long. The slowest compilation found with it took some
// two seconds, on the goroutine of who loads it and for its account. A start function runs as the first part of the process.
func CarrierLimits() Limits {
	return Limits{
		Module: 256 << 10, Types: 512, Params: 32, Imports: 64, Functions: 2048, Body: 16 << 10, Locals: 256,
		Nesting: 64, Blocks: 1024, Operands: 1024, BranchTargets: 2048, Globals: 256, Exports: 256, Table: 4096,
		MemoryPages: 64, Segments: 512, Stack: 16 << 10, Start: true, Floats: true,
	}
}

// Use is how much of a limit a module needs. Where a limit is of each function or type it is the largest.
type Use struct {
	What        string
	Used, Limit uint32
}

// Uses passes code through the gate and returns what it needs of each of cfg's limits. The error is that of [Check]. It is for tools.
func Uses(code []byte, cfg *Config) ([]Use, error) {
	d, err := decodeAll(code, cfg)
	if err != nil {
		return nil, err
	}
	n := Limits{Module: uint32(len(code)), Types: uint32(len(d.types)), Imports: uint32(len(d.imports)), Functions: uint32(len(d.funcs)), Globals: uint32(len(d.globals)),
		Exports: uint32(len(d.exports)), Segments: uint32(max(len(d.data), len(d.elems))), Stack: d.deepest}
	for _, t := range d.types {
		n.Params = max(n.Params, uint32(len(t.Params)+len(t.Results)))
	}
	if d.table != nil {
		n.Table = max(d.table[0], d.table[1])
	}
	if d.memory != nil {
		n.MemoryPages = d.memory[1]
	}
	for i := range d.funcs {
		f := &d.funcs[i]
		n.Body, n.Locals, n.Operands = max(n.Body, uint32(f.size)), max(n.Locals, f.nlocal), max(n.Operands, uint32(f.operands))
		n.Nesting, n.Blocks, n.BranchTargets = max(n.Nesting, f.nesting), max(n.Blocks, f.blocks), max(n.BranchTargets, f.targets)
	}
	var out []Use
	for _, r := range limitRows {
		out = append(out, Use{r.what, *r.of(&n), *r.of(&cfg.Limits)})
	}
	return out, nil
}

// limitRows are the limits that are numbers.
var limitRows = []struct {
	what string
	of   func(*Limits) *uint32
}{
	{"bytes of the module", func(l *Limits) *uint32 { return &l.Module }},
	{"function types", func(l *Limits) *uint32 { return &l.Types }},
	{"parameters and results of a type", func(l *Limits) *uint32 { return &l.Params }},
	{"imports", func(l *Limits) *uint32 { return &l.Imports }},
	{"functions", func(l *Limits) *uint32 { return &l.Functions }},
	{"bytes of a function body", func(l *Limits) *uint32 { return &l.Body }},
	{"locals of a function, without parameters", func(l *Limits) *uint32 { return &l.Locals }},
	{"blocks within blocks", func(l *Limits) *uint32 { return &l.Nesting }},
	{"blocks of a function", func(l *Limits) *uint32 { return &l.Blocks }},
	{"values on the operand stack", func(l *Limits) *uint32 { return &l.Operands }},
	{"branch table entries of a function", func(l *Limits) *uint32 { return &l.BranchTargets }},
	{"globals", func(l *Limits) *uint32 { return &l.Globals }},
	{"exports", func(l *Limits) *uint32 { return &l.Exports }},
	{"entries of the table", func(l *Limits) *uint32 { return &l.Table }},
	{"pages of memory of 64 KiB", func(l *Limits) *uint32 { return &l.MemoryPages }},
	{"data segments, element segments, each", func(l *Limits) *uint32 { return &l.Segments }},
	{"slots of 8 bytes of call stack, without recursion", func(l *Limits) *uint32 { return &l.Stack }},
}
