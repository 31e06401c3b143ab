// Package c holds the C kit for capsule authors: janos.h, which is generated from the description of
// the guest ABI (../abi/abi.yaml). The header needs nothing but a compiler for wasm32; package ckit calls
// one. The package exists so that the one binary carries the header with it, wherever it
// is run.
package c
