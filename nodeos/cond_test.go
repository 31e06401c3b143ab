package nodeos

import (
	"slices"
	"sync"
	"testing"

	"github.com/janos-os/janos/resctl"
)

// A signal wakes who has waited longest, a broadcast all; nobody who is gone is woken in place of one who is not.
func TestCond(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	c := d.NewCond()
	var ran []string
	task := func(of *Domain, name string) *Task {
		task, err := of.NewTask(TaskSpec{Name: name, Worker: -1, Run: RunFunc(func(Budget) Used { ran = append(ran, name); return Used{} })})
		if err != nil {
			t.Fatal(err)
		}
		c.Wait(task)
		c.Wait(task) // once is enough
		return task
	}
	other := r.domain(r.node.Root(), resctl.Spec{Name: "other"})
	task(other, "dead")
	closed := task(d, "closed")
	forgets := task(d, "forgets")
	for _, name := range []string{"1", "2", "3"} {
		task(d, name)
	}
	other.Terminate(nil)
	r.settle()
	closed.Close()
	c.Forget(forgets)
	c.Forget(forgets)
	if !c.Signal() {
		t.Error("nobody waits")
	}
	r.settle()
	if !slices.Equal(ran, []string{"1"}) {
		t.Fatalf("ran %v", ran)
	}
	if n := c.Broadcast(); n != 2 || c.Signal() {
		t.Errorf("%d were woken", n)
	}
	r.settle()
	if !slices.Equal(ran, []string{"1", "2", "3"}) {
		t.Errorf("ran %v", ran)
	}
	if c.Domain() != d {
		t.Error("whose is it?")
	}
}

// Who waits first and looks then misses no signal.
func TestCondLosesNoSignal(t *testing.T) {
	n := live(t, 2)
	d := domain(t, n.Root(), "d", 0)
	c := d.NewCond()
	const items = 5000
	var mu sync.Mutex
	queue, got := 0, 0
	done := make(chan struct{})
	var consumer *Task
	consumer, err := d.NewTask(TaskSpec{Name: "consumer", Worker: 1, Run: RunFunc(func(Budget) Used {
		c.Wait(consumer)
		mu.Lock()
		defer mu.Unlock()
		if queue > 0 {
			got += queue
			queue = 0
			if got == items {
				close(done)
			}
		}
		return Used{}
	})})
	if err != nil {
		t.Fatal(err)
	}
	consumer.Wake()
	for range items {
		mu.Lock()
		queue++
		mu.Unlock()
		c.Signal()
	}
	<-done
}
