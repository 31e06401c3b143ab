//go:build !linux

package sys

import "errors"

// Pin is for Linux; elsewhere it is errors.ErrUnsupported.
func Pin(int, int) error { return errors.ErrUnsupported }
