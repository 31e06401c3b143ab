// Package elements holds three elements of graphs that are written in C and run as untrusted code, by Wasm(FILE, ...): a counter by prefix, a rewriter of
// destinations and a small load balancer. The package exists so that programs and tests can load them wherever they run, from [FS].
//
// The modules are committed. "go generate ./examples/elements" builds them again where clang is; a test compares. docs/elements-howto.md says how to write one.
package elements
