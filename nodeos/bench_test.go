package nodeos

import (
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
)

// BenchmarkWakeFromOutside is the way from another goroutine to a run and back.
func BenchmarkWakeFromOutside(b *testing.B) {
	n := live(b, 1)
	d := domain(b, n.Root(), "d", 0)
	back := make(chan struct{}, 1)
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { back <- struct{}{}; return Used{} })})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for range b.N {
		task.Wake()
		<-back
	}
}

// BenchmarkWakeBetweenWorkers is the way from one worker to another and back.
func BenchmarkWakeBetweenWorkers(b *testing.B) {
	n := live(b, 2)
	d := domain(b, n.Root(), "d", 0)
	done := make(chan struct{})
	var tasks [2]*Task
	left := b.N
	for i := range tasks {
		var err error
		tasks[i], err = d.NewTask(TaskSpec{Name: "x", Worker: i, Run: RunFunc(func(Budget) Used {
			if i == 0 {
				if left--; left < 0 {
					close(done)
					return Used{}
				}
			}
			tasks[1-i].Wake()
			return Used{}
		})})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	tasks[0].Wake()
	<-done
}

// BenchmarkTurn is a turn that runs one task.
func BenchmarkTurn(b *testing.B) {
	n, err := NewNode(NodeSpec{Name: "b", Clock: clock.NewReal(), Stepped: true})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	d := domain(b, n.Root(), "d", 0)
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { return Used{} })})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for range b.N {
		task.Wake()
		n.Step()
	}
}

// BenchmarkIdleCPU reports the processor time that an idle node with a timer of 100 ms takes, per second.
func BenchmarkIdleCPU(b *testing.B) {
	n := live(b, 2)
	d := domain(b, n.Root(), "d", 0)
	w := n.Worker(0)
	w.Call(func() {
		var timer *Timer
		timer = d.NewTimer(-1, func(now clock.Time) { timer.Set(now.Add(100 * time.Millisecond)) })
		timer.Set(w.Now())
	})
	turns := n.Worker(0).Stats().Turns + n.Worker(1).Stats().Turns
	cpu := processTime(b)
	b.ResetTimer()
	time.Sleep(time.Duration(b.N) * 100 * time.Millisecond)
	secs := b.Elapsed().Seconds()
	b.ReportMetric(float64(processTime(b)-cpu)/1e3/secs, "cpu-us/s")
	b.ReportMetric(float64(n.Worker(0).Stats().Turns+n.Worker(1).Stats().Turns-turns)/secs, "turns/s")
}
