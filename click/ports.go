package click

import (
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// countPorts gives every element as many ports as the graph's connections use, and reports where
// its class has other ideas.
func (r *Router) countPorts(list *errs.List) {
	for i := range r.elements {
		b := r.elements[i].base()
		n := &r.spec.Elements[i]
		c, _ := parsePorts(b.class.Ports)
		if c.equal {
			c.out = [2]int{max(c.in[0], b.nin), max(c.in[0], b.nin)}
		}
		check := func(have *int, want [2]int, which string) {
			if *have > want[1] {
				list.Addf(n.Pos, "'%s' has no %s %d, it has %s", r.label(i), which, *have-1, describe(want, which))
			}
			if *have < want[0] {
				*have = want[0] // the unused ports are reported by connect
			}
		}
		check(&b.nin, c.in, "input")
		check(&b.nout, c.out, "output")
		p, _ := parseProcessing(b.class.Processing)
		b.inKinds, b.outKinds = make([]Kind, b.nin), make([]Kind, b.nout)
		for j := range b.inKinds {
			b.inKinds[j] = kindAt(p.in, j)
		}
		for j := range b.outKinds {
			b.outKinds[j] = kindAt(p.out, j)
		}
	}
}

// resolve makes agnostic ports push or pull, by what they are connected to and linked with. What
// nothing decides pushes. Conflicts are reported once for each connection or element.
func (r *Router) resolve(list *errs.List) {
	type port struct {
		el, n int
		out   bool
	}
	kind := func(p port) *Kind {
		b := r.elements[p.el].base()
		if p.out {
			return &b.outKinds[p.n]
		}
		return &b.inKinds[p.n]
	}
	inside := func(p port) bool {
		b := r.elements[p.el].base()
		return p.out && p.n < b.nout || !p.out && p.n < b.nin
	}
	byFrom, byTo := map[port][]lang.Edge{}, map[port][]lang.Edge{}
	for _, e := range r.spec.Edges {
		f, t := port{e.From, e.FromPort, true}, port{e.To, e.ToPort, false}
		if !inside(f) || !inside(t) {
			continue
		}
		byFrom[f] = append(byFrom[f], e)
		byTo[t] = append(byTo[t], e)
	}
	flows := make([]flow, len(r.elements))
	agnostic := make([]bool, len(r.elements))
	var work []port
	for i, el := range r.elements {
		b := el.base()
		flows[i], _ = parseFlow(b.class.Flow)
		for n, k := range b.inKinds {
			if k != AgnosticKind {
				work = append(work, port{i, n, false})
			} else {
				agnostic[i] = true
			}
		}
		for n, k := range b.outKinds {
			if k != AgnosticKind {
				work = append(work, port{i, n, true})
			} else {
				agnostic[i] = true
			}
		}
	}
	// declared tells an agnostic port from one that its class fixes.
	declared := func(p port) bool {
		c, _ := parseProcessing(r.elements[p.el].base().class.Processing)
		if p.out {
			return kindAt(c.out, p.n) != AgnosticKind
		}
		return kindAt(c.in, p.n) != AgnosticKind
	}
	mixed := map[int]bool{}
	type pair struct{ f, t port }
	crossed := map[pair]bool{}
	set := func(to port, k Kind, report func()) {
		switch have := kind(to); *have {
		case AgnosticKind:
			*have = k
			work = append(work, to)
		case k:
		default:
			report()
		}
	}
	drain := func() {
		for len(work) > 0 {
			p := work[0]
			work = work[1:]
			k := *kind(p)
			cross := func(e lang.Edge) func() {
				return func() {
					key := pair{port{e.From, e.FromPort, true}, port{e.To, e.ToPort, false}}
					if crossed[key] {
						return
					}
					crossed[key] = true
					fk, tk := *kind(key.f), *kind(key.t)
					list.Addf(e.Pos, "'%s' %s output %d connected to '%s' %s input %d", r.label(e.From), fk, e.FromPort, r.label(e.To), tk, e.ToPort)
				}
			}
			if p.out {
				for _, e := range byFrom[p] {
					set(port{e.To, e.ToPort, false}, k, cross(e))
				}
			} else {
				for _, e := range byTo[p] {
					set(port{e.From, e.FromPort, true}, k, cross(e))
				}
			}
			if !agnostic[p.el] || declared(p) {
				continue
			}
			b := r.elements[p.el].base()
			within := func(in, out int, to port) {
				if declared(to) || !flows[p.el].linked(in, out) {
					return
				}
				set(to, k, func() {
					if !mixed[p.el] {
						mixed[p.el] = true
						list.Addf(r.spec.Elements[p.el].Pos, "agnostic '%s' in mixed context: %s input %d, %s output %d", r.label(p.el), b.inKinds[in], in, b.outKinds[out], out)
					}
				})
			}
			if p.out {
				for in := range b.inKinds {
					within(in, p.n, port{p.el, in, false})
				}
			} else {
				for out := range b.outKinds {
					within(p.n, out, port{p.el, out, true})
				}
			}
		}
	}
	drain()
	for i, el := range r.elements {
		b := el.base()
		for n := range b.inKinds {
			if b.inKinds[n] == AgnosticKind {
				b.inKinds[n] = PushKind
				work = append(work, port{i, n, false})
				drain()
			}
		}
		for n := range b.outKinds {
			if b.outKinds[n] == AgnosticKind {
				b.outKinds[n] = PushKind
				work = append(work, port{i, n, true})
				drain()
			}
		}
	}
}

// connect binds ports to the elements at their other end, and reports ports that are not connected and
// ports that are connected too often.
func (r *Router) connect(list *errs.List) {
	pushers, pullers := make([]Pusher, len(r.elements)), make([]Puller, len(r.elements))
	for i, el := range r.elements {
		b := el.base()
		b.ins, b.outs = make([]In, b.nin), make([]Out, b.nout)
		pushers[i], _ = el.(Pusher)
		pullers[i], _ = el.(Puller)
		if a, ok := el.(Actor); ok {
			x := &act{actor: a, el: b}
			if b.nin > 0 && b.nout > 0 {
				x.in, x.out = &b.ins[0], &b.outs[0]
			}
			if pushers[i] == nil {
				pushers[i] = x
			}
			if pullers[i] == nil {
				pullers[i] = x
			}
		}
	}
	type port struct{ el, n int }
	inUse, outUse := map[port]lang.Edge{}, map[port]lang.Edge{}
	for _, e := range r.spec.Edges {
		f, t := r.elements[e.From].base(), r.elements[e.To].base()
		if e.FromPort >= f.nout || e.ToPort >= t.nin {
			continue // reported by countPorts
		}
		fk, tk := f.outKinds[e.FromPort], t.inKinds[e.ToPort]
		if first, twice := outUse[port{e.From, e.FromPort}]; twice && fk == PushKind {
			list.Addf(e.Pos, "illegal reuse of '%s' push output %d\n%s: it is already connected to '%s' input %d", r.label(e.From), e.FromPort, first.Pos, r.label(first.To), first.ToPort)
		}
		if first, twice := inUse[port{e.To, e.ToPort}]; twice && tk == PullKind {
			list.Addf(e.Pos, "illegal reuse of '%s' pull input %d\n%s: it is already connected to '%s' output %d", r.label(e.To), e.ToPort, first.Pos, r.label(first.From), first.FromPort)
		}
		if _, ok := outUse[port{e.From, e.FromPort}]; !ok {
			outUse[port{e.From, e.FromPort}] = e
		}
		if _, ok := inUse[port{e.To, e.ToPort}]; !ok {
			inUse[port{e.To, e.ToPort}] = e
		}
		if fk != tk {
			continue // reported by resolve
		}
		if fk == PushKind {
			if pushers[e.To] == nil {
				list.Addf(e.Pos, "internal error: class '%s' has a push input and no Push", t.class.Name)
			}
			f.outs[e.FromPort] = Out{pushers[e.To], e.ToPort}
		} else {
			if pullers[e.From] == nil {
				list.Addf(e.Pos, "internal error: class '%s' has a pull output and no Pull", f.class.Name)
			}
			t.ins[e.ToPort] = In{pullers[e.From], e.FromPort}
		}
	}
	for i, el := range r.elements {
		b := el.base()
		for n := range b.nin {
			if _, ok := inUse[port{i, n}]; !ok {
				list.Addf(r.spec.Elements[i].Pos, "'%s' input %d unused", r.label(i), n)
			}
		}
		for n := range b.nout {
			if _, ok := outUse[port{i, n}]; !ok {
				list.Addf(r.spec.Elements[i].Pos, "'%s' output %d unused", r.label(i), n)
			}
		}
	}
}
