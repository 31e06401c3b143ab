//go:build unix

package sys

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Access is what may be done with pages.
type Access uint8

// The kinds of access.
const (
	NoAccess Access = iota // an access is a fault that ends the process
	ReadOnly
	ReadWrite
)

var pageProt = [...]int{unix.PROT_NONE, unix.PROT_READ, unix.PROT_READ | unix.PROT_WRITE}

// PageSize is the granularity of Reserve, SetAccess and Discard in bytes.
func PageSize() int { return os.Getpagesize() }

// Reserve takes n bytes of address space, a multiple of PageSize, without memory behind them: SetAccess makes them usable, and
// what is first touched is zero. Unmap gives it back.
func Reserve(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
}

// SetAccess changes what may be done with b, whole pages of what Reserve returned.
func SetAccess(b []byte, a Access) error { return unix.Mprotect(b, pageProt[a]) }

// Discard gives the memory behind b back to the system; b is whole pages that may be written, and reads as zero afterwards.
func Discard(b []byte) error {
	if runtime.GOOS != "linux" { // elsewhere the advice promises no zeroes
		clear(b)
	}
	return unix.Madvise(b, unix.MADV_DONTNEED)
}
