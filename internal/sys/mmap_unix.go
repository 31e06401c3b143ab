//go:build unix

package sys

import "golang.org/x/sys/unix"

// MapAnon maps n bytes of zeroed private memory outside the Go heap.
func MapAnon(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// Unmap releases what MapAnon returned.
func Unmap(b []byte) error { return unix.Munmap(b) }
