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
