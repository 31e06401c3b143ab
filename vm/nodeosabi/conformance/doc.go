// Package conformance tests hosts of package vm/nodeosabi: what a guest sees must be the same on a node and in a plain program.
//
// A host's test opens a [Rig] for each part of the suite and calls [Run]. The guests are testdata/conform.c, which tries every call and every wrong argument, and
// the execution environment of examples/guest-ee with programs that behave and that do not. The modules are the committed ones, byte for byte the same on every host.
package conformance
