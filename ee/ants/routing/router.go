package routing

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// What a Spec's zero fields mean.
const (
	DefaultHello     = 200 * time.Millisecond
	DefaultDeadAfter = 3
	DefaultLifetime  = time.Minute
	DefaultMetric    = 10
	DefaultMaxPieces = 2048

	// DefaultShare is ten times that of other domains: routing needs little, and what it needs it needs when the node is busy.
	DefaultShare = 10 * resctl.DefaultShare
)

// Paces. A change waits computeDelay for others of its kind; while changes go on, computations keep up to
// computeHold apart.
const (
	computeDelay = 10 * time.Millisecond
	computeHold  = 200 * time.Millisecond
	computeCalm  = time.Second // without a computation, after which the hold is forgotten
	originPace   = 20 * time.Millisecond
	helloPace    = 20 * time.Millisecond // between a hello and one sent before its time
	ageTick      = time.Second
	complainTick = time.Second // between two events of one kind of trouble
)

// LinkSpec says on which link to look for neighbours.
type LinkSpec struct {
	Name   string // of an open link of the node
	Metric uint16 // cost of sending on it; 0: DefaultMetric

	// Peers are where to send to on a link whose frames begin at UDP; other links take none.
	Peers []netip.AddrPort
}

// Spec says what a Router should be.
type Spec struct {
	Name  string   // of its domain; empty: "routing"
	Addr  NodeAddr // the node's address
	Host  bool     // nothing is routed through this node
	Links []LinkSpec

	// Prefixes that are attached to this node beside Addr and the addresses of the links.
	Prefixes []netip.Prefix

	Hello     time.Duration // interval of hellos, 10 ms to 20 s; 0: DefaultHello
	DeadAfter int           // hellos missed until a neighbour is given up; 0: DefaultDeadAfter
	Lifetime  time.Duration // of what this node says about itself, renewed in a third of it, 3 s to an hour; 0: DefaultLifetime
	MaxPieces int           // of others in the database; 0: DefaultMaxPieces

	// Generation tells this run of the node from the one before; 0: from the calendar, in milliseconds.
	Generation uint32

	Limit resctl.Amounts // of the domain
	Share resctl.Share   // of the domain; 0: DefaultShare

	// OnEvent is called on the domain's home worker with what happens, and must not wait.
	OnEvent func(Event)
}

// Router finds neighbours and routes. Methods may be called from any goroutine unless they say otherwise.
type Router struct {
	spec   Spec
	domain *nodeos.Domain
	worker *nodeos.Worker
	rand   *clock.Rand
	gen    uint32
	table  atomic.Pointer[Table]
	subs   atomic.Pointer[[]*subscriber]
	subsMu sync.Mutex // for changing subs

	linksMu sync.Mutex
	links   map[string]*port // from the control side

	// What follows belongs to the home worker.
	db    *database
	ports []*port // by link number
	flush *nodeos.Task
	stats Stats
	buf   []byte
	hello hello
	sum   summary

	seq        uint64
	fragments  int // that this node has in use, or had in a former life
	originated clock.Time
	originAt   *nodeos.Timer
	refreshed  clock.Time
	fights     int
	ageAt      *nodeos.Timer

	computeAt  *nodeos.Timer
	dirtySince clock.Time
	dirty      bool
	computed   clock.Time
	hold       time.Duration
	version    uint64
	complained map[string]clock.Time // by what about
}

// Stats are a router's counters since it was made.
type Stats struct {
	HellosOut    uint64 `json:"hellos_out"`
	HellosIn     uint64 `json:"hellos_in"`
	UpdatesOut   uint64 `json:"updates_out"`
	UpdatesIn    uint64 `json:"updates_in"`
	SummariesOut uint64 `json:"summaries_out"`
	SummariesIn  uint64 `json:"summaries_in"`
	Malformed    uint64 `json:"malformed"`    // messages that the decoder refused
	OffLink      uint64 `json:"off_link"`     // messages that had crossed a router
	Stranger     uint64 `json:"stranger"`     // updates and summaries from nodes that are not adjacent
	Refused      uint64 `json:"refused"`      // messages and pieces over a bound of number or pace
	NoPacket     uint64 `json:"no_packet"`    // messages not sent for want of a packet
	Computations uint64 `json:"computations"` // of routes
	Originations uint64 `json:"originations"` // of pieces of this node
}

// New makes a domain below parent and a router in it, which starts by itself. It may be called from a worker. It refuses
// with errs.Invalid or errs.NotFound what the Spec has wrong, and with what the domain and its channels refuse.
func New(parent *nodeos.Domain, spec Spec) (*Router, error) {
	spec.Name = cmp.Or(spec.Name, "routing")
	spec.Hello = cmp.Or(spec.Hello, DefaultHello)
	spec.DeadAfter = cmp.Or(spec.DeadAfter, DefaultDeadAfter)
	spec.Lifetime = cmp.Or(spec.Lifetime, DefaultLifetime)
	spec.MaxPieces = cmp.Or(spec.MaxPieces, DefaultMaxPieces)
	spec.Share = cmp.Or(spec.Share, DefaultShare)
	switch {
	case !spec.Addr.Valid():
		return nil, errs.New(errs.Invalid, "routing: %s cannot be the address of a node: choose a unicast address, such as 10.255.0.1", spec.Addr)
	case spec.Hello < minInterval || spec.Hello > maxInterval:
		return nil, errs.New(errs.Invalid, "routing: hello interval %s, want %s to %s", spec.Hello, minInterval, maxInterval)
	case spec.DeadAfter < 1 || spec.DeadAfter > 100:
		return nil, errs.New(errs.Invalid, "routing: dead after %d hellos, want 1 to 100", spec.DeadAfter)
	case spec.Lifetime < 3*ageTick || spec.Lifetime > maxLifetime:
		return nil, errs.New(errs.Invalid, "routing: lifetime %s, want %s to %s", spec.Lifetime, 3*ageTick, maxLifetime)
	case spec.MaxPieces < 1:
		return nil, errs.New(errs.Invalid, "routing: database of %d pieces, want at least 1", spec.MaxPieces)
	}
	for _, p := range spec.Prefixes {
		if !p.IsValid() || p != p.Masked() || !routable(p) {
			return nil, errs.New(errs.Invalid, "routing: prefix %s: want a unicast network with no bits set behind its length, such as %s", p, p.Masked())
		}
	}
	d, err := parent.NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: spec.Name, Limit: spec.Limit, Share: spec.Share}, Worker: parent.Home().ID()})
	if err != nil {
		return nil, err
	}
	node := d.Node()
	wall := uint64(node.Clock().Wall().UnixMilli())
	r := &Router{
		spec: spec, domain: d, worker: d.Home(), rand: node.NewRand(),
		gen: cmp.Or(spec.Generation, uint32(wall), 1),
		// A later run begins with a higher number than this one can have reached by then.
		seq:   min(wall, maxSeq/2),
		links: make(map[string]*port), db: newDatabase(spec.MaxPieces), complained: make(map[string]clock.Time),
	}
	r.table.Store(&Table{node: spec.Addr})
	r.subs.Store(new([]*subscriber))
	r.originAt = d.NewTimer(-1, r.originate)
	r.computeAt = d.NewTimer(-1, r.compute)
	r.ageAt = d.NewTimer(-1, r.age)
	r.flush, err = d.NewTask(nodeos.TaskSpec{Name: "flood", Worker: -1, Run: nodeos.RunFunc(r.send)})
	for _, l := range spec.Links {
		if err == nil {
			err = r.AddLink(l)
		}
	}
	if err != nil {
		d.Terminate(err)
		return nil, err
	}
	r.worker.Post(func() {
		if d.State() == nodeos.Active {
			now := node.Clock().Now()
			r.originAt.Set(now)
			r.ageAt.Set(now.Add(ageTick))
		}
	})
	return r, nil
}

// Domain returns the router's domain.
func (r *Router) Domain() *nodeos.Domain { return r.domain }

// Addr returns the node's address.
func (r *Router) Addr() NodeAddr { return r.spec.Addr }

// Generation returns the number of this run of the node.
func (r *Router) Generation() uint32 { return r.gen }

// Table returns the table in force. It costs one atomic load; read it once for a batch.
func (r *Router) Table() *Table { return r.table.Load() }

// Close says goodbye to the neighbours, who then need not wait for missed hellos, and ends the router's domain. It does not wait: the
// domain's Done tells when it is over.
func (r *Router) Close() {
	r.worker.Post(func() {
		if r.domain.State() == nodeos.Active {
			for _, p := range r.ports {
				r.sendHello(p, true, r.worker.Now())
			}
		}
		r.domain.Terminate(errs.New(errs.Dead, "routing: closed"))
	})
}

// event reports e, with the time and the node filled in.
func (r *Router) event(now clock.Time, e Event) {
	if r.spec.OnEvent != nil {
		e.Time, e.Node = now, r.spec.Addr
		r.spec.OnEvent(e)
	}
}

// complain is event for trouble that an attacker could cause at any rate.
func (r *Router) complain(now clock.Time, e Event) {
	what := string(e.Kind) + e.Link + e.Reason
	if last, ok := r.complained[what]; ok && now.Sub(last) < complainTick {
		return
	}
	r.complained[what] = now
	r.event(now, e)
}

// changed asks for a computation.
func (r *Router) changed(now clock.Time) {
	if !r.dirty {
		r.dirty, r.dirtySince = true, now
	}
	if r.computeAt.Pending() {
		return
	}
	if r.version > 0 && now.Sub(r.computed) > computeCalm {
		r.hold = 0
	}
	r.computeAt.Set(max(now.Add(computeDelay), r.computed.Add(r.hold)))
	r.hold = min(max(2*r.hold, computeDelay), computeHold)
}

// compute makes a table and puts it in force if it differs.
func (r *Router) compute(now clock.Time) {
	r.dirty, r.computed = false, now
	r.stats.Computations++
	t := compute(r.spec.Addr, r.db.pieces, r.inUse())
	if t.same(r.table.Load()) {
		return
	}
	r.version++
	t.version, t.at = r.version, now
	r.table.Store(t)
	r.event(now, Event{
		Kind: RoutesChanged, Version: t.version, Took: now.Sub(r.dirtySince),
		Nodes: len(t.nodes), Prefixes: len(t.prefixes), Neighbours: len(t.neighbours),
	})
	for _, s := range *r.subs.Load() {
		s.fn(t)
	}
}

// inUse returns the best way to each adjacent node, in the order of addresses. The values are copies: tables keep them.
func (r *Router) inUse() []*NextHop {
	var hops []*NextHop
	for _, p := range r.ports {
		for _, n := range p.neighbours {
			if n.adjacent {
				h := n.hop
				hops = append(hops, &h)
			}
		}
	}
	slices.SortStableFunc(hops, func(a, b *NextHop) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Metric, b.Metric))
	})
	return slices.CompactFunc(hops, func(a, b *NextHop) bool { return a.Node == b.Node })
}

// age drops old pieces and renews this node's own.
func (r *Router) age(now clock.Time) {
	r.ageAt.Set(now.Add(ageTick))
	if r.db.expire(now) {
		r.changed(now)
	}
	if now.Sub(r.refreshed) >= r.spec.Lifetime/3 {
		r.refreshed = now
		r.originateAll(now, true)
		return
	}
	r.originateSoon(now) // addresses of links may have changed
}

// originateSoon says anew what this node is adjacent to, if that has changed.
func (r *Router) originateSoon(now clock.Time) {
	if !r.originAt.Pending() {
		r.originAt.Set(max(now, r.originated.Add(originPace)))
	}
}

func (r *Router) originate(now clock.Time) { r.originateAll(now, false) }

// originateAll puts this node's pieces into the database and floods those that changed, or all.
func (r *Router) originateAll(now clock.Time, all bool) {
	adj := make([]Adjacency, 0, 8)
	for _, h := range r.inUse() {
		adj = append(adj, Adjacency{Node: h.Node, Metric: h.Metric})
	}
	prefixes := append([]netip.Prefix{r.spec.Addr.Prefix()}, r.spec.Prefixes...)
	for _, p := range r.ports {
		for _, px := range r.domain.Node().Prefixes(p.spec.Name) {
			if px = px.Masked(); px.IsValid() && routable(px) {
				prefixes = append(prefixes, px)
			}
		}
	}
	slices.SortFunc(prefixes, comparePrefix)
	prefixes = slices.Compact(prefixes)

	pieces := r.cut(now, adj, prefixes)
	if all {
		r.fragments = 0 // what is not used any more may grow old
	}
	r.fragments = max(r.fragments, len(pieces))
	for i := range r.fragments {
		l := LSA{Origin: r.spec.Addr, Fragment: uint8(i), Host: r.spec.Host}
		if i < len(pieces) {
			l.Adj, l.Prefixes = pieces[i].Adj, pieces[i].Prefixes
		}
		old := r.db.byKey[l.key()]
		if !all && old != nil && old.lsa.Host == l.Host &&
			slices.Equal(old.lsa.Adj, l.Adj) && slices.Equal(old.lsa.Prefixes, l.Prefixes) {
			continue
		}
		r.seq++
		l.Seq, l.Lifetime = r.seq, r.spec.Lifetime
		if _, v, changed := r.db.put(&l, true, now); v == putNew {
			r.stats.Originations++
			r.originated = now
			if changed {
				r.changed(now)
			}
			r.flood(l.key(), nil)
		}
	}
}

// cut divides what this node says into pieces of at most MaxLSA bytes.
func (r *Router) cut(now clock.Time, adj []Adjacency, prefixes []netip.Prefix) []LSA {
	pieces := make([]LSA, 1)
	size := lsaLen
	room := func(n int) *LSA {
		if size+n > MaxLSA {
			if len(pieces) == MaxFragments {
				r.complain(now, Event{Kind: Overflow, Reason: "this node has more neighbours and prefixes than the protocol can say"})
				return nil
			}
			pieces, size = append(pieces, LSA{}), lsaLen
		}
		size += n
		return &pieces[len(pieces)-1]
	}
	for _, a := range adj {
		l := room(adjLen)
		if l == nil {
			return pieces
		}
		l.Adj = append(l.Adj, a)
	}
	for _, p := range prefixes {
		l := room(prefixLen(p))
		if l == nil {
			return pieces
		}
		l.Prefixes = append(l.Prefixes, p)
	}
	return pieces
}
