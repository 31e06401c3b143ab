package host

import (
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
)

// Kind is what the kernel does with packets of a route, numbered as rtnetlink(7) has it.
type Kind uint8

// The kinds of route.
const (
	Unicast     Kind = 1 // by a next hop, or on the link
	Local       Kind = 2 // the host itself
	Broadcast   Kind = 3 // the host, and all on the link
	Anycast     Kind = 4
	Multicast   Kind = 5
	Blackhole   Kind = 6 // dropped in silence
	Unreachable Kind = 7 // dropped with an ICMP error
	Prohibit    Kind = 8
	Throw       Kind = 9 // as if there were no route in this table
)

var kindNames = [...]string{Unicast: "unicast", Local: "local", Broadcast: "broadcast", Anycast: "anycast", Multicast: "multicast",
	Blackhole: "blackhole", Unreachable: "unreachable", Prohibit: "prohibit", Throw: "throw"}

// String returns the word that ip route uses.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return "type " + strconv.Itoa(int(k))
}

// ForHost reports whether packets of such a route are the host's own.
func (k Kind) ForHost() bool { return k == Local || k == Broadcast || k == Anycast || k == Multicast }

// Route is the best route for a prefix. It does not change; which next hops of it can be used does.
type Route struct {
	Prefix   netip.Prefix
	Metric   uint32 // lower is better
	Table    uint32 // the kernel's
	Protocol uint8  // who entered it, see /etc/iproute2/rt_protos
	kind     Kind
	ways     *ways

	next *Route // less preferred one of the same prefix; the writer's
	seen uint32 // the dump that has confirmed it; the writer's
}

// Hop is a next hop of a route. It does not change.
type Hop struct {
	Gateway netip.Addr // zero: the destination is on the link; of IPv6 also for IPv4 routes (RFC 5549)
	Ifindex int
	Weight  int // from 1, among the hops of the route
}

// ways are next hops as routes share them: those that were entered with routes by content, next-hop objects by number.
type ways struct {
	choice atomic.Pointer[choice]

	// The writer's.
	key  string // by content; empty for an object
	refs int
	all  []Hop
	src  netip.Addr // preferred source
}

// choice is what ways lead to now.
type choice struct {
	hops      []Hop // whose interface is up
	weight    int   // of all hops
	blackhole bool  // a next-hop object that drops
}

// Kind returns what becomes of the route's packets.
func (r *Route) Kind() Kind {
	if r.kind == Unicast && r.ways.choice.Load().blackhole {
		return Blackhole
	}
	return r.kind
}

// Next returns the next hop for a flow, by its hash, or nil where there is none: the route is not of kind Unicast, or the interfaces of all
// its hops are down. Packets of one flow have one next hop as long as the hops do not change.
func (r *Route) Next(hash uint32) *Hop {
	c := r.ways.choice.Load()
	switch len(c.hops) {
	case 0:
		return nil
	case 1:
		return &c.hops[0]
	}
	w := int(uint64(hash) * uint64(c.weight) >> 32)
	for i := range c.hops {
		if w -= c.hops[i].Weight; w < 0 {
			return &c.hops[i]
		}
	}
	return &c.hops[len(c.hops)-1]
}

// Several reports whether Next looks at the hash.
func (r *Route) Several() bool { return len(r.ways.choice.Load().hops) > 1 }

// Source returns the source address that the host prefers for packets of its own, or the zero Addr.
func (r *Route) Source() netip.Addr { return r.ways.src }

// Hops returns all next hops, also those that cannot be used now. It is for listings and takes the table's lock.
func (t *Table) Hops(r *Route) []Hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(r.ways.all)
}

// RouteSpec is a route as it is entered.
type RouteSpec struct {
	Prefix   netip.Prefix
	Kind     Kind // 0: Unicast
	Metric   uint32
	Table    uint32 // 0: the main one
	Protocol uint8
	Source   netip.Addr
	Hops     []Hop
	Object   uint32 // number of a next-hop object, instead of Hops; 0: none
}

// better reports whether r is preferred to o, of the same prefix.
func (r *Route) better(o *Route) bool {
	if (r.Table == tableLocal) != (o.Table == tableLocal) {
		return r.Table == tableLocal
	}
	return r.Metric < o.Metric
}

// sameClass reports whether two routes for a prefix compete as equals.
func (r *Route) sameClass(o *Route) bool { return r.Table == o.Table && r.Metric == o.Metric }

// The kernel's numbers of tables.
const (
	tableMain  = 254
	tableLocal = 255
)

// waysOf returns the shared ways for a spec, counted. t.mu is held.
func (t *Table) waysOf(s *RouteSpec) *ways {
	if s.Object != 0 {
		o := t.object(s.Object)
		o.ways.refs++
		return o.ways
	}
	b := t.keyBuf[:0]
	for _, h := range s.Hops {
		b = appendAddr(append(b, byte(h.Ifindex>>24), byte(h.Ifindex>>16), byte(h.Ifindex>>8), byte(h.Ifindex), byte(h.Weight>>8), byte(h.Weight)), h.Gateway)
	}
	b = appendAddr(b, s.Source)
	t.keyBuf = b
	if w := t.ways[string(b)]; w != nil {
		w.refs++
		return w
	}
	w := &ways{key: string(b), refs: 1, all: slices.Clone(s.Hops), src: s.Source}
	t.choose(w, false)
	t.ways[w.key] = w
	return w
}

func appendAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		x := a.As4()
		b = append(append(b, 4), x[:]...)
	case a.IsValid():
		x := a.As16()
		b = append(append(b, 6), x[:]...)
	default:
		return append(b, 0)
	}
	return b
}

// release gives ways up. t.mu is held.
func (t *Table) release(w *ways) {
	if w.refs--; w.refs == 0 && w.key != "" {
		delete(t.ways, w.key)
	}
}

// choose finds which hops can be used now. t.mu is held.
func (t *Table) choose(w *ways, blackhole bool) {
	c := &choice{blackhole: blackhole}
	for _, h := range w.all {
		if i := t.Interface(h.Ifindex); i != nil && i.Up {
			c.hops = append(c.hops, h)
			c.weight += h.Weight
		}
	}
	w.choice.Store(c)
}

// object is a next-hop object of the kernel.
type object struct {
	known     bool // announced; else only a route has named it
	hops      []Hop
	group     []member
	blackhole bool
	ways      *ways
	seen      uint32
}

type member struct {
	id     uint32
	weight int
}

func (t *Table) object(id uint32) *object {
	o := t.objects[id]
	if o == nil {
		o = &object{ways: &ways{}}
		o.ways.choice.Store(&choice{})
		t.objects[id] = o
	}
	return o
}

// setObject enters a next-hop object, or takes it out if hops and group are nil and blackhole is false.
func (t *Table) setObject(id uint32, hops []Hop, group []member, blackhole bool) {
	if id == 0 {
		return
	}
	o := t.object(id)
	o.known = hops != nil || group != nil || blackhole
	o.hops, o.group, o.blackhole, o.seen = hops, group, blackhole, t.dump
	t.resolve()
	if !o.known { // the kernel takes its routes out without saying so
		if o.ways.refs > 0 {
			t.drop(func(r *Route) bool { return r.ways == o.ways })
		}
		delete(t.objects, id)
	}
	t.changed()
}

// resolve works out what the next-hop objects lead to. Groups have members that are not groups.
func (t *Table) resolve() {
	for _, o := range t.objects {
		all := o.hops
		if o.group != nil {
			all = nil
			for _, m := range o.group {
				if x := t.objects[m.id]; x != nil {
					for _, h := range x.hops {
						h.Weight = m.weight
						all = append(all, h)
					}
				}
			}
		}
		o.ways.all = all
		t.choose(o.ways, o.blackhole)
	}
}

// put enters a route. Where others of the same prefix, table and metric are there, it goes before them or, if last is set or they are of IPv6, behind
// them, as in the kernel; replace makes it take the place of one of them.
func (t *Table) put(s *RouteSpec, last, replace bool) {
	if !s.Prefix.IsValid() {
		return
	}
	r := &Route{Prefix: s.Prefix.Masked(), Metric: s.Metric, Table: s.Table, Protocol: s.Protocol, kind: s.Kind, seen: t.dump}
	if r.Table == 0 {
		r.Table = tableMain
	}
	if r.kind == 0 {
		r.kind = Unicast
	}
	r.ways = t.waysOf(s)
	t.touch(t.keyOf(s))
	six := r.Prefix.Addr().Is6()
	head := t.routes.Get(r.Prefix)
	list := t.list(head)
	at := -1
	for i, o := range list {
		if !o.sameClass(r) {
			continue
		}
		switch {
		case o.kind == r.kind && o.ways == r.ways && o.Protocol == r.Protocol: // the same once more
			t.release(r.ways)
			o.seen = t.dump
			t.touch(t.keyOf(s))
			return
		case o.kind == r.kind && o.ways == r.ways:
			at = i
		// An IPv6 message has all next hops with a gateway that compete; those without one stand for themselves.
		case six && hasGateway(o) && hasGateway(r), replace && hasGateway(o) == hasGateway(r):
			at = i
		default:
			continue
		}
		break
	}
	if at < 0 && replace {
		at = slices.IndexFunc(list, r.sameClass)
	}
	if at >= 0 {
		t.release(list[at].ways)
		list[at] = r
	} else {
		i := 0
		for i < len(list) && (list[i].better(r) || (last || six) && !r.better(list[i])) {
			i++
		}
		list = slices.Insert(list, i, r)
		t.count(r.Prefix, 1)
	}
	t.link(r.Prefix, head, list)
}

func hasGateway(r *Route) bool {
	return len(r.ways.all) > 0 && r.ways.all[0].Gateway.IsValid()
}

// take takes out a route: the one with these next hops, or the next hops from an IPv6 route that has more.
func (t *Table) take(s *RouteSpec) {
	if !s.Prefix.IsValid() {
		return
	}
	p := s.Prefix.Masked()
	t.touch(t.keyOf(s))
	head := t.routes.Get(p)
	if head == nil {
		return
	}
	like := Route{Metric: s.Metric, Table: s.Table, kind: s.Kind}
	if like.Table == 0 {
		like.Table = tableMain
	}
	if like.kind == 0 {
		like.kind = Unicast
	}
	list := t.list(head)
	for i, r := range list {
		if !r.sameClass(&like) || r.kind != like.kind {
			continue
		}
		if s.Object != 0 {
			if o := t.objects[s.Object]; o == nil || o.ways != r.ways {
				continue
			}
		} else if rest, ok := without(r.ways.all, s.Hops); !ok {
			continue
		} else if len(rest) > 0 && r.ways.key != "" {
			if p.Addr().Is4() { // of IPv4 only whole routes are taken out
				continue
			}
			n := *r
			n.ways = t.waysOf(&RouteSpec{Hops: rest, Source: r.ways.src})
			t.release(r.ways)
			list[i] = &n
			t.link(p, head, list)
			return
		}
		t.release(r.ways)
		t.count(p, -1)
		t.link(p, head, slices.Delete(list, i, i+1))
		return
	}
}

// without returns the hops that are not in gone; all of gone must be there.
func without(hops, gone []Hop) (rest []Hop, ok bool) {
	found := 0
	for _, h := range hops {
		if slices.ContainsFunc(gone, func(g Hop) bool { return g.Ifindex == h.Ifindex && g.Gateway == h.Gateway }) {
			found++
		} else {
			rest = append(rest, h)
		}
	}
	return rest, found == len(gone)
}

// list returns the routes of one prefix, best first, in a buffer of the table.
func (t *Table) list(head *Route) []*Route {
	l := t.listBuf[:0]
	for r := head; r != nil; r = r.next {
		l = append(l, r)
	}
	t.listBuf = l
	return l
}

// link makes the routes of list those of p; head was the best before.
func (t *Table) link(p netip.Prefix, head *Route, list []*Route) {
	for i, r := range list {
		r.next = nil
		if i+1 < len(list) {
			r.next = list[i+1]
		}
	}
	var best *Route
	if len(list) > 0 {
		best = list[0]
	}
	if best != head {
		t.routes.Set(p, best)
	}
	clear(list[:cap(list)])
	clear(t.listBuf[:cap(t.listBuf)])
	t.changed()
}

// routeKey tells routes apart that the kernel keeps at the same time: of IPv6 those without gateway are one for each interface.
type routeKey struct {
	prefix  netip.Prefix
	table   uint32
	metric  uint32
	ifindex int
}

// keyOf returns the key of a route that comes or goes.
func (t *Table) keyOf(s *RouteSpec) routeKey {
	hops := s.Hops
	if o := t.objects[s.Object]; o != nil {
		hops = o.ways.all
	}
	return newKey(s.Prefix.Masked(), s.Table, s.Metric, hops)
}

// key returns the key of a route of the table.
func (r *Route) key() routeKey { return newKey(r.Prefix, r.Table, r.Metric, r.ways.all) }

func newKey(p netip.Prefix, table, metric uint32, hops []Hop) routeKey {
	k := routeKey{prefix: p, table: table, metric: metric}
	if table == 0 {
		k.table = tableMain
	}
	if p.Addr().Is6() && len(hops) > 0 && !hops[0].Gateway.IsValid() {
		k.ifindex = hops[0].Ifindex
	}
	return k
}

// has reports whether the table has exactly that route, which a dump has shown.
func (t *Table) has(s *RouteSpec) bool {
	w := t.waysOf(s)
	defer t.release(w)
	for r := t.routes.Get(s.Prefix); r != nil; r = r.next {
		if r.Table == s.Table && r.Metric == s.Metric && r.kind == s.Kind && r.ways == w {
			r.seen = t.dump
			return true
		}
	}
	return false
}

// touch notes that an announcement has changed a route while a dump runs.
func (t *Table) touch(k routeKey) {
	if t.touched.on {
		t.touched.routes[k] = true
	}
}

// drop takes out all routes that gone says, and reports how many.
func (t *Table) drop(gone func(*Route) bool) (n int) {
	var prefixes []netip.Prefix
	t.routes.All(func(p netip.Prefix, r *Route) bool {
		for ; r != nil; r = r.next {
			if gone(r) {
				prefixes = append(prefixes, p)
				break
			}
		}
		return true
	})
	for _, p := range prefixes {
		head := t.routes.Get(p)
		list := slices.DeleteFunc(t.list(head), func(r *Route) bool {
			if !gone(r) {
				return false
			}
			t.touch(r.key())
			t.release(r.ways)
			t.count(p, -1)
			n++
			return true
		})
		t.link(p, head, list)
	}
	return n
}

func (t *Table) count(p netip.Prefix, n int) {
	if p.Addr().Is4() {
		t.status.Routes4 += n
	} else {
		t.status.Routes6 += n
	}
}
