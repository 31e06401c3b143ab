// Package ckit builds capsules from C with the compiler that the machine has.
//
// `janos capsule build` and the tests call it: [FindCompiler] looks for a clang that has the
// WebAssembly target and its linker, [Compiler.Build] turns one C file into the bytes of a module. The kit's header
// is part of this package, so a capsule needs no checkout of the project.
//
// The flags keep to what the gate accepts, whatever the defaults of the compiler's version are; the
// stack lies below the data, so that running over it traps. The trap to know: the memory's maximum is
// one page of 64 KiB unless [Options] says otherwise, and data that does not fit is the linker's error.
package ckit
