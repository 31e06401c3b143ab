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
