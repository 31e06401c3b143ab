package sys

import "golang.org/x/sys/unix"

// Pin has a thread of this process run on one processor only (sched_setaffinity(2)), which must be one that it may use. Thread 0 is the calling one, and the
// process id the first one. Threads that it makes from then on inherit that.
func Pin(thread, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(thread, &set)
}
