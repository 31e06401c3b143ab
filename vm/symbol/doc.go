// Package symbol reads what a WebAssembly module says about its source: names of functions, and the line that each instruction came from, from the
// name section, DWARF sections, or a source map in a file beside it.
//
// The tools call it (janos capsule check, debug, profile), never a node: all of it is text that the module's author wrote, the gate strips it, and
// nothing that decides anything may depend on it. [Read] takes whatever it can make sense of and leaves the rest out; its answers
// are names and numbers to print.
//
// The trap to know: places are offsets in the module's file, as the gate and faults report them. DWARF counts from the
// beginning of the code section's content, source maps from that of the file.
package symbol
