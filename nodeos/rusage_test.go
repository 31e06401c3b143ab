//go:build unix

package nodeos

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processTime returns the processor time that this process has used.
func processTime(t testing.TB) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
