package nodeos

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/demux"
)

// waiter is a link whose claims wait, when they are told to.
type waiter struct {
	pipe
	wait  atomic.Bool
	until chan struct{}
}

func (l *waiter) Claim(Claims) error {
	if l.wait.Load() {
		<-l.until
	}
	return nil
}

// A domain that ends itself on a worker does not keep the worker waiting for what links do about its channels; and it is not
// over before they have done it.
func TestTerminateClaimsAside(t *testing.T) {
	n := live(t, 1)
	l := &waiter{pipe: pipe{info: LinkInfo{Name: "eth0", Number: 1, Base: demux.Ether, MTU: 1500}}, until: make(chan struct{})}
	if err := n.AddLink(l, 0); err != nil {
		t.Fatal(err)
	}
	d := domain(t, n.Root(), "d", 0)
	in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7"})
	if err != nil {
		t.Fatal(err)
	}
	l.wait.Store(true)
	ends := errors.New("it ends itself")
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: 0, Run: RunFunc(func(Budget) Used {
		d.Terminate(ends)
		return Used{}
	})})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		for d.State() == Active { // then the claim is under way, or about to be
			n.Worker(0).Call(func() {})
		}
		for range 3 {
			n.Worker(0).Call(func() {})
		}
	}()
	select {
	case <-ran:
	case <-time.After(10 * time.Second):
		t.Error("the worker waits for a claim")
	}
	if !in.closed.Load() || d.State() != Terminating {
		t.Errorf("channel closed is %v, domain %v before the claim is changed", in.closed.Load(), d.State())
	}
	close(l.until)
	<-d.Done()
	<-ran
}
