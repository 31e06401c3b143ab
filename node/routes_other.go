//go:build !linux

package node

import (
	"io"

	"github.com/janos-os/janos/errs"
)

func (n *Node) kernelRoutes() (io.Closer, error) {
	return nil, errs.New(errs.NotSupported, "kernel-routes needs Linux; leave it off")
}
