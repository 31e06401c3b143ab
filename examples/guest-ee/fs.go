package guestee

import "embed"

// Modules are the built programs, in the directory guests: ee.wasm, upper.wasm and loop.wasm.
//
//go:embed guests/*.wasm
var Modules embed.FS
