//go:build !linux

package host

import "github.com/janos-os/janos/errs"

// Follow is for Linux.
func Follow(Spec) (*Table, error) {
	return nil, errs.New(errs.NotSupported, "following the host's routes needs Linux (rtnetlink)")
}
