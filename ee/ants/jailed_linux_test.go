package ants

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm/jail"
)

func newJail(t testing.TB, name string) *jail.Jail {
	t.Helper()
	j, err := jail.New(jail.Spec{Name: name, Queues: 8, Hang: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the nodes, whose cleanup was registered later
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// sink has port 10 of a node deliver to a channel.
func (x *testNode) sink() <-chan []byte {
	x.net.t.Helper()
	got := make(chan []byte, 10_000)
	if _, err := x.ee.Attach(AppSpec{Name: "sink10", Port: 10, Receive: func(_ *nodeos.Worker, d *Delivery) { got <- slices.Clone(d.Capsule.Data) }}); err != nil {
		x.net.t.Fatal(err)
	}
	return got
}

func within(t *testing.T, got <-chan []byte, what string) []byte {
	t.Helper()
	select {
	case b := <-got:
		return b
	case <-time.After(time.Minute):
		t.Fatalf("%s: nothing came", what)
		return nil
	}
}

// TestJailed sends the same capsules to a protocol in a jail and to one in the node: declared and explicit soft state, faults that undo both, and
// capsules with the same key close behind each other.
func TestJailed(t *testing.T) {
	j := newJail(t, "strangers")
	_, x := newLive(t, 1, func(s *Spec) { s.Limits.Strikes, s.Limits.Queue = 1000, 512 })
	a := x[0]
	got := a.sink()
	count := proto(t, "count", "count")
	var want [][]byte
	for round, in := range []*jail.Jail{nil, j} {
		if err := a.ee.RegisterIn(count, in); err != nil {
			t.Fatal(err)
		}
		if s := a.ee.Stats().Protocols; len(s) != 1 || (s[0].Jail != "") != (in != nil) {
			t.Fatalf("%+v", s)
		}
		faults, n := 0, 0
		for k := range 300 {
			data := make([]byte, 16)
			binary.LittleEndian.PutUint32(data, uint32(k%3))
			if k%7 == 3 {
				data[4] = 1 // a fault
				faults++
			}
			c := capsule(t, count, "count", a, data)
			c.DstPort, c.HasPorts = 10, true
			if err := a.ee.Send(c); err != nil {
				t.Fatal(err)
			}
			for ; k%50 == 49 && n < k+1-faults; n++ { // not all at once: queues are bounded
				b := within(t, got, "count")
				if round == 0 {
					want = append(want, b)
				} else if string(b) != string(want[n]) {
					t.Fatalf("capsule %d: in the jail %x, in the node %x", n, b, want[n])
				}
			}
		}
		s := a.ee.Stats()
		if c := s.Protocols[0].Counts; c.Evaluated != 300 || c.Faults != uint64(faults) || c.Delivered != uint64(300-faults) || c.Fuel == 0 {
			t.Errorf("%+v, drops %v", c, s.Drops)
		}
		if err := a.ee.Unregister(count.ID()); err != nil {
			t.Fatal(err)
		}
	}
	if s := j.Status(); s.Deaths != 0 || !s.Alive {
		t.Errorf("%+v", s)
	}
}

// TestJailedLoad loads a protocol from a neighbour into the jail of those that come from the network.
func TestJailedLoad(t *testing.T) {
	j := newJail(t, "network")
	_, x := newLive(t, 3, func(s *Spec) { s.Jail = j })
	p := proto(t, "ping", "ping")
	x[0].register(p)
	r, err := x[0].ee.Probe(ProbeSpec{Capsule: *capsule(t, p, "ping", x[2], make([]byte, 8)), Count: 50, Interval: time.Millisecond, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	if r := r.Result(); r.Received != 50 {
		t.Errorf("%d of %d pings came back; %v", r.Received, r.Sent, x[1].ee.Stats().Drops)
	}
	for k, want := range []string{"", "network", "network"} {
		if s := x[k].ee.Stats().Protocols; len(s) != 1 || s[0].Jail != want {
			t.Errorf("node %d: %+v", k, s)
		}
	}
}

// TestJailDies kills the worker of one jail while capsules are under way. Its protocols' domains end and say why, others go on, all is given back, and what is
// registered again runs in the next worker.
func TestJailDies(t *testing.T) {
	one, two := newJail(t, "one"), newJail(t, "two")
	n, x := newLive(t, 1, func(s *Spec) { s.Limits.Queue = 512 })
	a := x[0]
	got := a.sink()
	inside, first, second, other := proto(t, "inside", "count"), proto(t, "first", "count", "ping"), proto(t, "second", "count", "loop"), proto(t, "other", "count", "flood")
	for _, r := range []struct {
		p *Protocol
		j *jail.Jail
	}{{inside, nil}, {first, one}, {second, one}, {other, two}} {
		if err := a.ee.RegisterIn(r.p, r.j); err != nil {
			t.Fatal(err)
		}
	}
	send := func(p *Protocol, count int) {
		t.Helper()
		for range count {
			c := capsule(t, p, "count", a, make([]byte, 16))
			c.DstPort, c.HasPorts = 10, true
			if err := a.ee.Send(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range []*Protocol{inside, first, second, other} {
		send(p, 1)
		within(t, got, p.Name)
	}
	ends := map[string]<-chan struct{}{}
	for _, d := range a.ee.Domain().Children() {
		ends[d.Name()] = d.Done()
	}
	send(first, 200)
	if err := unix.Kill(one.Status().PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for name, end := range ends {
		if strings.HasPrefix(name, "first") || strings.HasPrefix(name, "second") {
			select {
			case <-end:
			case <-time.After(time.Minute):
				t.Fatalf("domain %s lives", name)
			}
		}
	}
	n.mu.Lock()
	reasons := 0
	for _, ev := range n.events {
		if ev.Kind == DomainEnded {
			reasons++
			if !strings.Contains(ev.Reason, "jail one") || !strings.Contains(ev.Reason, "killed") || ev.Protocol != "first" && ev.Protocol != "second" {
				t.Errorf("%+v", ev)
			}
		}
	}
	n.mu.Unlock()
	if reasons != 2 {
		t.Errorf("%d domains ended", reasons)
	}
	for len(got) > 0 {
		<-got
	}
	for _, p := range []*Protocol{inside, other} {
		send(p, 20)
		for range 20 {
			within(t, got, p.Name)
		}
	}
	if err := a.ee.RegisterIn(first, one); err != nil && !errors.Is(err, errs.Dead) {
		t.Fatal(err)
	}
	for s := one.Status(); !s.Alive || s.Deaths == 0; s = one.Status() {
		runtime.Gosched()
	}
	if err := a.ee.RegisterIn(first, one); err != nil {
		t.Fatal(err)
	}
	send(first, 1)
	if b := within(t, got, "again"); binary.BigEndian.Uint32(b[8:]) != 1 {
		t.Errorf("soft state outlived its domain: %x", b)
	}
	if s := one.Status(); s.Deaths != 1 || s.Starts != 2 {
		t.Errorf("%+v", s)
	}
	for _, p := range []*Protocol{inside, first, other} {
		if err := a.ee.Unregister(p.ID()); err != nil {
			t.Error(err)
		}
	}
	for _, d := range a.ee.Domain().Children() {
		if !strings.HasPrefix(d.Name(), "app") {
			<-d.Done()
		}
	}
	if n := a.ee.Domain().Account().Use(resctl.Memory); n > 64<<10 {
		t.Errorf("%d bytes are charged after all protocols have ended", n)
	}
}

// TestJailIsFull: a protocol for which there is no queue is refused, and leaves nothing.
func TestJailIsFull(t *testing.T) {
	j, err := jail.New(jail.Spec{Name: "small", Queues: 1, Hang: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	_, x := newLive(t, 1, nil)
	if err := x[0].ee.RegisterIn(proto(t, "a", "ping"), j); err != nil {
		t.Fatal(err)
	}
	if err := x[0].ee.RegisterIn(proto(t, "b", "count"), j); !errors.Is(err, errs.Limit) {
		t.Errorf("a second protocol: %v", err)
	}
	if s := x[0].ee.Stats(); len(s.Protocols) != 1 {
		t.Errorf("%+v", s.Protocols)
	}
}

func TestNoJailsInSteppedNodes(t *testing.T) {
	j := newJail(t, "none")
	n := newNet(t)
	x := n.chain(1, nil)
	if err := x[0].ee.RegisterIn(proto(t, "a", "ping"), j); !errors.Is(err, errs.NotSupported) {
		t.Errorf("a stepped node: %v", err)
	}
}
