package node

import "github.com/janos-os/janos/click/elements/wasm"

// readModule finds the modules of Wasm elements in the node's graphs: paths are relative to the node file.
func (s *Spec) readModule(name string) ([]byte, error) { return wasm.ReadFile(s.path(name)) }
