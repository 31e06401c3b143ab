//go:build !linux

package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTime returns the processor time of all threads of this process, to a microsecond.
func processTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
