package xdp

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/conformance"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// flood sends a frame again and again until the test calls the function that it returns.
func (w *network) flood(t *testing.T, frame []byte) (end func()) {
	stop, stopped := make(chan bool), make(chan bool)
	send := w.generator(t, frame)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				send()
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// inChan opens a channel for UDP to a port, which holds packets until somebody receives them if handler is nil.
func inChan(t testing.TB, n *nodeos.Node, spec nodeos.InChanSpec, port int, handler func(*nodeos.Worker, *packet.Batch)) *nodeos.InChan {
	t.Helper()
	if spec.Protocol == "" {
		spec.Protocol = "l0/ether/ip/udp"
	}
	spec.Address, spec.Handler = fmt.Sprintf(":%d", port), handler
	c, err := n.Root().NewInChan(spec)
	must(t, err)
	return c
}

// onTheWay is how many packets of a channel the program thinks are on their way or in its queue.
func onTheWay(l *Link, c *nodeos.InChan) int64 {
	slot, _ := c.Slot()
	return int64(l.chans.word(slot, chanProduced).Load() - l.chans.word(slot, chanConsumed).Load())
}

// numbered counts packets that carry their number, in order.
type numbered struct {
	n   *nodeos.Node
	bad int
	got uint32
}

func (s *numbered) take(w *nodeos.Worker, b *packet.Batch) {
	for _, p := range b.Packets() {
		if binary.BigEndian.Uint32(p.Data()) != s.got {
			s.bad++
		}
		s.got++
	}
	w.Cache().FreeBatch(b)
}

func (s *numbered) state() (got uint32, bad int) {
	s.n.Worker(0).Call(func() { got, bad = s.got, s.bad })
	return got, bad
}

// TestChannelsAreApart floods a channel that nobody receives from. Its neighbour on the link loses nothing, and what the flood loses is dropped in the
// program, at the cost of that channel alone.
func TestChannelsAreApart(t *testing.T) {
	for _, o := range variants[:2] {
		t.Run(o["mode"], func(t *testing.T) {
			w := newNetwork(t, 1)
			n := conformance.NewNode(t)
			l := w.open(t, n, nodeos.LinkSpec{Name: "l0", Ring: 256, Opts: o})
			flooded := inChan(t, n, nodeos.InChanSpec{Quota: 64}, 1, nil)
			sink := &numbered{n: n}
			victim := inChan(t, n, nodeos.InChanSpec{}, 2, sink.take)
			end := w.flood(t, conformance.UDPFrame(w.mac, 1, make([]byte, 22)))
			conformance.Until(t, func() bool { return flooded.Stats().Full > 100 })
			const count = 5000
			for i := range uint32(count) {
				for i-uint32(victim.Stats().Packets) >= 50 {
				}
				w.inject(t, conformance.UDPFrame(w.mac, 2, binary.BigEndian.AppendUint32(nil, i)))
			}
			conformance.Until(t, func() bool { got, _ := sink.state(); return got == count })
			end()
			if _, bad := sink.state(); bad > 0 {
				t.Errorf("%d packets came not in their turn", bad)
			}
			if st := victim.Stats(); st.Full != 0 {
				t.Errorf("the neighbour: %+v", st)
			}
			if st := flooded.Stats(); st.Packets != 64 || st.Held != 64 || st.Full < 1000 {
				t.Errorf("the flooded channel: %+v", st)
			}
			if st := l.Stats(); st.RxDrops != 0 || st.RxPackets != 64+count {
				t.Errorf("the link: %+v; it should not have seen what was dropped", st)
			}
			must(t, n.CloseLink("l0"))
			if st := flooded.Stats(); st.Full < 1000 {
				t.Errorf("the flooded channel after its link has closed: %+v", st)
			}
		})
	}
}

// TestRate limits a channel. What comes too fast is dropped in the program.
func TestRate(t *testing.T) {
	for _, o := range variants[:2] {
		t.Run(o["mode"], func(t *testing.T) {
			w := newNetwork(t, 1)
			n := conformance.NewNode(t)
			l := w.open(t, n, spec(o))
			const rate, burst = 2000, 30
			free := func(w *nodeos.Worker, b *packet.Batch) { w.Cache().FreeBatch(b) }
			before := time.Now()
			c := inChan(t, n, nodeos.InChanSpec{Rate: rate, Burst: burst}, 1, free)
			other := inChan(t, n, nodeos.InChanSpec{}, 2, free)
			send := w.generator(t, conformance.UDPFrame(w.mac, 1, make([]byte, 22)))
			calm := w.generator(t, conformance.UDPFrame(w.mac, 2, make([]byte, 22)))
			total, seen := uint64(0), func() uint64 { st := c.Stats(); return st.Packets + st.Limited + st.Full }
			for range 20 {
				send()
				total += sys.MaxMsgs
				conformance.Until(t, func() bool { return seen() == total })
				calm()
				conformance.Until(t, func() bool { return other.Stats().Packets == total })
			}
			most := burst + uint64(time.Since(before)/(time.Second/rate)) + 1
			st := c.Stats()
			if st.Packets < burst || st.Packets > most || st.Full != 0 {
				t.Errorf("%+v, want %d to %d accepted", st, burst, most)
			}
			if got := l.queues[0].produced.Load(); got != total+st.Packets {
				t.Errorf("%d were redirected, want %d and those of the neighbour", got, st.Packets)
			}
			// The time comes when the next are due.
			conformance.Until(t, func() bool {
				w.inject(t, conformance.UDPFrame(w.mac, 1, []byte("x")))
				return c.Stats().Packets > st.Packets+burst
			})
		})
	}
}

// TestCreditSurvivesLoss loses packets that the program has counted, by closing the socket whose ring they are in. The channel, which goes on with
// another link, has all its credit again.
func TestCreditSurvivesLoss(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	var other *Link
	must(t, w.here.Do(func() error {
		l, err := n.OpenLink(nodeos.LinkSpec{Name: "jnl1", Driver: "xdp"})
		if err == nil {
			other = l.(*Link)
		}
		return err
	}))
	const quota = 40
	c := inChan(t, n, nodeos.InChanSpec{Protocol: "if/ether/ip/udp", Quota: quota}, 1, nil)
	frame := conformance.UDPFrame(w.mac, 1, []byte("x"))
	held, resume := make(chan bool), make(chan bool)
	n.Worker(0).Post(func() { held <- true; <-resume })
	<-held
	for range quota + 10 {
		w.inject(t, frame)
	}
	conformance.Until(t, func() bool { return c.Stats().Full == 10 })
	closed := make(chan error)
	go func() { closed <- n.CloseLink("l0") }()
	conformance.Until(t, func() bool { _, err := n.Link("l0"); return err != nil })
	if got := onTheWay(other, c); got != quota {
		t.Errorf("%d on the way, want %d", got, quota)
	}
	close(resume)
	must(t, <-closed)
	if l.chans != other.chans {
		t.Error("two links of a node have cells of their own")
	}
	held2 := int64(c.Stats().Held) // what the worker has taken from the ring before it closed it
	conformance.Until(t, func() bool { return onTheWay(other, c) == held2 })

	// What of it is right: as many as there is room for come.
	l = w.open(t, n, spec(nil))
	for range quota + 10 {
		w.inject(t, frame)
	}
	conformance.Until(t, func() bool { return c.Stats().Held == quota })
	conformance.Until(t, func() bool { return c.Stats().Full == 20+uint64(held2) })
	n.Worker(0).Call(func() {
		var b packet.Batch
		if got := c.Receive(&b); got != quota {
			t.Errorf("received %d", got)
		}
		n.Worker(0).Cache().FreeBatch(&b)
	})
	if got := onTheWay(l, c); got != 0 {
		t.Errorf("%d on the way at the end", got)
	}
}

// TestCellsAreGivenBack ends domains whose channels are flooded, and finds their cells as if they had never been used.
func TestCellsAreGivenBack(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	end := w.flood(t, conformance.UDPFrame(w.mac, conformance.Port, make([]byte, 22)))
	var most uint32
	for i := range 10 {
		d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprint("d", i)}})
		must(t, err)
		c, err := d.NewInChan(nodeos.InChanSpec{Protocol: "l0/ether/ip/udp", Address: fmt.Sprintf(":%d", conformance.Port), Quota: 32, Rate: 1000000, Burst: 1000})
		must(t, err)
		slot, ok := c.Slot()
		if !ok {
			t.Fatal("a channel on a link has no slot")
		}
		most = max(most, slot)
		conformance.Until(t, func() bool { st := c.Stats(); return st.Full+st.Limited > 200 && st.Held > 0 })
		d.Terminate(nil)
		<-d.Done()
		if st := c.Stats(); st.Full+st.Limited <= 200 || st.Held != 0 {
			t.Errorf("%+v", st)
		}
	}
	conformance.Until(t, func() bool {
		for slot := range most + 1 {
			for off := 0; off < chanSize; off += 8 {
				want := uint64(0)
				if off == chanCredit {
					want = math.MaxInt64
				}
				if l.chans.word(slot, off).Load() != want {
					return false
				}
			}
		}
		return true
	})
	end()
	must(t, n.CloseLink("l0"))
	if s := n.Pool().Stats(); s.ByState[packet.Free] != n.Pool().Spec().Frames || len(s.Charged) > 0 {
		t.Errorf("states %v, charged %v", s.ByState, s.Charged)
	}
	if len(shared.nodes) != 0 {
		t.Errorf("cells stay: %v", shared.nodes)
	}
	if err := l.chans.Settle(); err == nil {
		t.Error("closed cells can be waited for")
	}
}

// TestChannelsComeAndGo makes and closes a thousand channels while another has traffic, and loses none of it.
func TestChannelsComeAndGo(t *testing.T) {
	w := newNetwork(t, 1)
	n := conformance.NewNode(t)
	l := w.open(t, n, spec(nil))
	sink := &numbered{n: n}
	stable := inChan(t, n, nodeos.InChanSpec{}, 2, sink.take)
	stop, stopped := make(chan bool), make(chan uint32)
	go func() {
		for i := uint32(0); ; i++ {
			for i-uint32(stable.Stats().Packets) >= 50 {
				select {
				case <-stop:
					stopped <- i
					return
				default:
				}
			}
			select {
			case <-stop:
				stopped <- i
				return
			default:
			}
			w.inject(t, conformance.UDPFrame(w.mac, 2, binary.BigEndian.AppendUint32(nil, i)))
		}
	}()
	const count = 1000
	for range 2 {
		var cs []*nodeos.InChan
		for i := range count {
			cs = append(cs, inChan(t, n, nodeos.InChanSpec{}, 10000+i, nil))
		}
		for _, c := range cs {
			c.Close()
		}
	}
	close(stop)
	sent := <-stopped
	conformance.Until(t, func() bool { got, _ := sink.state(); return got == sent })
	if _, bad := sink.state(); bad > 0 || sent < 200 {
		t.Errorf("%d packets came, %d not in their turn", sent, bad)
	}
	if st := stable.Stats(); st.Full != 0 || l.Stats().RxDrops != 0 {
		t.Errorf("%+v, %+v", st, l.Stats())
	}
	conformance.Until(t, func() bool { // when the last have been waited for
		c := inChan(t, n, nodeos.InChanSpec{}, 1, nil)
		slot, _ := c.Slot()
		c.Close()
		return slot < count
	})
	t.Logf("%d packets meanwhile", sent)
}
