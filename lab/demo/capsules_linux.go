package demo

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/janos-os/janos/control"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
)

const (
	groupData = 40
	groupPort = 5000
	tracePort = 5001
)

// ping sends 100 ping capsules twice: their code is loaded hop by hop the first time, and is there the second time.
func (d *demo) ping(ctx context.Context) error {
	to := d.receivers[0]
	d.p.phase("ping: %d capsules from %s to %s and back, in code that only %s has", pings, d.source, to, d.source)
	d.rep.Ping.From, d.rep.Ping.To = d.source, to
	if err := d.register(ctx, d.source, "ping/protocol.yaml"); err != nil {
		return err
	}
	since := make(map[string]uint64)
	if _, err := d.eventsOf(ctx, since); err != nil {
		return err
	}
	loadsBefore, err := d.loadPackets(ctx)
	if err != nil {
		return err
	}
	before, err := d.counts(ctx)
	if err != nil {
		return err
	}
	probe := func() (Quantiles, error) {
		d.p.progress("pinging")
		r, err := d.client(d.source).Probe(ctx, d.pingTo(to, pings, pingInterval))
		if err != nil {
			return Quantiles{}, err
		}
		q := quantiles(r.Sent, r.RTT)
		if r.Duplicates > 0 {
			d.check("no ping came back twice", false, fmt.Sprintf("%d did", r.Duplicates))
		}
		return q, nil
	}
	if d.rep.Ping.Cold, err = probe(); err != nil {
		return err
	}
	ev, err := d.eventsOf(ctx, since)
	if err != nil {
		return err
	}
	d.rep.Ping.Loads = d.loads(ev)
	if d.rep.Ping.Warm, err = probe(); err != nil {
		return err
	}
	if ev, err = d.eventsOf(ctx, since); err != nil {
		return err
	}
	d.rep.Ping.Second = len(d.loads(ev))
	d.settle(ctx)
	after, err := d.counts(ctx)
	if err != nil {
		return err
	}
	d.p.line("first use:  %s", d.rep.Ping.Cold)
	for _, l := range d.rep.Ping.Loads {
		d.p.line("   %s asked %s and had %d bytes in %d chunk(s) after %s", l.Node, l.From, l.Bytes, l.Chunks, short(l.Took))
	}
	d.p.line("second use: %s, %d loads", d.rep.Ping.Warm, d.rep.Ping.Second)
	d.check("no ping was lost", d.rep.Ping.Cold.Lost+d.rep.Ping.Warm.Lost == 0, fmt.Sprintf("%d cold, %d warm", d.rep.Ping.Cold.Lost, d.rep.Ping.Warm.Lost))
	d.check("code was loaded on first use, from the previous hop, and not on second", len(d.rep.Ping.Loads) > 0 && d.rep.Ping.Second == 0,
		fmt.Sprintf("%d loads, then %d", len(d.rep.Ping.Loads), d.rep.Ping.Second))
	deltas := d.compare("ping", before, after, true)
	sum := uint64(0)
	for _, s := range deltas {
		sum += s.capsulesOut
	}
	loadsAfter, err := d.loadPackets(ctx)
	if err != nil {
		return err
	}
	// Each ping crosses each link of its path once each way. Every node on the path but the source loaded once, so there
	// are as many links as loads.
	hops := len(d.rep.Ping.Loads)
	want := uint64(2*pings*2*hops) + loadsAfter - loadsBefore
	d.check(fmt.Sprintf("links carried %d capsules: %d pings there and back over %d links, and %d packets of loading", sum, 2*pings, hops, loadsAfter-loadsBefore),
		sum == want, fmt.Sprintf("expected %d", want))
	return nil
}

// loadPackets sums the requests and answers of code loading that all nodes have sent.
func (d *demo) loadPackets(ctx context.Context) (n uint64, err error) {
	for _, p := range d.plan.Nodes {
		if !d.alive[p.Name] {
			continue
		}
		a, err := d.client(p.Name).ANTS(ctx)
		if err != nil {
			return 0, err
		}
		n += a.Counts.Requests + a.Counts.DirsOut + a.Counts.ChunksOut + a.Counts.ErrorsSent
	}
	return n, nil
}

func (d *demo) pingTo(to string, count int, interval time.Duration) control.ProbeRequest {
	return control.ProbeRequest{SendRequest: control.SendRequest{
		Protocol: "ping", Class: "ping", Dst: d.addrs[to], Payload: make([]byte, pingBytes), Count: count, Interval: interval, SeqAt: 1,
	}, Wait: 2 * time.Second}
}

// loads lists the completed loads in events, in the order of their time on each node.
func (d *demo) loads(ev map[string][]nodeEvent) []Load {
	var out []Load
	for _, n := range d.plan.Nodes {
		for _, e := range ev[n.Name] {
			if e.Kind == string(ants.LoadCompleted) {
				out = append(out, Load{Node: n.Name, From: d.names[e.Peer], Bytes: e.Bytes, Chunks: e.Chunks, Took: e.Took})
			}
		}
	}
	// Along the path: each after the one it asked.
	slices.SortStableFunc(out, func(a, b Load) int { return d.hopsFrom(out, a) - d.hopsFrom(out, b) })
	return out
}

func (d *demo) hopsFrom(all []Load, l Load) int {
	n := 0
	for l.From != d.source && n < len(all) {
		i := slices.IndexFunc(all, func(x Load) bool { return x.Node == l.From })
		if i < 0 {
			break
		}
		l = all[i]
		n++
	}
	return n
}

// multicast subscribes three receivers and sends to the group: one copy on each link of the tree.
func (d *demo) multicast(ctx context.Context) error {
	m := &d.rep.Multicast
	m.Source, m.Receivers, m.Delivered = d.source, d.receivers[:3], make(map[string]int)
	d.p.phase("multicast: %d capsules from %s to %s, copied in the network", groupData, m.Source, strings.Join(m.Receivers, ", "))
	for _, n := range append([]string{d.source}, m.Receivers...) {
		if err := d.register(ctx, n, "multicast/protocol.yaml"); err != nil {
			return err
		}
	}
	rctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	errc := make(chan error, len(m.Receivers))
	for _, n := range m.Receivers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errc <- d.client(n).Receive(rctx, groupPort, func(control.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				m.Delivered[n]++
				return nil
			})
		}()
	}
	head := make([]byte, 12)
	binary.BigEndian.PutUint32(head[senderAt:], uint32(d.addrs[d.source]))
	binary.BigEndian.PutUint32(head[groupAt:], 1)
	for _, n := range m.Receivers {
		if _, err := d.client(n).Send(ctx, control.SendRequest{
			Protocol: "multicast", Class: "subscribe", Dst: d.addrs[d.source], DstPort: groupPort, Payload: head[:8],
		}); err != nil {
			return err
		}
	}
	d.p.progress("subscribing")
	sleep(ctx, 300*time.Millisecond) // the code has to travel towards the sender
	d.settle(ctx)
	before, err := d.counts(ctx)
	if err != nil {
		return err
	}
	d.p.progress("sending")
	if _, err := d.client(d.source).Send(ctx, control.SendRequest{
		Protocol: "multicast", Class: "data", Dst: d.addrs[d.source], DstPort: groupPort, Payload: head, Count: groupData, Interval: 10 * time.Millisecond, SeqAt: 9,
	}); err != nil {
		return err
	}
	m.Sent = groupData
	deadline := time.Now().Add(2 * time.Second)
	all := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range m.Receivers {
			if m.Delivered[n] < groupData {
				return false
			}
		}
		return true
	}
	for !all() && time.Now().Before(deadline) && sleep(ctx, 20*time.Millisecond) {
	}
	d.settle(ctx)
	after, err := d.counts(ctx)
	if err != nil {
		return err
	}
	stop()
	wg.Wait()
	for range m.Receivers {
		if err := <-errc; err != nil {
			return err
		}
	}
	deltas := d.compare("multicast", before, after, true)
	m.Copies = d.copies(deltas)
	var text []string
	one := true
	for _, c := range m.Copies {
		text = append(text, fmt.Sprintf("%s-%s %d", c.From, c.To, c.Count))
		one = one && c.Count == groupData
	}
	d.p.line("delivered: %s", counted(m.Receivers, m.Delivered))
	d.p.line("copies on links: %s", strings.Join(text, ", "))
	got := true
	for _, n := range m.Receivers {
		got = got && m.Delivered[n] == groupData
	}
	d.check(fmt.Sprintf("each receiver got all %d, once", groupData), got, counted(m.Receivers, m.Delivered))
	d.check("each link of the tree carried each capsule once, and no other link any", one && len(m.Copies) >= len(m.Receivers) && d.isTree(m.Copies), strings.Join(text, ", "))
	return nil
}

// Offsets in the multicast capsules, see examples/capsules/multicast/tree.h.
const (
	groupAt  = 0
	senderAt = 4
)

// isTree reports whether no node received from two others.
func (d *demo) isTree(cs []Copies) bool {
	into := make(map[string]bool)
	for _, c := range cs {
		if into[c.To] || c.To == d.source {
			return false
		}
		into[c.To] = true
	}
	return true
}

func counted(names []string, n map[string]int) string {
	var s []string
	for _, name := range names {
		s = append(s, fmt.Sprintf("%s %d", name, n[name]))
	}
	return strings.Join(s, ", ")
}

// trace sends a trace capsule and returns the nodes that it visited on the way there.
func (d *demo) trace(ctx context.Context, to string, wait time.Duration) ([]Hop, error) {
	tctx, stop := context.WithTimeout(ctx, wait)
	defer stop()
	got := make(chan []byte, 1)
	ready := make(chan struct{})
	errc := make(chan error, 1)
	go func() {
		errc <- d.client(d.source).ReceiveReady(tctx, tracePort, func() { close(ready) }, func(x control.Delivery) error {
			select {
			case got <- x.Payload:
			default:
			}
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-errc:
		return nil, err
	case <-tctx.Done():
		return nil, errs.New(errs.Timeout, "trace: the node did not open a port")
	}
	if _, err := d.client(d.source).Send(tctx, control.SendRequest{
		Protocol: "trace", Class: "trace", Dst: d.addrs[to], SrcPort: tracePort, DstPort: tracePort, Payload: make([]byte, 4),
	}); err != nil {
		return nil, err
	}
	select {
	case b := <-got:
		return parseTrace(b, d.names)
	case <-tctx.Done():
		return nil, errs.New(errs.Timeout, "the trace to %s did not come back in %s", to, wait)
	}
}
