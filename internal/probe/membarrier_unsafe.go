//go:build linux

package probe

import "golang.org/x/sys/unix"

// membarrier asks which memory barriers the kernel has, and wants the expedited one of the own process (Linux 4.14).
func membarrier() error {
	const query, privateExpedited = 0, 1 << 3
	have, _, e := unix.Syscall(unix.SYS_MEMBARRIER, query, 0, 0)
	if e != 0 {
		return e
	}
	if have&privateExpedited == 0 {
		return errUnsupported
	}
	return nil
}
