package sys

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestShortSlices: threads that are there and threads that are made afterwards have them, with the nice values that they had.
func TestShortSlices(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if before.Runtime == 0 {
		t.Skip("kernels before 6.12 have no slices")
	}
	if err := SetNice(3); err != nil {
		t.Fatal(err)
	}
	const slice = 700 * time.Microsecond
	was, err := ShortSlices(slice)
	if err != nil || was == 0 {
		t.Fatal(was, err)
	}
	done := make(chan bool)
	go func() { runtime.LockOSThread(); done <- true }() // a new thread, perhaps
	<-done
	if a, err := unix.SchedGetAttr(0, 0); err != nil || a.Runtime != uint64(slice) || a.Nice != 3 || a.Policy != unix.SCHED_NORMAL {
		t.Errorf("this thread has %+v, %v", a, err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		if a, err := unix.SchedGetAttr(tid, 0); err == nil && a.Policy == unix.SCHED_NORMAL && a.Runtime != uint64(slice) {
			t.Errorf("thread %d has %+v", tid, a)
		}
	}
	if again, err := ShortSlices(was); err != nil || again != slice {
		t.Errorf("turns of %v before the last call, %v", again, err)
	}
}
