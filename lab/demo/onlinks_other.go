//go:build !linux

package demo

import (
	"context"

	"github.com/janos-os/janos/errs"
)

// onLinks needs network namespaces.
func (r *run) onLinks(context.Context) error {
	return errs.New(errs.NotSupported, "real links need Linux")
}
