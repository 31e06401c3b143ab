//go:build !linux

package udp

import (
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func init() { nodeos.RegisterDriver("udp", Rank, Open) }

// Open refuses: workers poll sockets with epoll, which is Linux's.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	return nil, errs.New(errs.NotSupported, "link %s: driver udp needs Linux; use mem", spec.Name)
}
