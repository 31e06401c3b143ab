package sys

import "golang.org/x/sys/unix"

// LargePages asks the kernel for large pages in b, a mapping of MapAnon, and to make such of what is there already (Linux 6.1; before, what has been touched stays as it is).
// It takes some milliseconds for each 32 MiB that have been touched, and b gets memory in portions of a large page, 2 MiB on most processors, from then on.
func LargePages(b []byte) error {
	if err := unix.Madvise(b, unix.MADV_HUGEPAGE); err != nil {
		return err
	}
	return unix.Madvise(b, unix.MADV_COLLAPSE)
}
