package nodeos

import (
	"sync"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// A domain waits for what runs elsewhere on its account, whoever comes first, and tells it once.
func TestDomainWaitsForGuests(t *testing.T) {
	n := live(t, 2)
	if _, err := n.Root().Host(func(error) {}); errs.KindOf(err) != errs.Invalid {
		t.Errorf("the root: %v", err)
	}
	for round := range 100 {
		d := domain(t, n.Root(), "d", 1)
		var mu sync.Mutex
		told, held := 0, 0
		for k := range 3 {
			if err := d.Account().Take(resctl.Memory, 100); err != nil {
				t.Fatal(err)
			}
			held++
			var release func()
			done := func() {
				mu.Lock()
				held--
				mu.Unlock()
				d.Account().Return(resctl.Memory, 100)
				release()
				release() // the second time nothing happens
			}
			started := make(chan struct{})
			r, err := d.Host(func(error) {
				mu.Lock()
				told++
				mu.Unlock()
				if k > 0 {
					go func() { <-started; done() }()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			release = r
			close(started)
			if k == 0 {
				done() // before the end: not told
			}
		}
		d.Terminate(errs.Dead)
		<-d.Done()
		mu.Lock()
		if told != 2 || held != 0 {
			t.Fatalf("round %d: %d told, %d held", round, told, held)
		}
		mu.Unlock()
		if k := errs.KindOf(d.Reason()); k != errs.Dead {
			t.Fatalf("it ended because: %v", d.Reason())
		}
		if _, err := d.Host(func(error) {}); errs.KindOf(err) != errs.Dead {
			t.Fatalf("a dead domain: %v", err)
		}
	}
}
