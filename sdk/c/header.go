package c

import _ "embed"

// Header is the text of janos.h.
//
//go:embed janos.h
var Header []byte
