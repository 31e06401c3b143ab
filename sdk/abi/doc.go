// Package abi is the contract between a WebAssembly capsule and the node, as numbers.
//
// The contract is written once, in abi.yaml; abi_gen.go, the C kit's janos.h
// (../c) and docs/abi.md are generated from it. Package vm fills a block with [In.Put] before
// every evaluation and reads it with [Out.Get] afterwards; the execution environments use [In], [Out],
// [Manifest] and the list of host calls. Nothing here holds memory: records
// are views of the caller's bytes.
//
// The trap to know: everything that [Out.Get] and [ParseManifest] read was written by a guest. They
// check every bound they can know and say which field was wrong; what an address means to the
// network, only the caller can check.
package abi

//go:generate go run ./internal/gen/cmd
