package elements

import "embed"

//go:generate go test -run TestModulesAreBuiltFromTheirSources -rebuild .

// FS has the modules, by directory.
//
//go:embed */*.wasm
var FS embed.FS
