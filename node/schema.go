package node

import _ "embed"

// Schema is the description of node files that `janos node schema` prints: a complete file with
// every key, its default and its meaning. A test reads it.
//
//go:embed schema.yaml
var Schema string
