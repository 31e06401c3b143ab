//go:build !linux

package bench

import (
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

func urge(*nodeos.Node) (undo func() error, err error) {
	return nil, errs.New(errs.NotSupported, "threads have no nice value of their own here")
}
