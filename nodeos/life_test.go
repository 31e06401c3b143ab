package nodeos

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// live returns a node with real workers, closed at the end.
func live(t testing.TB, workers int) *Node {
	t.Helper()
	n, err := NewNode(NodeSpec{Name: "t", Clock: clock.NewReal(), Workers: workers, Packets: packet.PoolSpec{Frames: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// domain makes a domain with a name and a home worker.
func domain(t testing.TB, parent *Domain, name string, worker int) *Domain {
	t.Helper()
	d, err := parent.NewDomain(DomainSpec{Account: resctl.Spec{Name: name}, Worker: worker})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is left of a dead domain can be used wrongly without harm: nothing happens.
func TestDeadDomainStaysDead(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	ran := 0
	task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(Budget) Used { ran++; return Used{} })})
	if err != nil {
		t.Fatal(err)
	}
	timer := d.NewTimer(-1, func(clock.Time) { ran++ })
	in, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1})
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether"})
	if err != nil {
		t.Fatal(err)
	}
	task.Wake()
	timer.Set(0)
	r.settle()
	if ran != 2 {
		t.Fatalf("ran %d", ran)
	}
	d.Terminate(nil)
	r.settle()
	w := r.node.Worker(0)
	task.Wake()
	timer.Set(1)
	timer.Set(w.Now())
	in.SetTask(task)
	in.wake()
	w.Bill(d, 3)
	var b packet.Batch
	if p := w.Cache().Alloc(d.Owner()); p != nil {
		t.Error("a dead domain got a frame")
	}
	b.Append(w.Cache().AllocFrom(packet.Node, udp(t, 7, "x")))
	if in.HandOff(w, &b) != 0 {
		t.Error("a dead domain's channel took a packet")
	}
	out.Send(w, &b)
	in.Close()
	task.Close()
	l.feed(udp(t, 7, "late"))
	r.until(clock.Time(time.Second))
	if ran != 2 || r.node.NextEvent() != clock.Never {
		t.Errorf("ran %d times, next event %d", ran, r.node.NextEvent())
	}
	if st := r.node.Pool().Stats(); st.ByState[packet.Free] != 1024 {
		t.Errorf("frames %v", st.ByState)
	}
}

// A channel that is refused leaves no task behind, and one that is made while its domain ends claims nothing.
func TestRefusedChannelLeavesNothing(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	l.refuse = errs.New(errs.NotSupported, "no program")
	spec := InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":1", Worker: -1, Handler: func(w *Worker, b *packet.Batch) { w.Cache().FreeBatch(b) }}
	if _, err := d.NewInChan(spec); err == nil {
		t.Fatal("the channel was made")
	}
	l.refuse = nil
	if n := len(d.Tasks()); n != 0 {
		t.Fatalf("%d tasks are left", n)
	}
}

func TestChannelsAgainstTerminate(t *testing.T) {
	n := live(t, 2)
	l := &pipe{info: LinkInfo{Name: "eth0", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500}}
	if err := n.AddLink(l, 0); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		d := domain(t, n.Root(), "d", 1)
		var wg sync.WaitGroup
		var ran atomic.Bool
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					c, err := d.NewInChan(InChanSpec{Protocol: "eth0/ether/ip/udp", Address: ":7", Worker: -1, Handler: func(w *Worker, b *packet.Batch) {
						w.Cache().FreeBatch(b)
					}})
					if err != nil {
						if errs.KindOf(err) != errs.Dead {
							t.Error(err)
						}
						return
					}
					task, err := d.NewTask(TaskSpec{Name: "x", Worker: 0, Run: RunFunc(func(Budget) Used {
						if d.State() == Dead {
							ran.Store(true)
						}
						return Used{}
					})})
					if err == nil {
						task.Wake()
					}
					if sub, err := d.NewDomain(DomainSpec{Account: resctl.Spec{Name: "sub"}}); err == nil {
						sub.Terminate(nil)
					}
					c.Close()
				}
			}()
		}
		d.Terminate(nil)
		wg.Wait()
		<-d.Done()
		if ran.Load() {
			t.Fatal("a task of a dead domain ran")
		}
	}
	if cs := n.InChans(); len(cs) != 0 {
		t.Errorf("%d channels of dead domains are left", len(cs))
	}
	n.Worker(0).Call(func() {})
	if l.claims != 0 {
		t.Errorf("the link claims for %d of them", l.claims)
	}
}

// Domains that are made while the node closes are refused or ended with it; nobody waits for ever.
func TestCloseAgainstEverybody(t *testing.T) {
	for range 100 {
		n, err := NewNode(NodeSpec{Name: "t", Clock: clock.NewReal(), Workers: 2, Packets: packet.PoolSpec{Frames: 64}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for {
					d, err := n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: string(rune('a' + g))}})
					if err != nil {
						if k := errs.KindOf(err); k != errs.Dead {
							t.Error(err)
						}
						return
					}
					if task, err := d.NewTask(TaskSpec{Name: "x", Worker: 1, Run: RunFunc(func(Budget) Used { return Used{} })}); err == nil {
						task.Wake()
					}
					n.Worker(1).Call(func() {})
					d.Terminate(nil)
					<-d.Done()
				}
			}()
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 1000 {
				l := &pipe{info: LinkInfo{Name: "eth" + string(rune('a'+i%20)), Base: demux.Ether, MTU: 1500}}
				if err := n.AddLink(l, i%2); err != nil {
					if k := errs.KindOf(err); k != errs.Dead {
						t.Error(err)
					}
					return
				}
				if err := n.CloseLink(l.info.Name); err != nil && errs.KindOf(err) != errs.NotFound {
					t.Error(err)
				}
			}
		}()
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		<-n.Root().Done()
		if n.Worker(0).Call(func() {}) {
			t.Fatal("a closed node answered")
		}
		if len(n.Links()) != 0 {
			t.Fatal("links are left")
		}
	}
}

func TestRootHooksRunAtClose(t *testing.T) {
	for _, isStepped := range []bool{true, false} {
		n, err := NewNode(NodeSpec{Name: "t", Clock: clock.NewReal(), Stepped: isStepped})
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		d := domain(t, n.Root(), "d", 0)
		d.OnDestroy(func() { order = append(order, "child") })
		n.Root().OnDestroy(func() { order = append(order, "first") })
		n.Root().OnDestroy(func() { order = append(order, "second") })
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if len(order) != 3 || order[0] != "child" || order[1] != "second" || n.Root().State() != Dead {
			t.Fatalf("%v, root %v", order, n.Root().State())
		}
		if _, err := n.Root().NewTask(TaskSpec{Run: RunFunc(func(Budget) Used { return Used{} })}); errs.KindOf(err) != errs.Dead {
			t.Fatalf("a closed node made a task: %v", err)
		}
	}
}

// Another worker sends on a link that is being closed: no packet is lost, none is used twice.
func TestCloseLinkAgainstSenders(t *testing.T) {
	n := live(t, 2)
	d := domain(t, n.Root(), "d", 1)
	for range 50 {
		l := &pipe{info: LinkInfo{Name: "eth0", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500}}
		if err := n.AddLink(l, 0); err != nil {
			t.Fatal(err)
		}
		out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		var sent atomic.Int64
		task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(b Budget) Used {
			var batch packet.Batch
			b.Worker.Cache().AllocBatch(d.Owner(), &batch, 32)
			for _, p := range batch.Packets() {
				p.Put(64)
			}
			sent.Add(int64(batch.Len()))
			out.Send(b.Worker, &batch)
			return Used{Next: More}
		})})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
		for sent.Load() < 100 {
			n.Worker(1).Call(func() {})
		}
		if err := n.CloseLink("eth0"); err != nil {
			t.Fatal(err)
		}
		n.Worker(1).Call(task.Close)
		if st := n.Pool().Stats(); st.ByState[packet.Free] != 4096 {
			t.Fatalf("frames %v, charged %v", st.ByState, st.Charged)
		}
	}
}

// Frames that a domain has sent to a link of another worker leave or are dropped, once each, when the domain dies at once.
func TestDyingDomainsSendAcrossWorkers(t *testing.T) {
	n := live(t, 2)
	l := &quietPipe{pipe: &pipe{info: LinkInfo{Name: "eth0", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500}}}
	if err := n.AddLink(l, 0); err != nil {
		t.Fatal(err)
	}
	const each, rounds = 200, 200
	for range rounds {
		d := domain(t, n.Root(), "d", 1)
		out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0"})
		if err != nil {
			t.Fatal(err)
		}
		task, err := d.NewTask(TaskSpec{Name: "x", Worker: -1, Run: RunFunc(func(b Budget) Used {
			var batch packet.Batch
			b.Worker.Cache().AllocBatch(d.Owner(), &batch, each)
			for _, p := range batch.Packets() {
				p.Put(64)
			}
			out.Send(b.Worker, &batch)
			d.Terminate(nil)
			return Used{}
		})})
		if err != nil {
			t.Fatal(err)
		}
		task.Wake()
		<-d.Done()
		if err := d.Reason(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what is woken before a post runs after it
		n.Worker(0).Call(func() {})
	}
	n.Worker(0).Call(func() {
		if st, err := n.LinkStats("eth0"); err != nil || l.sent+int(st.TxDrops) != each*rounds {
			t.Errorf("%d sent, %d dropped, want %d in all", l.sent, st.TxDrops, each*rounds)
		}
	})
	if st := n.Pool().Stats(); st.ByState[packet.Free] != 4096 {
		t.Fatalf("frames %v, charged %v", st.ByState, st.Charged)
	}
}

// slowClaims is a link whose claims take until they are let go.
type slowClaims struct {
	*pipe
	begun, letGo chan struct{}
}

func (l *slowClaims) Claim(Claims) error {
	l.begun <- struct{}{}
	<-l.letGo
	return nil
}

// A claim that takes long in the kernel holds up no worker on which domains with hand-off channels come and go.
func TestWorkersDoNotWaitForClaims(t *testing.T) {
	n := live(t, 1)
	l := &slowClaims{&pipe{info: LinkInfo{Name: "eth0", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500}}, make(chan struct{}), make(chan struct{})}
	added := make(chan error)
	go func() { added <- n.AddLink(l, 0) }()
	<-l.begun
	for range 10 {
		var d *Domain
		var err error
		n.Worker(0).Call(func() {
			if d, err = n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}}); err != nil {
				return
			}
			if _, err = d.NewInChan(InChanSpec{HandOffOnly: true, Worker: -1}); err == nil {
				d.Terminate(nil)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		<-d.Done()
		if len(n.InChans()) != 0 || len(n.Links()) != 1 {
			t.Fatal("what is there is not what should be")
		}
	}
	close(l.letGo)
	if err := <-added; err != nil {
		t.Fatal(err)
	}
}
