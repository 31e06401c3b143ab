package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/lab"
)

// sample is what both sides counted at one interface of a node, at a moment when neither changed.
type sample struct {
	node, iface, link string
	end               int

	kernelRx, kernelTx uint64 // by the kernel, all packets

	capsulesIn  uint64 // by the node: capsules accepted by the EE's channel
	capsulesOut uint64 // capsules that the EE gave to the link
	routingIn   uint64 // messages of routing
	linkRx      uint64 // frames that the driver received
	linkTx      uint64 // frames that the driver sent
}

// key names an interface.
func (s *sample) key() string { return s.node + "/" + s.iface }

// stableTries bounds how often an interface is looked at until it stands still for a moment. Hellos cross each
// link five times a second, so a look succeeds nine times out of ten.
const stableTries = 60

// counts reads all interfaces. Each sample is taken between two equal readings of the node's own counters, so that
// kernel and node are compared at one moment although neither can be stopped.
func (d *demo) counts(ctx context.Context) (map[string]sample, error) {
	out := make(map[string]sample)
	var missing string
	for range stableTries {
		before := d.nodeCounts(ctx)
		kernel, err := d.lab.Counters(ctx)
		if err != nil {
			return nil, err
		}
		after := d.nodeCounts(ctx)
		missing = ""
		for _, k := range kernel {
			if k.Wire || !d.alive[k.Node] {
				continue
			}
			key := k.Node + "/" + k.Interface
			if _, have := out[key]; have {
				continue
			}
			a, b := before[key], after[key]
			if a == nil || b == nil || *a != *b {
				missing = key
				continue
			}
			s := *a
			s.link, s.end, s.kernelRx, s.kernelTx = k.Link, k.End, k.RxPackets, k.TxPackets
			out[key] = s
		}
		if missing == "" {
			return out, nil
		}
	}
	return nil, errs.New(errs.Timeout, "the counters of %s did not stand still in %d looks", missing, stableTries)
}

// nodeCounts reads what the nodes themselves counted, by interface.
func (d *demo) nodeCounts(ctx context.Context) map[string]*sample {
	out := make(map[string]*sample)
	for _, n := range d.plan.Nodes {
		if !d.alive[n.Name] {
			continue
		}
		st, err := d.client(n.Name).Status(ctx)
		if err != nil {
			continue
		}
		for _, l := range st.Links {
			s := &sample{node: n.Name, iface: l.Name, linkRx: l.Stats.RxPackets, linkTx: l.Stats.TxPackets}
			for _, c := range st.Channels {
				s.add(l.Name, &c)
			}
			out[s.key()] = s
		}
	}
	return out
}

// add counts a channel that belongs to the link.
func (s *sample) add(link string, c *control.Channel) {
	switch {
	case c.Protocol == "ants port "+link:
		s.capsulesOut += c.Stats.Packets
	case !strings.HasPrefix(c.Protocol, link+"/"):
	case strings.HasSuffix(c.Domain, "/routing"):
		s.routingIn += c.Stats.Packets
	default:
		s.capsulesIn += c.Stats.Packets
	}
}

// diff is what happened at an interface between two samples.
func diff(a, b sample) sample {
	b.kernelRx -= a.kernelRx
	b.kernelTx -= a.kernelTx
	b.capsulesIn -= a.capsulesIn
	b.capsulesOut -= a.capsulesOut
	b.routingIn -= a.routingIn
	b.linkRx -= a.linkRx
	b.linkTx -= a.linkTx
	return b
}

// compare checks a phase's counts: with quiet set every packet on every link must be one that the nodes know of.
// It returns the differences by interface.
func (d *demo) compare(phase string, before, after map[string]sample, quiet bool) map[string]sample {
	exact := quiet && d.exact
	deltas := make(map[string]sample)
	bad, n := []string{}, 0
	for key, b := range after {
		a, ok := before[key]
		if !ok {
			continue
		}
		x := diff(a, b)
		deltas[key] = x
		n++
		known := x.capsulesIn + x.routingIn
		switch {
		case exact && x.kernelRx != known:
			bad = append(bad, fmt.Sprintf("%s: the kernel received %d packets, the node's channels %d", key, x.kernelRx, known))
		case exact && x.kernelTx != x.linkTx:
			bad = append(bad, fmt.Sprintf("%s: the kernel sent %d packets, the node %d", key, x.kernelTx, x.linkTx))
		case x.kernelRx < known || x.kernelTx < x.linkTx:
			bad = append(bad, fmt.Sprintf("%s: the kernel counted %d in and %d out, fewer than the node's %d and %d", key, x.kernelRx, x.kernelTx, known, x.linkTx))
		}
	}
	how := "no fewer packets than"
	if exact {
		how = "exactly the packets of"
	}
	d.check(fmt.Sprintf("%s: at %d interfaces the kernel counted %s the nodes", phase, n, how), len(bad) == 0 && n > 0, strings.Join(bad, "; "))

	// What one end says it sent, the other end says it received: links here lose nothing.
	bad = bad[:0]
	for _, l := range d.plan.Links {
		for e := range 2 {
			from, ok1 := deltas[d.endKey(l.Ends[e])]
			to, ok2 := deltas[d.endKey(l.Ends[1-e])]
			if ok1 && ok2 && from.capsulesOut != to.capsulesIn {
				bad = append(bad, fmt.Sprintf("link %s: %s sent %d capsules, %s received %d", l.Name, from.node, from.capsulesOut, to.node, to.capsulesIn))
			}
		}
	}
	if quiet {
		d.check(phase+": every capsule sent on a link was received at its other end", len(bad) == 0, strings.Join(bad, "; "))
	}
	return deltas
}

func (d *demo) endKey(e lab.End) string {
	n := &d.plan.Nodes[e.Node]
	return n.Name + "/" + n.Interfaces[e.Interface].Name
}

// copies lists which links carried capsules in a phase.
func (d *demo) copies(deltas map[string]sample) []Copies {
	var out []Copies
	for _, l := range d.plan.Links {
		for e := range 2 {
			from, to := deltas[d.endKey(l.Ends[e])], deltas[d.endKey(l.Ends[1-e])]
			if from.capsulesOut > 0 {
				out = append(out, Copies{Link: l.Name, From: from.node, To: to.node, Count: int(from.capsulesOut)})
			}
		}
	}
	return out
}

// settle waits until capsules are no longer under way: two readings a little apart are the same.
func (d *demo) settle(ctx context.Context) {
	last := uint64(0)
	for range 100 {
		sum := uint64(0)
		for _, s := range d.nodeCounts(ctx) {
			sum += s.capsulesIn + s.capsulesOut
		}
		if sum == last {
			return
		}
		last = sum
		if !sleep(ctx, 50*time.Millisecond) {
			return
		}
	}
}

// sleep waits, or returns false early when the context ends.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
