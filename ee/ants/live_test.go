package ants

import (
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

// newLive makes a chain of nodes with workers of their own, two each; the links and the EE share the first.
func newLive(t testing.TB, count int, mod func(*Spec)) (*testNet, []*testNode) {
	n := newNet(t)
	n.real, n.mode = clock.NewReal(), vm.ModeAuto
	return n, n.chain(count, mod)
}

// TestLive lets nodes run by themselves: pings that load their code, beside loopers and a protocol that comes and goes.
func TestLive(t *testing.T) {
	n, x := newLive(t, 3, func(s *Spec) { s.Budget, s.Limits.Waiting, s.Limits.Queue = 5000, 200, 512 })
	ping, loop, count := proto(t, "ping", "ping"), proto(t, "loop", "loop"), proto(t, "count", "count")
	x[0].register(ping)
	x[2].register(loop)
	stop := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-stop:
				return
			default:
			}
			x[2].ee.Send(capsule(t, loop, "loop", x[0], []byte{1}))
			if err := x[0].ee.Register(count); err != nil {
				t.Error(err)
			}
			x[0].ee.Send(capsule(t, count, "count", x[2], make([]byte, 16)))
			x[1].ee.Stats()
			if err := x[0].ee.Unregister(count.ID()); err != nil {
				t.Error(err)
			}
		}
	}()
	p, err := x[0].ee.Probe(ProbeSpec{Capsule: *capsule(t, ping, "ping", x[2], make([]byte, 8)), Count: 200, Interval: time.Millisecond, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	close(stop)
	<-over
	if r := p.Result(); r.Received != 200 {
		t.Errorf("%d of %d pings came back; drops %v, %v, %v", r.Received, r.Sent, x[0].ee.Stats().Drops, x[1].ee.Stats().Drops, x[2].ee.Stats().Drops)
	}
	if k := x[1].ee.Stats().Counts; k.LoadsDone == 0 {
		t.Errorf("counts %+v", k)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.events) == 0 {
		t.Error("no events")
	}
}

// TestLiveEnd ends EEs and nodes in the middle of everything.
func TestLiveEnd(t *testing.T) {
	for range 5 {
		_, x := newLive(t, 2, nil)
		p := bigPing(t)
		x[0].register(p)
		for seq := range uint32(5) {
			x[0].send(capsule(t, p, "ping", x[1], pingData(seq)))
		}
		done := make(chan error)
		go func() { done <- x[1].ee.Register(proto(t, "loop", "loop", "greedy", "flood")) }()
		x[1].ee.Domain().Terminate(errs.New(errs.Dead, "the test ends it"))
		<-x[1].ee.Domain().Done()
		if err := <-done; err != nil && errs.KindOf(err) != errs.Dead {
			t.Errorf("register in a domain that ends: %v", err)
		}
		if r := x[1].ee.Domain().Reason(); errs.KindOf(r) != errs.Dead {
			t.Errorf("something was not given back: %v", r)
		}
		if x[1].ee.Domain().State() != nodeos.Dead {
			t.Errorf("domain is %s", x[1].ee.Domain().State())
		}
		if err := x[1].ee.Send(&Capsule{}); errs.KindOf(err) != errs.Dead {
			t.Errorf("send after the end: %v", err)
		}
	}
}

// TestLiveRegisterTogether has many register one protocol at the same time, and one that nobody can.
func TestLiveRegisterTogether(t *testing.T) {
	_, x := newLive(t, 1, nil)
	p := proto(t, "two", "ping")
	p.Groups = append(p.Groups, Group{Name: "more", Classes: []Class{{"count", wasm(t, "count")}, {"spawn", wasm(t, "spawn")}}})
	bad := proto(t, "bad", "ping")
	bad.Groups[0].Classes = append(bad.Groups[0].Classes, Class{"junk", []byte("junk")})
	errc := make(chan error)
	const many = 8
	for i := range many {
		go func() {
			q := p
			if i%2 == 1 {
				q = bad
			}
			errc <- x[0].ee.Register(q)
		}()
	}
	failed := 0
	for range many {
		if err := <-errc; err != nil {
			failed++
			if k := errs.KindOf(err); k != errs.Invalid && k != errs.Dead {
				t.Error(err)
			}
		}
	}
	s := x[0].ee.Stats()
	if failed != many/2 || len(s.Protocols) != 1 || len(s.Protocols[0].Classes) != 3 || s.Protocols[0].State != "active" {
		t.Errorf("%d failed, protocols %+v", failed, s.Protocols)
	}
	held := x[0].ee.Domain().Account().Use(resctl.Memory)
	if err := x[0].ee.Register(p); err != nil {
		t.Error(err)
	}
	if err := x[0].ee.Unregister(p.ID()); err != nil {
		t.Error(err)
	}
	for _, c := range x[0].ee.Domain().Children() {
		if c.Name() != "app-9" {
			<-c.Done()
		}
	}
	if n := x[0].ee.Domain().Account().Use(resctl.Memory); n != 0 || held == 0 {
		t.Errorf("%d bytes while it was there, %d afterwards", held, n)
	}
}
