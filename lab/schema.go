package lab

import _ "embed" // the schema

// Schema is a topology file with every key and its meaning, for people.
//
//go:embed schema.yaml
var Schema string
