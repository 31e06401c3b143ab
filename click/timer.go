package click

import (
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/nodeos"
)

// Timer calls a function of an element at a time. It is an entry of the worker's one timer heap. All
// methods belong to the worker, or to Initialize and Start.
type Timer struct {
	thread *Thread
	timer  *nodeos.Timer
	at     clock.Time
	early  bool
}

// NewTimer makes a timer, not set. Its function runs on the worker like the rest of the element.
func (e *Base) NewTimer(fn func()) *Timer {
	t := e.thread
	k := &Timer{thread: t}
	k.timer = e.router.domain.NewTimer(t.worker.ID(), func(now clock.Time) {
		if t.router.stopped.Load() {
			return
		}
		t.now = now
		fn()
	})
	return k
}

// Set makes the timer fire at the given time instead of any time set before.
func (k *Timer) Set(at clock.Time) {
	k.at = at
	if !k.thread.started {
		if !k.early {
			k.early = true
			k.thread.early = append(k.thread.early, k)
		}
		return
	}
	k.timer.Set(at)
}

// SetAfter makes the timer fire d from now.
func (k *Timer) SetAfter(d time.Duration) {
	now := k.thread.now
	if !k.thread.started { // it has had no time yet, or the one at which something else was done
		now = k.thread.router.domain.Node().Clock().Now()
	}
	k.Set(now.Add(d))
}

// Stop makes the timer not fire.
func (k *Timer) Stop() {
	k.early = false
	if k.thread.started {
		k.timer.Stop()
	}
}

// Pending reports whether the timer is set.
func (k *Timer) Pending() bool { return k.early || k.thread.started && k.timer.Pending() }

// At returns the time that was set last.
func (k *Timer) At() clock.Time { return k.at }

// start hands over what was set before the router ran.
func (t *Thread) start() {
	t.started = true
	for _, k := range t.early {
		if k.early {
			k.early = false
			k.timer.Set(k.at)
		}
	}
	t.early = nil
	if len(t.heap) > 0 || len(t.outside) > 0 {
		t.task.Wake()
	}
}
