package nodeos

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUrge: the threads of workers get the nice value, and no other does.
func TestUrge(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a negative nice value needs root")
	}
	n := live(t, 2)
	relax, err := n.Urge()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		n.Worker(i).Call(func() {
			if a, err := unix.SchedGetAttr(0, 0); err != nil || a.Nice != urgentNice || a.Runtime != 0 && a.Runtime != uint64(urgentSlice) {
				t.Errorf("worker %d has %+v, %v", i, a, err)
			}
		})
	}
	urgent := func() (n int) {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			if a, err := unix.SchedGetAttr(tid, 0); err == nil && a.Nice == urgentNice {
				n++
			}
		}
		return n
	}
	if k := urgent(); k != 2 {
		t.Errorf("%d threads are urgent, want those of 2 workers", k)
	}
	relax()
	n.Worker(1).Call(func() {
		if a, err := unix.SchedGetAttr(0, 0); err != nil || a.Nice != 0 || a.Runtime == uint64(urgentSlice) {
			t.Errorf("a worker that is not urged any more has %+v, %v", a, err)
		}
	})
	relax, err = n.Urge()
	if err != nil || urgent() != 2 {
		t.Fatalf("again: %d threads, %v", urgent(), err)
	}
	n.Close()
	relax() // the turns of the process's other threads
	if k := urgent(); k != 0 {
		t.Errorf("%d threads are urgent after the end", k)
	}
	if relax, err := n.Urge(); err == nil || relax != nil {
		t.Error("a closed node was urged")
	}
}

func TestProcs(t *testing.T) {
	if one, many := Procs(0), Procs(100); one < 4 || one != Procs(1) || many < 103 {
		t.Errorf("%d and %d", one, many)
	}
}
