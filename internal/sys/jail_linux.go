package sys

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a seccomp filter answers (linux/seccomp.h).
const (
	SeccompKillProcess = unix.SECCOMP_RET_KILL_PROCESS
	SeccompAllow       = unix.SECCOMP_RET_ALLOW
)

// Seccomp puts all threads of the process under a filter over struct seccomp_data. It cannot be undone, and calls that the filter refuses end the process if it
// says so. It needs Linux 4.14, no_new_privs on the calling thread, and a filter of at most 4,096 instructions.
func Seccomp(filter []unix.SockFilter) error {
	if len(filter) == 0 || len(filter) > 4096 {
		return fmt.Errorf("seccomp: a filter of %d instructions: %w", len(filter), unix.EINVAL)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	r, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	if r != 0 {
		return fmt.Errorf("seccomp: thread %d cannot be put under the filter", r)
	}
	return nil
}

// CanSeccomp reports by the error whether the kernel has filters that end the process.
func CanSeccomp() error {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); e != 0 {
		return fmt.Errorf("seccomp: %w", e)
	}
	return nil
}

// The futex operations on memory shared between processes (linux/futex.h).
const (
	futexWait = 0
	futexWake = 1
)

// WaitWord waits until WakeWord is called for w, in this process or another that has mapped the same memory. It returns at once when w is not old, and
// may return without reason.
func WaitWord(w *atomic.Uint32, old uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w)), futexWait, uintptr(old), 0, 0, 0)
}

// WakeWord wakes one that waits for w. It does not block.
func WakeWord(w *atomic.Uint32) {
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w)), futexWake, 1, 0, 0, 0)
}

// Signal adds one to an eventfd that does not block.
func Signal(fd int) {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one[0])), 8)
}

// Drain makes an eventfd that does not block unreadable.
func Drain(fd int) {
	var b [8]byte
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), 8)
}

// allThreads makes a system call on every thread of the process; in programs with cgo, which tests under the race detector are, it makes it on the
// calling thread and returns ENOTSUP.
func allThreads(trap, a1, a2, a3 uintptr) error {
	_, _, e := syscall.AllThreadsSyscall(trap, a1, a2, a3)
	if e == unix.ENOTSUP {
		_, _, e = unix.RawSyscall(trap, a1, a2, a3)
		if e == 0 {
			e = unix.ENOTSUP
		}
	}
	if e != 0 {
		return e
	}
	return nil
}

// NoNewPrivs keeps the calling thread, and with Seccomp all threads of the process, from gaining rights by executing a file.
func NoNewPrivs() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

// DropCapabilities takes every capability from all threads of the process. ENOTSUP: from the calling thread only, see allThreads.
func DropCapabilities() error {
	for c := range uintptr(64) {
		if err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); err != nil && err != unix.ENOTSUP {
			break // the last one, or not allowed: of no use to a process with no_new_privs
		}
	}
	_ = allThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&none[0])), 0); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// DieWithParent has the kernel kill the process when the thread that started it ends, as long as the calling thread lives. A change of user undoes it.
func DieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent death signal: %w", err)
	}
	return nil
}

// CPUTime returns the processor time that a process has used, which must not have been waited for.
func CPUTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
