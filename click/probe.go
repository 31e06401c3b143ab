package click

// Looking into a running router. Nothing of this exists on the packet path unless somebody looks: then each connection leads through a tap, which counts and
// shows packets to those who want to see them, and each task is timed. Taps are put in and taken out between two runs of the graph. The
// way, in the order of this file:
//
//  1. the first probe puts taps into all connections
//  2. packets go through a tap: counted, shown, timed
//  3. probes read the counters; the last one to go takes the taps out

import (
	"time"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// Probe looks into a router. Its methods are for the control side.
type Probe struct {
	router *Router
	base   []ElementCounts // when it began
	see    func(e lang.Edge, ps []*packet.Packet)
	closed bool
}

// ElementCounts is what an element did while a probe was there.
type ElementCounts struct {
	Name    string        `json:"name"`
	Class   string        `json:"class"`
	In      []PortCounts  `json:"in,omitempty"`
	Out     []PortCounts  `json:"out,omitempty"`
	Drops   uint64        `json:"drops"`
	Runs    uint64        `json:"runs"`    // of its tasks
	Time    time.Duration `json:"time_ns"` // spent in it, without what it called of other elements
	Ordinal int           `json:"number"`  // its place in the graph, from 0
}

// PortCounts is what went over a port.
type PortCounts struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Calls   uint64 `json:"calls"` // how often somebody pushed to it or pulled from it
}

// wiretap has the taps of a router.
type wiretap struct {
	probes []*Probe
	taps   []*tap
	tasks  []func() (int, bool) // as they were, in the order of the elements
	spent  []spent              // for each element
	clocks map[*Thread]*stopwatch
}

// spent is time in an element that its thread alone writes. A line of memory each, so that threads do not disturb each other.
type spent struct {
	time int64
	_    [56]byte
}

// stopwatch knows how much of the time of the present call went to calls of others.
type stopwatch struct {
	inner int64
	start time.Time // of the watch, which all times count from
}

func (s *stopwatch) now() int64 { return int64(time.Since(s.start)) }

// tap stands between two elements.
type tap struct {
	edge   lang.Edge
	to     Out // one of the two
	from   In
	counts PortCounts
	watch  *stopwatch
	spent  *spent // of the element that is called
	see    []func(e lang.Edge, ps []*packet.Packet)
}

// Push implements Pusher.
func (t *tap) Push(port int, b *packet.Batch) {
	t.note(b.Packets())
	start, outer := t.watch.now(), t.watch.inner
	t.watch.inner = 0
	t.to.to.Push(port, b)
	d := t.watch.now() - start
	t.spent.time += d - t.watch.inner
	t.watch.inner = outer + d
}

// Pull implements Puller.
func (t *tap) Pull(port int, b *packet.Batch, n int) {
	had := b.Len()
	start, outer := t.watch.now(), t.watch.inner
	t.watch.inner = 0
	t.from.from.Pull(port, b, n)
	d := t.watch.now() - start
	t.spent.time += d - t.watch.inner
	t.watch.inner = outer + d
	t.note(b.Packets()[had:])
}

func (t *tap) note(ps []*packet.Packet) {
	t.counts.Calls++
	t.counts.Packets += uint64(len(ps))
	for _, p := range ps {
		t.counts.Bytes += uint64(p.Len())
	}
	for _, see := range t.see {
		see(t.edge, ps)
	}
}

// NewProbe begins to look. see, if not nil, is shown the packets on each connection, in the order in which they go there: on the
// worker that moves them, at once for several workers, before the packets are pushed and after they were pulled. It must not keep or
// change them, and must be quick. Close ends it.
func (r *Router) NewProbe(see func(e lang.Edge, ps []*packet.Packet)) (*Probe, error) {
	p := &Probe{router: r, see: see}
	err := r.Do(func() {
		if r.wiretap == nil {
			r.wiretap = r.tapAll()
		}
		r.wiretap.probes = append(r.wiretap.probes, p)
		r.wiretap.show()
		p.base = r.countsHere()
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// tapAll puts taps in. On the worker, alone.
func (r *Router) tapAll() *wiretap {
	w := &wiretap{spent: make([]spent, len(r.elements)), clocks: map[*Thread]*stopwatch{}}
	begin := time.Now()
	watch := func(t *Thread) *stopwatch {
		if w.clocks[t] == nil {
			w.clocks[t] = &stopwatch{start: begin}
		}
		return w.clocks[t]
	}
	for _, e := range r.spec.Edges {
		f, t := r.elements[e.From].base(), r.elements[e.To].base()
		k := &tap{edge: e}
		if f.outKinds[e.FromPort] == PushKind {
			k.to, k.watch, k.spent = f.outs[e.FromPort], watch(f.thread), &w.spent[e.To]
			f.outs[e.FromPort] = Out{k, k.to.port}
		} else {
			k.from, k.watch, k.spent = t.ins[e.ToPort], watch(t.thread), &w.spent[e.From]
			t.ins[e.ToPort] = In{k, k.from.port}
		}
		w.taps = append(w.taps, k)
	}
	for i, el := range r.elements {
		for _, k := range el.base().tasks {
			fn, s, sp := k.fn, watch(k.thread), &w.spent[i]
			w.tasks = append(w.tasks, fn)
			k.fn = func() (int, bool) {
				start := s.now()
				s.inner = 0
				n, more := fn()
				sp.time += s.now() - start - s.inner
				s.inner = 0
				return n, more
			}
		}
	}
	return w
}

// untap takes the taps out.
func (r *Router) untap() {
	for _, k := range r.wiretap.taps {
		f, t := r.elements[k.edge.From].base(), r.elements[k.edge.To].base()
		if k.to.to != nil {
			f.outs[k.edge.FromPort] = k.to
		} else {
			t.ins[k.edge.ToPort] = k.from
		}
	}
	n := 0
	for _, el := range r.elements {
		for _, k := range el.base().tasks {
			k.fn = r.wiretap.tasks[n]
			n++
		}
	}
	r.wiretap = nil
}

// show tells the taps who wants to see packets.
func (w *wiretap) show() {
	var see []func(lang.Edge, []*packet.Packet)
	for _, p := range w.probes {
		if p.see != nil {
			see = append(see, p.see)
		}
	}
	for _, k := range w.taps {
		k.see = see
	}
}

// countsHere reads all counters. On the worker, alone.
func (r *Router) countsHere() []ElementCounts {
	out := make([]ElementCounts, len(r.elements))
	for i, el := range r.elements {
		b := el.base()
		c := &out[i]
		*c = ElementCounts{Name: b.name, Class: b.class.Name, Ordinal: i, In: make([]PortCounts, b.nin), Out: make([]PortCounts, b.nout),
			Drops: b.drops, Time: time.Duration(r.wiretap.spent[i].time)}
		for _, k := range b.tasks {
			c.Runs += k.runs
		}
	}
	for _, k := range r.wiretap.taps {
		out[k.edge.From].Out[k.edge.FromPort].add(k.counts)
		out[k.edge.To].In[k.edge.ToPort].add(k.counts)
	}
	return out
}

func (c *PortCounts) add(o PortCounts) {
	c.Packets += o.Packets
	c.Bytes += o.Bytes
	c.Calls += o.Calls
}

func (c *PortCounts) sub(o PortCounts) {
	c.Packets -= o.Packets
	c.Bytes -= o.Bytes
	c.Calls -= o.Calls
}

// Counts returns what every element has done since the probe began, or since the last call with reset. It waits for the worker.
func (p *Probe) Counts(reset bool) ([]ElementCounts, error) {
	var now []ElementCounts
	err := p.router.Do(func() {
		if !p.closed {
			now = p.router.countsHere()
		}
	})
	if err == nil && now == nil {
		err = errs.New(errs.Dead, "the probe is closed")
	}
	if err != nil {
		return nil, err
	}
	out := make([]ElementCounts, len(now))
	for i := range now {
		c, b := &now[i], &p.base[i]
		d := *c
		d.In, d.Out = append([]PortCounts(nil), c.In...), append([]PortCounts(nil), c.Out...)
		for k := range d.In {
			d.In[k].sub(b.In[k])
		}
		for k := range d.Out {
			d.Out[k].sub(b.Out[k])
		}
		d.Drops, d.Runs, d.Time = c.Drops-b.Drops, c.Runs-b.Runs, c.Time-b.Time
		out[i] = d
	}
	if reset {
		p.base = now
	}
	return out, nil
}

// Close ends looking. It waits until nobody is in the function that sees packets any more. Closing twice, or after the router has ended, does nothing.
func (p *Probe) Close() {
	r := p.router
	_ = r.Do(func() { // when the router has ended, nothing is left to do
		if p.closed {
			return
		}
		p.closed = true
		w := r.wiretap
		for i, o := range w.probes {
			if o == p {
				w.probes = append(w.probes[:i], w.probes[i+1:]...)
				break
			}
		}
		if w.show(); len(w.probes) == 0 {
			r.untap()
		}
	})
}
