package ants

import "github.com/janos-os/janos/ee/ants/routing"

// NodeAddr is the logical address of a node: 32 bits, written like an IPv4 address. It is independent of the
// addresses of the node's links. Zero is no node.
type NodeAddr = routing.NodeAddr

// ParseNodeAddr parses the dotted form.
func ParseNodeAddr(s string) (NodeAddr, error) { return routing.ParseNodeAddr(s) }
