package node

import (
	_ "embed"

	"github.com/janos-os/janos/click"
)

// Schema is the description of node files that `janos node schema` prints: a complete file with
// every key, its default and its meaning. A test reads it.
//
//go:embed schema.yaml
var Schema string

// CheckGraph parses the node's graph and reports every error of its text with its place, without
// making anything.
func (s *Spec) CheckGraph() error {
	_, err := click.Parse("graph of "+s.Name, s.GraphText(), click.ParseOptions{})
	return err
}
