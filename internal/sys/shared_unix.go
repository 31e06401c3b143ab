//go:build unix

package sys

import (
	"sync/atomic"
	"unsafe"
)

// Word returns the 32-bit word at an offset of a mapping that another process shares. off is a multiple of 4 inside b, or Word panics. It points
// into b: it must not be used once b is unmapped.
func Word(b []byte, off int) *atomic.Uint32 {
	if off%4 != 0 {
		panic("sys: a word that is not aligned")
	}
	return (*atomic.Uint32)(unsafe.Pointer(&b[off : off+4][0]))
}
