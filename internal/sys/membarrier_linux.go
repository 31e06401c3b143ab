package sys

import (
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
)

// CanMembarrier reports by the error whether the kernel has the expedited memory barrier over all threads of a process (membarrier(2), Linux 4.14).
func CanMembarrier() error {
	const query, privateExpedited = 0, 1 << 3
	have, _, e := unix.Syscall(unix.SYS_MEMBARRIER, query, 0, 0)
	if e != 0 {
		return e
	}
	if have&privateExpedited == 0 {
		return errs.New(errs.NotSupported, "membarrier: the kernel has %#x, not the expedited one: it takes Linux 4.14: %w", have, unix.EOPNOTSUPP)
	}
	return nil
}
