// Package c holds the C kit for authors of capsules, janos.h, and of graph elements, janos_element.h. They are generated from the descriptions of
// the ABIs (../abi/abi.yaml and ../abi/elem/element.yaml). The headers need nothing but a compiler for wasm32; package ckit calls
// one. The package exists so that the one binary carries the headers with it, wherever it
// is run.
package c
