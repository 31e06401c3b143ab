//go:build !linux

package xdp

import (
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func init() { nodeos.RegisterDriver("xdp", Rank, Open) }

// Open refuses: AF_XDP is Linux's.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	return nil, errs.New(errs.NotSupported, "link %s: driver xdp needs Linux; use mem or udp", spec.Name)
}
