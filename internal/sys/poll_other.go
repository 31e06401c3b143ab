//go:build !linux

package sys

import (
	"time"

	"github.com/janos-os/janos/errs"
)

// Poller is a worker's poll set. Without Linux it has no descriptors, only the wake.
type Poller struct{ wake chan struct{} }

// NewPoller makes a poll set.
func NewPoller() (*Poller, error) { return &Poller{wake: make(chan struct{}, 1)}, nil }

// Add refuses: descriptors need epoll.
func (p *Poller) Add(int, bool, func()) error {
	return errs.New(errs.NotSupported, "polling descriptors needs Linux")
}

// Remove does nothing, for nothing was added.
func (p *Poller) Remove(int) {}

// Wake ends a Wait that is under way, or the next one.
func (p *Poller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Wait waits for at most d for a Wake; 0 looks only, a negative d waits without end.
func (p *Poller) Wait(d time.Duration) int {
	switch {
	case d == 0:
		select {
		case <-p.wake:
		default:
		}
	case d < 0:
		<-p.wake
	default:
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-p.wake:
		case <-t.C:
		}
	}
	return 0
}

// Dispatch does nothing: there are no descriptors.
func (p *Poller) Dispatch(int) {}

// Close releases nothing.
func (p *Poller) Close() error { return nil }
