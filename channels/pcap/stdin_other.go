//go:build !linux

package pcap

import (
	"os"

	"github.com/janos-os/janos/errs"
)

// pipe refuses: closing a file must end a read of it, which takes opening the standard input again without blocking.
func pipe() (*os.File, error) {
	return nil, errs.New(errs.NotSupported, "reading a capture from the standard input needs Linux; name a file")
}
