package c

import _ "embed"

// Header is the text of janos.h.
//
//go:embed janos.h
var Header []byte

// ElementHeader is the text of janos_element.h, for elements of graphs.
//
//go:embed janos_element.h
var ElementHeader []byte

// VMHeader is the text of janos_vm.h, for processes.
//
//go:embed janos_vm.h
var VMHeader []byte

// NodeOSHeader is the text of janos_nodeos.h, for guests that use the NodeOS.
//
//go:embed janos_nodeos.h
var NodeOSHeader []byte
