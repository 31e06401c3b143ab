package sys

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ShortSlices has all threads of the process, and those that they make from now on, take turns of d with others (sched_setattr, Linux 6.12; kernels before do
// nothing). Their parts of the processors stay what they are; a thread that wakes up waits for a turn's end at most, where it is due to run. The kernel takes
// 100 us to 100 ms. Threads whose scheduling is not the usual one stay as they are. It returns how long the first thread's turns were, 0 where turns cannot be set.
func ShortSlices(d time.Duration) (was time.Duration, err error) {
	if a, err := unix.SchedGetAttr(unix.Getpid(), 0); err == nil && a.Policy == unix.SCHED_NORMAL {
		was = time.Duration(a.Runtime)
	}
	for range 2 { // a thread may have been made by one that was still to come
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return was, err
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			a, err := unix.SchedGetAttr(tid, 0)
			if err == unix.ESRCH { // it has ended
				continue
			}
			if err == nil && a.Policy == unix.SCHED_NORMAL && a.Runtime != uint64(d) {
				a.Runtime, a.Flags = uint64(d), a.Flags&unix.SCHED_FLAG_RESET_ON_FORK
				err = unix.SchedSetAttr(tid, a, 0)
			}
			if err != nil && err != unix.ESRCH {
				return was, err
			}
		}
	}
	return was, nil
}

// SetNice gives the calling thread a nice value. Less than it has takes CAP_SYS_NICE.
func SetNice(nice int) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, nice) }
