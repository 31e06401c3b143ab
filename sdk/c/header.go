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
