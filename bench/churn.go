package bench

import (
	"fmt"
	"runtime"
	"time"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func init() {
	register(Scenario{Name: "churn", Tier: "memory", Driver: "mem", Title: "domains and channels made and destroyed under load",
		Text: "One worker forwards as fast as it can from one end of a link in memory to the other, with at most 2,048 packets waiting: UDP packets of 64 bytes to 64 ports, of " +
			"which 32 have a channel that stays. For the " +
			"others a domain is made with a channel of its own, which fills up and is never read, and destroyed when 16 younger ones exist; each waits until the " +
			"former is dead. Every step changes the program that demultiplexes. Rates are by the clock. 'lost' are packets to channels that stay; " +
			"'leaked' are frames charged to nobody alive when all are dead. Bytes are of the Go heap, 256 of each kind, without load.",
		Open: openChurn})
}

// churnTrial is a node that sends to itself.
type churnTrial struct {
	env       *Env
	node      *nodeos.Node
	task      *nodeos.Task
	link, far nodeos.Link
	frames    [][]byte
	stay      []*nodeos.InChan
	on        bool   // on the worker, like all below
	sent      uint64 // frames
	sentStay  uint64 // of them, to channels that stay
	got       uint64 // by those
	lost      uint64 // in former rounds
	next      int
	port      int // of the next domain
	serial    int
}

const (
	churnPorts = 64
	churnStay  = 32
	churnLive  = 16
	churnBase  = 1000 // first port
)

func openChurn(e *Env) (Trial, error) {
	t := &churnTrial{env: e}
	var err error
	if t.node, err = nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed}); err != nil {
		return nil, err
	}
	if err := t.build(e); err != nil {
		return nil, closeAfter(t, err)
	}
	return t, nil
}

// openEnds opens both ends of a link in memory on a node, m0 and m1, with rings of so many frames. The node closes what it has been given.
func openEnds(n *nodeos.Node, ring int) (m0, m1 nodeos.Link, err error) {
	net := mem.NewNet()
	for _, l := range []struct {
		to   *nodeos.Link
		name string
	}{{&m0, "m0"}, {&m1, "m1"}} {
		*l.to, err = net.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: l.name, Device: "segment", Ring: ring, Opts: map[string]string{"promisc": "true"}})
		if err == nil {
			err = n.AddLink(*l.to, 0)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return m0, m1, nil
}

func (t *churnTrial) build(e *Env) error {
	var err error
	if t.link, t.far, err = openEnds(t.node, 4096); err != nil {
		return err
	}
	t.frames = toOneNet(e.rand(7))
	for i, f := range t.frames {
		t.frames[i] = frame64(toMAC, fromMAC, [4]byte(f[26:30]), [4]byte(f[30:34]), uint16(1024+i), uint16(churnBase+i%churnPorts))
	}
	stay, err := t.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "stay"}})
	if err != nil {
		return err
	}
	for i := range churnStay {
		c, err := stay.NewInChan(nodeos.InChanSpec{Protocol: "m1/ether/ip/udp", Address: fmt.Sprintf(":%d", churnBase+i), Quota: 4096, Worker: -1,
			Handler: func(w *nodeos.Worker, b *packet.Batch) {
				t.got += uint64(b.Len())
				w.Cache().FreeBatch(b)
			}})
		if err != nil {
			return err
		}
		t.stay = append(t.stay, c)
	}
	load, err := t.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "load"}})
	if err != nil {
		return err
	}
	out, err := load.NewOutChan(nodeos.OutChanSpec{Protocol: "m0"})
	if err != nil {
		return err
	}
	var b packet.Batch
	t.task, err = load.NewTask(nodeos.TaskSpec{Name: "generator", Worker: -1, Run: nodeos.RunFunc(func(u nodeos.Budget) nodeos.Used {
		if !t.on {
			return nodeos.Used{}
		}
		st := t.far.Stats()
		// As many as the queues of the link and of the channels hold with ease, so that a loss has another cause.
		if t.sent-st.RxPackets-st.RxDrops > 2048 || t.sentStay-t.got-t.lost > 2048 {
			return nodeos.Used{Next: nodeos.More}
		}
		n := u.Worker.Cache().AllocBatch(load.Owner(), &b, 32)
		for _, p := range b.Packets() {
			copy(p.Put(64), t.frames[t.next])
			if t.next%churnPorts < churnStay {
				t.sentStay++
			}
			if t.next++; t.next == len(t.frames) {
				t.next = 0
			}
		}
		t.sent += uint64(n)
		out.Send(u.Worker, &b)
		return nodeos.Used{Packets: n, Next: nodeos.More}
	})})
	return err
}

// count adds up a counter of the channels that stay.
func (t *churnTrial) count(of func(nodeos.ChanStats) uint64) (n uint64) {
	for _, c := range t.stay {
		n += of(c.Stats())
	}
	return n
}

// newDomain makes a domain with a channel that nobody reads.
func (t *churnTrial) newDomain() (*nodeos.Domain, error) {
	t.serial++
	d, err := t.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprintf("d%d", t.serial), Limit: resctl.Amounts{resctl.Frames: 64}}})
	if err != nil {
		return nil, err
	}
	t.port++
	_, err = d.NewInChan(t.channel(t.port))
	return d, err
}

func (t *churnTrial) channel(i int) nodeos.InChanSpec {
	return nodeos.InChanSpec{Protocol: "m1/ether/ip/udp", Address: fmt.Sprintf(":%d", churnBase+churnStay+i%(churnPorts-churnStay)), Quota: 64, Worker: -1}
}

// end destroys a domain and waits until it is dead.
func (t *churnTrial) end(d *nodeos.Domain) error {
	d.Terminate(errs.New(errs.Dead, "its time is over"))
	select {
	case <-d.Done():
		return nil
	case <-t.env.Context.Done():
		return t.env.Context.Err()
	}
}

// Measure implements Trial.
func (t *churnTrial) Measure(r *Round) error {
	w := t.node.Worker(0)
	var sent0, stay0, got0 uint64
	if !w.Call(func() {
		t.on = true
		sent0, stay0, got0 = t.sent, t.sentStay, t.got
		t.task.Wake()
	}) {
		return errs.New(errs.Dead, "the node has ended")
	}
	// First the channels of one domain, then domains.
	start, n := t.env.Clock.Now(), 0
	d, err := t.newDomain()
	if err != nil {
		return err
	}
	for i := 0; t.env.Clock.Now().Sub(start) < t.env.Time || n == 0; i++ {
		c, err := d.NewInChan(t.channel(t.port + 1 + i%(churnLive)))
		if err != nil {
			return err
		}
		c.Close()
		n++
	}
	channels := float64(n) / t.env.Clock.Now().Sub(start).Seconds()
	live := []*nodeos.Domain{d}
	start, n = t.env.Clock.Now(), 0
	for t.env.Clock.Now().Sub(start) < t.env.Time || n == 0 {
		d, err := t.newDomain()
		if err != nil {
			return err
		}
		live = append(live, d)
		if len(live) > churnLive {
			if err := t.end(live[0]); err != nil {
				return err
			}
			live = live[1:]
			n++
		}
	}
	domains := float64(n) / t.env.Clock.Now().Sub(start).Seconds()
	for _, d := range live {
		if err := t.end(d); err != nil {
			return err
		}
	}
	var sent, lost uint64
	w.Call(func() { t.on = false })
	for limit := t.env.Clock.Now().Add(time.Second); ; {
		w.Call(func() { sent, lost = t.sent-sent0, (t.sentStay-stay0)-(t.got-got0) })
		if lost == 0 || t.env.Clock.Now() > limit {
			break
		}
	}
	if lost > 0 {
		w.Call(func() { t.lost += lost })
		st, near := t.far.Stats(), t.link.Stats()
		r.Note("%d packets lost: the link dropped %d on arrival and %d on sending, and found no channel for %d; the channels dropped: full %d, poor %d", lost,
			st.RxDrops, near.TxDrops, st.Unclaimed, t.count(func(s nodeos.ChanStats) uint64 { return s.Full }), t.count(func(s nodeos.ChanStats) uint64 { return s.Poor }))
	}
	leaked := 0
	w.Call(func() { leaked = held(t.node) })
	perDomain, perChannel, err := t.bytes()
	if err != nil {
		return err
	}
	r.Add("domains with a channel", "1/s", domains)
	r.Add("channels of one domain", "1/s", channels)
	r.Add("packets sent", "packets", float64(sent))
	r.Add("lost at channels that stay", "lost", float64(lost))
	r.Add("frames leaked", "frames", float64(leaked))
	r.Add("a domain", "B/domain", perDomain)
	r.Add("a channel", "B/channel", perChannel)
	return nil
}

// bytes returns what domains and channels take of the heap.
func (t *churnTrial) bytes() (domain, channel float64, err error) {
	const n = 256
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	ds := make([]*nodeos.Domain, n)
	h0 := heap()
	for i := range ds {
		t.serial++
		if ds[i], err = t.node.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: fmt.Sprintf("d%d", t.serial)}}); err != nil {
			return 0, 0, err
		}
	}
	h1 := heap()
	for i := range ds {
		if _, err = ds[i].NewInChan(t.channel(i)); err != nil {
			return 0, 0, err
		}
	}
	h2 := heap()
	for _, d := range ds {
		if err := t.end(d); err != nil {
			return 0, 0, err
		}
	}
	return (h1 - h0) / n, (h2 - h1) / n, nil
}

// Close implements Trial.
func (t *churnTrial) Close() error { return closeNode(t.node) }
