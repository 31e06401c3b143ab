package sys

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPin(t *testing.T) {
	done := make(chan error)
	var one unix.CPUSet
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var may unix.CPUSet
		if err := unix.SchedGetaffinity(0, &may); err != nil {
			done <- err
			return
		}
		cpu := 0
		for !may.IsSet(cpu) {
			cpu++
		}
		err := Pin(0, cpu)
		if err == nil {
			err = unix.SchedGetaffinity(0, &one)
		}
		if !one.IsSet(cpu) {
			t.Errorf("not on processor %d", cpu)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if one.Count() != 1 {
		t.Errorf("%d processors, want one", one.Count())
	}
	if err := Pin(0, 1<<20); err == nil {
		t.Error("a processor that does not exist was taken")
	}
}
