//go:build !linux

package sys

import (
	"errors"
	"time"
)

// ShortSlices is for Linux; elsewhere it is errors.ErrUnsupported.
func ShortSlices(time.Duration) (was time.Duration, err error) { return 0, errors.ErrUnsupported }

// SetNice is for Linux, where threads have nice values; elsewhere it is errors.ErrUnsupported.
func SetNice(int) error { return errors.ErrUnsupported }
