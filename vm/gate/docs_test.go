package gate

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocumented compares the tables in docs/abi.md with the limits and the price list.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	l := HandlerLimits()
	for _, row := range []string{
		fmt.Sprintf("| module | %d bytes |", l.Module),
		fmt.Sprintf("| function types / parameters and results of one | %d / %d |", l.Types, l.Params),
		fmt.Sprintf("| imports / exports / globals | %d / %d / %d |", l.Imports, l.Exports, l.Globals),
		fmt.Sprintf("| functions | %d |", l.Functions),
		fmt.Sprintf("| body of a function | %d bytes |", l.Body),
		fmt.Sprintf("| locals of a function, without parameters | %d |", l.Locals),
		fmt.Sprintf("| blocks within blocks / blocks of a function | %d / %d |", l.Nesting, l.Blocks),
		fmt.Sprintf("| values on the operand stack | %d |", l.Operands),
		fmt.Sprintf("| branch table entries of a function | %d |", l.BranchTargets),
		fmt.Sprintf("| entries of the one table | %d |", l.Table),
		fmt.Sprintf("| declared maximum of the one memory | %d pages of 64 KiB |", l.MemoryPages),
		fmt.Sprintf("| data segments, element segments | %d each |", l.Segments),
		fmt.Sprintf("| call stack | %d slots of 8 bytes |", l.Stack),
		fmt.Sprintf("branches, select | %d |", costOne),
		fmt.Sprintf("| loads, stores, globals, floating point | %d |", max(costMemory, costFloat)),
		fmt.Sprintf("| function entry, loop iteration | %d more |", costRegion),
		fmt.Sprintf("| branch table | %d |", costBranchTable),
		fmt.Sprintf("| integer division, call | %d |", max(costDivide, costCall)),
		fmt.Sprintf("| indirect call | %d, and", costCallIndirect),
		fmt.Sprintf("| floating point division and square root | %d |", costRoot),
		fmt.Sprintf("| memory.copy, fill, init | %d, and 1 for %d bytes |", costBulk, 1<<bulkShift),
		fmt.Sprintf("| table.copy, init | %d, and 1 for an entry |", costBulk),
		fmt.Sprintf("| memory.grow | %d, and %d for a page |", costGrow, 1<<growShift),
	} {
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/abi.md does not say %q", row)
		}
	}
}

// TestMeteringDocumented compares the tables in docs/metering.md with the price list.
func TestMeteringDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metering.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		fmt.Sprintf("`gate.Version` is %d.", Version),
		fmt.Sprintf("constants, `local.*` | %d |", costOne),
		fmt.Sprintf("`unreachable` | %d |", costFree),
		fmt.Sprintf("conversions between integers | %d |", costOne),
		fmt.Sprintf("`global.*` | %d |", costMemory),
		fmt.Sprintf("| floating point arithmetic, comparisons, conversions | %d |", costFloat),
		fmt.Sprintf("| `br_table` | %d |", costBranchTable),
		fmt.Sprintf("`call` | %d |", max(costDivide, costCall)),
		fmt.Sprintf("| `call_indirect` | %d |", costCallIndirect),
		fmt.Sprintf("| floating point division and square root | %d |", costRoot),
		fmt.Sprintf("`init` | %d, and 1 for each full %d bytes |", costBulk, 1<<bulkShift),
		fmt.Sprintf("`elem.drop` | %d, and for the first two %d for an entry |", costBulk, 1<<tableShift),
		fmt.Sprintf("| `memory.grow` | %d, and %d for a page asked for |", costGrow, 1<<growShift),
		fmt.Sprintf("| each region, besides | %d |", costRegion),
		fmt.Sprintf("max(%d, %d + parameters", minFrame, frameOverhead),
		fmt.Sprintf("the class's limit, %d)", HandlerLimits().Stack),
	} {
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/metering.md does not say %q", row)
		}
	}
	// What the table says of groups of instructions holds for each of them.
	for op, want := range map[int]uint8{opBlock: costFree, opLoop: costRegion, opElse: costFree, opEnd: costFree, opNop: costFree, opDrop: costFree, opUnreachable: costFree,
		opIf: costOne, opBr: costOne, opBrIf: costOne, opReturn: costOne, opSelect: costOne, opI32Const: costOne, opI64Const: costOne, opF32Const: costOne, opF64Const: costOne,
		opLocalGet: costOne, opLocalSet: costOne, opLocalTee: costOne, opMemorySize: costMemory, opGlobalGet: costMemory, opGlobalSet: costMemory,
		opDataDrop: costBulk, opElemDrop: costBulk, 0x6d: costDivide, 0x70: costDivide, 0x7f: costDivide, 0x82: costDivide, 0x95: costRoot, 0xa3: costRoot, 0x91: costRoot, 0x9f: costRoot} {
		if got := ops[op].cost; got != want {
			t.Errorf("instruction %#x costs %d, the table says %d", op, got, want)
		}
	}
	for op := range ops {
		o := &ops[op]
		if o.known && o.imm == immNone && o.params != "" && o.isFloat() && o.cost != costFloat && o.cost != costRoot {
			t.Errorf("instruction %#x of floating point costs %d", op, o.cost)
		}
	}
}

// TestLimitsDocumented compares the table of limits in docs/metering.md with the limits.
func TestLimitsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metering.md")
	if err != nil {
		t.Fatal(err)
	}
	h, e, c := HandlerLimits(), ElementLimits(), CarrierLimits()
	for _, r := range limitRows {
		if row := fmt.Sprintf("| %s | %d | %d | %d |", r.what, *r.of(&h), *r.of(&e), *r.of(&c)); !strings.Contains(string(text), row) {
			t.Errorf("docs/metering.md does not say %q", row)
		}
	}
	if h.Start || e.Start || !c.Start || !strings.Contains(string(text), "| start function | refused | refused | the first part of the process |") {
		t.Error("start functions are not as the table says")
	}
}
