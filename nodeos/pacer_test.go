package nodeos

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// sender sends frames of its own size through a channel, some at each tick of a clock.
type sender struct {
	*rig
	c    *OutChan
	size int
}

func (r *rig) sender(d *Domain, size int, spec OutChanSpec) *sender {
	r.Helper()
	c, err := d.NewOutChan(spec)
	if err != nil {
		r.Fatal(err)
	}
	return &sender{r, c, size}
}

// send gives the channel n packets, on the given worker.
func (s *sender) send(worker, n int) {
	w := s.node.Worker(worker)
	var b packet.Batch
	for range n {
		p := w.Cache().AllocFrom(s.c.domain.owner, make([]byte, s.size))
		if p == nil {
			s.Fatal("no frame")
		}
		b.Append(p)
	}
	s.c.Send(w, &b)
	if b.Len() != 0 {
		s.Fatal("packets were left in the batch")
	}
}

// flood keeps the channels' queues full until the time, and returns what each has sent since from, in bits per second.
func (r *rig) flood(l *pipe, from, until clock.Time, ss ...*sender) map[*sender]float64 {
	r.Helper()
	start := make(map[int]int)
	for r.clk.Now() < until {
		for _, s := range ss {
			if st := s.c.Stats(); st.Held < 20 {
				s.send(0, 20)
			}
		}
		r.until(r.clk.Now().Add(time.Millisecond))
		if from != 0 && r.clk.Now() >= from {
			start, from = countSizes(l), 0
		}
	}
	sent := countSizes(l)
	rates := make(map[*sender]float64)
	for _, s := range ss {
		rates[s] = float64(sent[s.size] - start[s.size])
	}
	return rates
}

// countSizes returns how many bits of frames of each size were sent.
func countSizes(l *pipe) map[int]int {
	n := make(map[int]int)
	for _, f := range l.out {
		n[len(f)] += 8 * len(f)
	}
	return n
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if got < 0.95*want || got > 1.05*want {
		t.Errorf("%s: %.0f, want %.0f", what, got, want)
	}
}

// A channel sends at its rate, a burst more at once, keeps what its queue has room for and drops the rest; its neighbour is not touched.
func TestOutChanBitRate(t *testing.T) {
	const rate = 8_000_000 // a frame of 1,000 bytes in a millisecond
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	s := r.sender(d, 1000, OutChanSpec{Protocol: "eth0", BitRate: rate, Burst: 20 * time.Millisecond, Queue: 50})
	free := r.sender(d, 500, OutChanSpec{Protocol: "eth0"})
	if got, burst := s.c.BitRate(); got != rate || burst != 20*time.Millisecond {
		t.Errorf("%d, %v", got, burst)
	}
	s.send(0, 100)
	free.send(0, 100)
	if n := countSizes(l); n[1000] != 8*1000*20 || n[500] != 8*500*100 {
		t.Errorf("%d and %d bits at once", n[1000], n[500])
	}
	if st := s.c.Stats(); st.Held != 50 || st.Full != 30 || st.Packets != 100 {
		t.Errorf("%+v", st)
	}
	if use := d.Account().Use(resctl.Frames); use < 50 {
		t.Errorf("the domain is charged for %d frames, and 50 wait", use)
	}
	for i := range 50 {
		if got := countSizes(l)[1000] / 8000; got != 20+i {
			t.Fatalf("after %v %d frames", r.clk.Now(), got)
		}
		r.until(r.clk.Now().Add(time.Millisecond))
	}
	if st := s.c.Stats(); st.Held != 0 || len(l.out) != 170 || d.Account().Use(resctl.Frames) != 0 {
		t.Errorf("%+v, %d frames", st, len(l.out))
	}
	// What it did not send, it may send later, a burst at most.
	r.until(r.clk.Now().Add(time.Second))
	s.send(0, 30)
	if got := countSizes(l)[1000]/8000 - 70; got != 20 {
		t.Errorf("%d at once after a pause", got)
	}
	if u := r.node.Worker(0).Stats().Unbilled; time.Duration(d.Account().Use(resctl.CPU)) == 0 {
		t.Errorf("the domain paid for nothing, the node for %v", u)
	}
}

// Two channels that share a link at 1:3 get 1:3 of it, whatever the sizes of their packets, and each what the others leave.
func TestOutChanShares(t *testing.T) {
	const rate = 50_000_000
	for _, size := range []int{600, 1400} {
		r := stepped(t, resctl.Spec{})
		l := r.link("eth0")
		d, e := r.domain(r.node.Root(), resctl.Spec{Name: "d"}), r.domain(r.node.Root(), resctl.Spec{Name: "e"})
		if err := r.node.SetLinkRate("eth0", rate); err != nil {
			t.Fatal(err)
		}
		one, three := r.sender(d, size, OutChanSpec{Protocol: "eth0"}), r.sender(e, 1000, OutChanSpec{Protocol: "eth0", Share: 300})
		second := clock.Time(time.Second)
		got := r.flood(l, second/10, second*11/10, one, three)
		near(t, fmt.Sprintf("1 of 4, size %d", size), got[one], rate/4)
		near(t, fmt.Sprintf("3 of 4, size %d", size), got[three], rate*3/4)
		if err := one.c.SetShare(300); err != nil {
			t.Fatal(err)
		}
		l.out = nil
		now := r.clk.Now()
		got = r.flood(l, now+second/10, now+second*11/10, one, three)
		near(t, "1 of 2", got[one], rate/2)
		// One alone has all of it.
		r.until(r.clk.Now().Add(time.Second))
		l.out = nil
		now = r.clk.Now()
		got = r.flood(l, now+second/10, now+second*11/10, one)
		near(t, "alone", got[one], rate)
		// A rate of its own below its share leaves the rest to the other.
		if err := three.c.SetBitRate(rate / 10); err != nil {
			t.Fatal(err)
		}
		l.out = nil
		now = r.clk.Now()
		got = r.flood(l, now+second/10, now+second*11/10, one, three)
		near(t, "limited", got[three], rate/10)
		near(t, "what it leaves", got[one], rate*9/10)
	}
}

// A reserve is had against any share, and what is reserved is not more than the link has.
func TestOutChanReserve(t *testing.T) {
	const rate = 50_000_000
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	spec := OutChanSpec{Protocol: "eth0", Reserve: rate / 2, Share: 1}
	if _, err := d.NewOutChan(spec); !errors.Is(err, errs.Limit) {
		t.Fatalf("a reserve on a link without a rate: %v", err)
	}
	if err := r.node.SetLinkRate("eth0", rate); err != nil {
		t.Fatal(err)
	}
	small, big := r.sender(d, 1000, spec), r.sender(d, 1400, OutChanSpec{Protocol: "eth0", Share: 10000})
	second := clock.Time(time.Second)
	got := r.flood(l, second/10, second*11/10, small, big)
	near(t, "reserved", got[small], rate/2)
	near(t, "the rest", got[big], rate/2)
	if _, err := d.NewOutChan(OutChanSpec{Protocol: "eth0", Reserve: rate/2 + 1}); !errors.Is(err, errs.Limit) {
		t.Errorf("more than is left: %v", err)
	}
	if err := r.node.SetLinkRate("eth0", rate/2-1); !errors.Is(err, errs.Limit) {
		t.Errorf("a link's rate below what is reserved: %v", err)
	}
	if err := small.c.SetReserve(rate / 10); err != nil || small.c.Reserve() != rate/10 {
		t.Fatal(err)
	}
	l.out = nil
	now := r.clk.Now()
	got = r.flood(l, now+second/10, now+second*11/10, small, big)
	near(t, "less reserved", got[small], rate/10)
	if err := small.c.SetBitRate(rate / 20); !errors.Is(err, errs.Invalid) {
		t.Errorf("a rate below the reserve: %v", err)
	}
	if err := small.c.SetReserve(rate + 1); !errors.Is(err, errs.Limit) {
		t.Error(err)
	}
	// Closing gives it back, and so does the end of the domain.
	small.c.Close()
	e := r.domain(r.node.Root(), resctl.Spec{Name: "e"})
	if _, err := e.NewOutChan(OutChanSpec{Protocol: "eth0", Reserve: rate}); err != nil {
		t.Error(err)
	}
	e.Terminate(nil)
	r.settle()
	if _, err := d.NewOutChan(OutChanSpec{Protocol: "eth0", Reserve: rate}); err != nil {
		t.Error(err)
	}
	if err := small.c.SetReserve(1); !errors.Is(err, errs.Dead) {
		t.Errorf("a closed channel has a reserve: %v", err)
	}
}

func TestOutChanBadRates(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	for _, s := range []OutChanSpec{
		{BitRate: MaxBitRate + 1}, {Reserve: MaxBitRate + 1}, {BitRate: 10, Reserve: 11}, {Burst: -1}, {Burst: MaxOutBurst + 1}, {Queue: -1}, {Queue: MaxQuota + 1},
	} {
		s.Protocol = "eth0"
		if _, err := d.NewOutChan(s); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if _, err := d.NewCutChan(InChanSpec{Protocol: "eth0/ether"}, OutChanSpec{Protocol: "eth0", BitRate: 1000}); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if err := r.node.SetLinkRate("eth9", 1); !errors.Is(err, errs.NotFound) {
		t.Error(err)
	}
	if err := r.node.SetLinkRate("eth0", MaxBitRate+1); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	c, err := d.NewOutChan(OutChanSpec{Protocol: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetBitRate(MaxBitRate + 1); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

// What waits goes back when channel, link or domain end, whoever the packets belong to.
func TestPacedFramesAreNotLost(t *testing.T) {
	for _, how := range []string{"channel", "link", "domain", "owner", "node"} {
		r := stepped(t, resctl.Spec{})
		l := r.link("eth0")
		d, owner := r.domain(r.node.Root(), resctl.Spec{Name: "d"}), r.domain(r.node.Root(), resctl.Spec{Name: "owner"})
		s := r.sender(d, 1000, OutChanSpec{Protocol: "eth0", BitRate: 8000})
		s.send(0, 40)
		w := r.node.Worker(0)
		var b packet.Batch
		for range 20 {
			b.Append(w.Cache().AllocFrom(owner.owner, make([]byte, 100)))
		}
		s.c.Send(w, &b)
		r.settle()
		if st := s.c.Stats(); st.Held < 50 {
			t.Fatalf("%+v", st)
		}
		switch how {
		case "channel":
			s.c.Close()
		case "link":
			if err := r.node.CloseLink("eth0"); err != nil {
				t.Fatal(err)
			}
		case "domain":
			d.Terminate(nil)
		case "owner":
			owner.Terminate(nil)
			r.settle()
			if owner.State() != Dead || owner.Reason() != nil {
				t.Fatalf("%v", owner.Reason())
			}
			r.until(clock.Time(time.Minute)) // the rest is sent
		case "node":
			continue
		}
		r.settle()
		if d.Reason() != nil || how == "domain" && d.State() != Dead {
			t.Errorf("%s: %v, %v", how, d.State(), d.Reason())
		}
		if st := r.node.Pool().Stats(); st.ByState[0] != 1024 {
			t.Errorf("%s: %v frames by state, %d sent", how, st.ByState, len(l.out))
		}
		if how == "link" && len(l.out) > 10 {
			t.Errorf("%d frames left by a closed link", len(l.out))
		}
	}
}

// Channels of several workers and domains, links and domains that come and go: nothing is lost or sent twice.
func TestPacerUnderChurn(t *testing.T) {
	n := live(t, 2)
	l := &counter{pipe: &pipe{info: LinkInfo{Name: "eth0", Driver: "test", Number: n.NextLinkNumber(), MTU: 1500}}}
	if err := n.AddLink(l, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.SetLinkRate("eth0", 1<<33); err != nil {
		t.Fatal(err)
	}
	var packets, full uint64
	for round := range 10 {
		var ds []*Domain
		var cs []*OutChan
		var wg sync.WaitGroup
		for i := range 4 {
			d := domain(t, n.Root(), string(rune('a'+i)), i%2)
			c, err := d.NewOutChan(OutChanSpec{Protocol: "eth0", BitRate: uint64(1<<31) << (i % 2), Queue: 64, Share: resctl.Share(1 + i)})
			if err != nil {
				t.Fatal(err)
			}
			wg.Add(1)
			rounds := 0
			task, err := d.NewTask(TaskSpec{Name: "x", Worker: i % 2, Run: RunFunc(func(b Budget) Used {
				var out packet.Batch
				for range 20 {
					if p := b.Worker.Cache().AllocFrom(d.owner, make([]byte, 200)); p != nil {
						out.Append(p)
					}
				}
				c.Send(b.Worker, &out)
				if rounds++; rounds == 200 {
					wg.Done()
				}
				return Used{Packets: 20, Next: More}
			})})
			if err != nil {
				t.Fatal(err)
			}
			task.Wake()
			ds, cs = append(ds, d), append(cs, c)
		}
		for i := range 20 {
			if err := cs[i%4].SetBitRate(uint64(1+i) << 27); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		if round%3 == 0 {
			cs[0].Close()
		}
		for _, d := range ds {
			d.Terminate(nil)
		}
		for i, d := range ds {
			<-d.Done()
			if d.Reason() != nil {
				t.Fatal(d.Reason())
			}
			st := cs[i].Stats()
			packets, full = packets+st.Packets, full+st.Full
		}
	}
	if err := n.CloseLink("eth0"); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		n.Worker(i).Call(func() { n.Worker(i).Cache().Flush() })
	}
	if st := n.Pool().Stats(); st.ByState[0] != n.Pool().Spec().Frames {
		t.Errorf("frames by state %v", st.ByState)
	}
	if l.sent == 0 || uint64(l.sent) > packets-full {
		t.Errorf("%d sent of %d, %d dropped", l.sent, packets, full)
	}
}

// counter is a link that counts what it sends.
type counter struct {
	*pipe
	sent int
}

func (l *counter) Send(c *packet.Cache, b *packet.Batch) {
	l.sent += b.Len()
	c.FreeBatch(b)
}

func TestPacedSendAllocatesNothing(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	r.link("eth0")
	l := &counter{pipe: &pipe{info: LinkInfo{Name: "eth1", Driver: "test", Number: r.node.NextLinkNumber(), MTU: 1500}}}
	if err := r.node.AddLink(l, 0); err != nil {
		t.Fatal(err)
	}
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	s := r.sender(d, 1000, OutChanSpec{Protocol: "eth1", BitRate: 8_000_000})
	w := r.node.Worker(0)
	var b packet.Batch
	if n := testing.AllocsPerRun(100, func() {
		for range 30 { // the queue fills and empties
			p := w.Cache().Alloc(d.owner)
			p.Put(1000)
			b.Append(p)
		}
		s.c.Send(w, &b)
		r.until(r.clk.Now().Add(29 * time.Millisecond))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if l.sent < 100 || s.c.Stats().Full != 0 && l.sent == 0 {
		t.Errorf("%d sent, %+v", l.sent, s.c.Stats())
	}
}

// BenchmarkSend compares a channel without a rate, one with a rate that is not reached, and one on a link with a rate.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name     string
		spec     OutChanSpec
		linkRate uint64
	}{
		{"free", OutChanSpec{}, 0},
		{"rate", OutChanSpec{BitRate: MaxBitRate, Burst: MaxOutBurst}, 0},
		{"link-rate", OutChanSpec{}, MaxBitRate},
		{"reserve", OutChanSpec{BitRate: MaxBitRate, Reserve: 1000}, MaxBitRate},
	} {
		b.Run(c.name, func(b *testing.B) {
			n, err := NewNode(NodeSpec{Name: "b", Clock: clock.NewReal(), Stepped: true, Packets: packet.PoolSpec{Frames: 1024}})
			if err != nil {
				b.Fatal(err)
			}
			defer n.Close()
			if err := n.AddLink(&counter{pipe: &pipe{info: LinkInfo{Name: "eth0", Number: n.NextLinkNumber(), MTU: 1500}}}, 0); err != nil {
				b.Fatal(err)
			}
			if err := n.SetLinkRate("eth0", c.linkRate); err != nil {
				b.Fatal(err)
			}
			d := domain(b, n.Root(), "d", 0)
			c.spec.Protocol = "eth0"
			out, err := d.NewOutChan(c.spec)
			if err != nil {
				b.Fatal(err)
			}
			w := n.Worker(0)
			var batch packet.Batch
			b.ReportAllocs()
			for i := 0; i < b.N; i += 64 {
				w.Cache().AllocBatch(d.owner, &batch, 64)
				for _, p := range batch.Packets() {
					p.Put(60)
				}
				out.Send(w, &batch)
				n.Step()
			}
			if st := out.Stats(); st.Full > 0 {
				b.Errorf("%+v", st)
			}
		})
	}
}
