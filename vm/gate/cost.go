package gate

// Version numbers the price list and the form of the rewriting together. Code that was compiled
// under another version is not used.
const Version = 3

// The price list, in units of fuel. A unit is about the time of one simple instruction: some 0.1 to 0.3 ns
// in compiled code, 4 to 8 ns in the interpreter. What may take longer costs more; lengths are
// charged when they are known.
const (
	costFree         = 0  // only there for structure
	costOne          = 1  // arithmetic, locals, branches
	costMemory       = 2  // loads, stores, globals
	costFloat        = 2  // floating point
	costBranchTable  = 4  //
	costDivide       = 5  // integer division
	costCall         = 5  // of a defined function, besides what the callee charges
	costCallIndirect = 8  //
	costRoot         = 10 // floating point division and square root
	costRegion       = 3  // metering of a loop iteration or a function entry
	costBulk         = 20 // bulk operation, besides its length
	costGrow         = 50 // memory.grow, besides the new pages

	bulkShift  = 4  // memory.copy, fill and init: a unit for 16 bytes
	tableShift = 0  // table.copy and init: a unit for an entry
	growShift  = 12 // memory.grow: 4096 units for a page, as for filling it
)

// Frame sizes are counted in slots of 8 bytes on the call stack. The smallest
// frame bounds the number of frames: Limits.Stack/minFrame of them twice over stays below
// the 2000 that the interpreter can nest.
const (
	minFrame      = 20
	frameOverhead = 8
)

// frameSlots is an upper estimate of a function's frame. A compiler may keep every
// intermediate value in a slot of its own; bodies of n bytes make about n/4 of those that live across a call.
func frameSlots(params, locals, operands, body int) uint32 {
	return uint32(max(minFrame, frameOverhead+params+locals+operands+body/4))
}
