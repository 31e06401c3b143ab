package capsules

import "embed"

//go:generate go test -run TestModulesAreBuiltFromTheirSources -update .

// FS has the protocol descriptions and modules, by directory.
//
//go:embed */*.yaml */*.wasm
var FS embed.FS
