// Package capsules holds the example protocols: ping, trace and multicast, and a handful of hostile ones. Each directory
// has the C sources, a protocol description, the built modules and a README with one command and what it prints. The package exists so that
// programs and tests can load the examples wherever they run; ants.LoadProtocolFS reads them from FS:
//
//	p, err := ants.LoadProtocolFS(capsules.FS, "ping/protocol.yaml")
//
// The modules are committed. "go generate ./examples/capsules" builds them again where clang is; a test compares.
package capsules
