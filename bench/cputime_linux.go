package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// processTime returns the processor time of all threads of this process.
func processTime() time.Duration { return clockTime(unix.CLOCK_PROCESS_CPUTIME_ID) }

// threadTime returns the processor time of the calling thread.
func threadTime() time.Duration { return clockTime(unix.CLOCK_THREAD_CPUTIME_ID) }

// timeOf returns the processor time of the process with the given id, whose it ever was; 0 if there is none. A kernel thread is
// a process.
func timeOf(pid int) time.Duration {
	return clockTime(int32(^pid)<<3 | 2) // CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)
}

func clockTime(id int32) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(id, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// timeOfThread returns the processor time of a thread of this process.
func timeOfThread(tid int) time.Duration {
	return clockTime(int32(^tid)<<3 | 4 | 2) // CPUCLOCK_PERTHREAD_MASK and CPUCLOCK_SCHED
}
