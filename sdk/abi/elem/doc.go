// Package elem is the contract between an untrusted WebAssembly element and the graph that runs it, as numbers.
//
// The contract is written once, in element.yaml; elem_gen.go, the C kit's janos_element.h (../../c) and docs/abi-elements.md are generated
// from it. Package vm fills a packet record with [In.Put] before every evaluation and reads it with [Out.Get] afterwards; click/elements/wasm uses
// [In], [Out] and [Manifest]. Nothing here holds memory.
//
// The trap to know: everything that [Out.Get] and [ParseManifest] read was written by a guest. They check every bound there is.
package elem
