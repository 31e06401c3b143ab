package bench

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

func init() {
	register(Scenario{Name: "packet-alloc", Tier: "memory", Title: "packet memory: allocate, fill, clone, write, free",
		Text: "Packets of 64 bytes from a node's pool, charged to a domain with a limit, filled from 1,024 distinct frames, and freed: one at a time, " +
			"and 32 at a time. 'written clone' makes a second view of a packet, and copies its frame because it is written to.",
		Open: openAlloc})
	register(Scenario{Name: "lookup-100k", Tier: "memory", Title: "longest-prefix lookup in 100,000 routes",
		Text: "The table that RadixIPLookup uses, with 100,000 networks of 24 bits and four broader ones; 16,384 random addresses in turn, all with a route. " +
			"Only the lookup.",
		Open: openLookup})
	register(Scenario{Name: "handoff", Tier: "memory", Title: "packets handed from one domain to another",
		Text: "On one worker a task of one domain allocates packets of 64 bytes and hands them to a channel of another domain, whose handler frees them in that " +
			"domain's turn: the change of the charge, the queue and the dispatcher are included, and processor time is that of the process.",
		Open: openHandOff})
	register(Scenario{Name: "resctl", Tier: "memory", Title: "accounts: debit, credit, settle, choose who runs",
		Text: "An account three levels below the root with limits on the way. 'meter' takes and returns a frame by a worker's meter, which settles with " +
			"the tree every 32 packets; 'account' does it on the tree; 'schedule' chooses the next of so many domains and charges its run.",
		Open: openAccounts})
}

// opsTrial is a trial of operations that PerUnit measures one after the other.
type opsTrial struct {
	rows  []opsRow
	then  func(r *Round) error // ratios; may be nil
	close func() error         // may be nil

	closers []func() error // called by Close, the last one first
}

type opsRow struct {
	name, unit string
	op         func(n int) error
}

// Measure implements Trial.
func (t *opsTrial) Measure(r *Round) error {
	for _, w := range t.rows {
		if err := r.PerUnit(w.name, w.unit, w.op); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if t.then == nil {
		return nil
	}
	return t.then(r)
}

// Close implements Trial.
func (t *opsTrial) Close() error {
	var first error
	if t.close != nil {
		first = t.close()
	}
	for _, fn := range slices.Backward(t.closers) {
		first = firstError(first, fn())
	}
	return first
}

// stepped makes a node that the trial drives, with the machine's clock.
func stepped(e *Env) (*nodeos.Node, error) {
	return nodeos.NewNode(nodeos.NodeSpec{Name: "bench", Clock: e.Clock, Seed: e.Seed, Stepped: true, Packets: packet.PoolSpec{Frames: 4096}})
}

var errNoFrame = errs.New(errs.NoMemory, "bench: no frame")

func openAlloc(e *Env) (Trial, error) {
	n, err := stepped(e)
	if err != nil {
		return nil, err
	}
	t := &opsTrial{close: func() error { return closeNode(n) }}
	d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "a", Limit: resctl.Amounts{resctl.Frames: 1024}}})
	if err != nil {
		return nil, closeAfter(t, err)
	}
	fs := toOneNet(e.rand(1))
	w := n.Worker(0)
	c, o, m := w.Cache(), d.Owner(), d.Account().Meter(0)
	t.rows = []opsRow{
		{"one", "packet", func(n int) error {
			for i := range n {
				p := c.AllocFrom(o, fs[i%distinct])
				if p == nil {
					return errNoFrame
				}
				c.Free(p)
				if i%32 == 31 {
					m.Fold()
				}
			}
			return nil
		}},
		{"batch of 32", "packet", func(n int) error {
			var b packet.Batch
			for i := 0; i < n; i += 32 {
				if c.AllocBatch(o, &b, 32) != 32 {
					return errNoFrame
				}
				for k, p := range b.Packets() {
					f := fs[(i+k)%distinct]
					copy(p.Put(len(f)), f)
				}
				c.FreeBatch(&b)
				m.Fold()
			}
			return nil
		}},
		{"written clone", "packet", func(n int) error {
			for i := range n {
				p := c.AllocFrom(o, fs[i%distinct])
				if p == nil {
					return errNoFrame
				}
				q := c.Clone(p)
				if q == nil || !c.Unshare(q) {
					return errNoFrame
				}
				q.Data()[0]++
				c.Free(q)
				c.Free(p)
				if i%32 == 31 {
					m.Fold()
				}
			}
			return nil
		}},
	}
	return t, nil
}

func openLookup(e *Env) (Trial, error) {
	table := ip.NewTable()
	for i := range routes {
		table.Set(ip.Route{Prefix: netip.PrefixFrom(netip.AddrFrom4(network(i)), 24), Port: i % 4})
	}
	for i, p := range []string{"11.0.0.0/12", "11.128.0.0/9", "12.0.0.0/8", "0.0.0.0/0"} {
		table.Set(ip.Route{Prefix: netip.MustParsePrefix(p), Port: i})
	}
	r := e.rand(1)
	addrs := make([]netip.Addr, 1<<14)
	for i := range addrs {
		a := network(r.IntN(routes))
		a[3] = byte(r.IntN(256))
		addrs[i] = netip.AddrFrom4(a)
	}
	return &opsTrial{rows: []opsRow{{"lookup", "lookup", func(n int) error {
		ports := 0
		for i := range n {
			rt, ok := table.Lookup(addrs[i&(1<<14-1)])
			if !ok {
				return errs.New(errs.Internal, "%v has no route", addrs[i&(1<<14-1)])
			}
			ports += rt.Port
		}
		sink += uint32(ports)
		return nil
	}}}}, nil
}

func openHandOff(e *Env) (Trial, error) {
	n, err := stepped(e)
	if err != nil {
		return nil, err
	}
	t := &opsTrial{close: func() error { return closeNode(n) }}
	var ds [2]*nodeos.Domain
	for i, name := range []string{"from", "to"} {
		ds[i], err = n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: name, Limit: resctl.Amounts{resctl.Frames: 1024}}})
		if err != nil {
			return nil, closeAfter(t, err)
		}
	}
	got := 0
	in, err := ds[1].NewInChan(nodeos.InChanSpec{HandOffOnly: true, Worker: -1, Handler: func(w *nodeos.Worker, b *packet.Batch) {
		got += b.Len()
		w.Cache().FreeBatch(b)
	}})
	if err != nil {
		return nil, closeAfter(t, err)
	}
	fs := toOneNet(e.rand(1))
	left, batch, next := 0, 1, 0
	var b packet.Batch
	task, err := ds[0].NewTask(nodeos.TaskSpec{Name: "source", Worker: -1, Run: nodeos.RunFunc(func(u nodeos.Budget) nodeos.Used {
		k := u.Worker.Cache().AllocBatch(ds[0].Owner(), &b, min(batch, left))
		for _, p := range b.Packets() {
			copy(p.Put(64), fs[next%distinct])
			next++
		}
		left -= k
		in.HandOff(u.Worker, &b)
		if left == 0 || k == 0 {
			return nodeos.Used{Packets: k}
		}
		return nodeos.Used{Packets: k, Next: nodeos.More}
	})})
	if err != nil {
		return nil, closeAfter(t, err)
	}
	for _, size := range []int{1, 32} {
		t.rows = append(t.rows, opsRow{fmt.Sprintf("batch of %d", size), "packet", func(k int) error {
			batch, left = size, k
			before := got
			task.Wake()
			for n.Step() {
			}
			if got-before != k {
				return errs.New(errs.Internal, "%d of %d packets arrived", got-before, k)
			}
			return nil
		}})
	}
	return t, nil
}

func openAccounts(e *Env) (Trial, error) {
	root, err := resctl.NewTree(resctl.Spec{Name: "node", Limit: resctl.Amounts{resctl.Frames: 1 << 20}}, e.Clock, 1)
	if err != nil {
		return nil, err
	}
	t := &opsTrial{}
	a := root
	for i := range 3 {
		if a, err = a.NewChild(resctl.Spec{Name: fmt.Sprintf("level%d", i), Limit: resctl.Amounts{resctl.Frames: 1 << 16}}); err != nil {
			return nil, err
		}
	}
	m := a.Meter(0)
	refused := errs.New(errs.Internal, "a debit within the limit was refused")
	t.rows = []opsRow{
		{"meter", "op", func(n int) error {
			for i := range n {
				if !m.TryTake(resctl.Frames, 1) {
					return refused
				}
				m.Return(resctl.Frames, 1)
				if i%32 == 31 {
					m.Fold()
				}
			}
			return nil
		}},
		{"account", "op", func(n int) error {
			for range n {
				if a.Take(resctl.Frames, 1) != nil {
					return refused
				}
				a.Return(resctl.Frames, 1)
			}
			return nil
		}},
	}
	for _, k := range []int{4, 1000} {
		g, err := root.NewChild(resctl.Spec{Name: fmt.Sprintf("of%d", k)})
		if err != nil {
			return nil, err
		}
		s := resctl.NewScheduler(g, 0)
		for i := range k {
			d, err := g.NewChild(resctl.Spec{Name: fmt.Sprint(i), Share: resctl.Share(50 + i%100)})
			if err != nil {
				return nil, err
			}
			s.Wake(s.NewEntity(d))
		}
		t.rows = append(t.rows, opsRow{fmt.Sprintf("schedule %d", k), "run", func(n int) error {
			for range n {
				e, _ := s.Pick(0)
				if e == nil {
					return errs.New(errs.Internal, "nobody may run")
				}
				s.Charge(e, 1000)
			}
			return nil
		}})
	}
	return t, nil
}
