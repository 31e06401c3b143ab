//go:build !linux

package packet

import (
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func init() { nodeos.RegisterDriver("packet", Rank, Open) }

// Open refuses: AF_PACKET is Linux's.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	return nil, errs.New(errs.NotSupported, "link %s: driver packet needs Linux; use mem or udp", spec.Name)
}

// Sweep finds nothing: there are no programs to leave behind.
func Sweep() (int, error) { return 0, nil }
