package host

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/janos-os/janos/internal/lpm"
)

// Table is what the host's kernel knows. Make it with Follow or New.
type Table struct {
	routes lpm.Table[*Route] // the best of each prefix
	ifaces atomic.Pointer[interfaces]
	links  atomic.Uint64 // changes of ifaces

	asks  chan ask // nil where nobody follows
	rouse func()   // makes the follower look at asks

	mu      sync.Mutex // what follows, and changes of what is above
	ways    map[string]*ways
	objects map[uint32]*object
	news    bool // since settle
	watch   map[int]func()
	watches int
	status  Status
	closer  func() error
	keyBuf  []byte
	listBuf []*Route

	dump    uint32 // number of the dump that is going on, or that was the last
	touched touched
}

// touched is what announcements have changed while a dump runs: it is newer than what the dump says of it.
type touched struct {
	on        bool
	routes    map[routeKey]bool
	neighbors map[place]bool
	addrs     map[place]bool
	links     map[int]bool
	objects   map[uint32]bool
}

// place is an address on an interface, with a prefix length where it is an own one.
type place struct {
	ifindex int
	prefix  netip.Prefix
}

func (t *touched) begin() {
	*t = touched{on: true, routes: make(map[routeKey]bool), neighbors: make(map[place]bool), addrs: make(map[place]bool),
		links: make(map[int]bool), objects: make(map[uint32]bool)}
}

// interfaces are all of them; replaced whole.
type interfaces struct {
	byIndex map[int]*Interface
	byName  map[string]*Interface
}

// Interface is an interface of the host as it was at one moment. It does not change; the table makes a new one.
type Interface struct {
	Index    int
	Name     string
	Up       bool // by the administrator
	Carrier  bool // and something is connected
	MTU      int
	HWAddr   [6]byte        // zero where it has none of 6 bytes
	Prefixes []netip.Prefix // own addresses with their prefix lengths, in the kernel's order

	neighbors *neighbors
	seen      uint32
}

// Status tells what a table holds and what has happened to it.
type Status struct {
	Routes4     int    `json:"routes4"`
	Routes6     int    `json:"routes6"`
	Neighbors   int    `json:"neighbors"`
	Interfaces  int    `json:"interfaces"`
	Changes     uint64 `json:"changes"`         // announced by the kernel
	Dumps       uint64 `json:"dumps"`           // complete ones; the first makes the table
	Overflows   uint64 `json:"overflows"`       // announcements were lost, a dump followed
	Interrupted uint64 `json:"interrupted"`     // dumps that the kernel could not finish consistently, repeated
	Corrected   uint64 `json:"corrected"`       // routes that a dump after the first found to be gone without announcement
	Malformed   uint64 `json:"malformed"`       // messages that were not understood
	Asked       uint64 `json:"asked"`           // neighbours that the kernel was asked to find or confirm
	Refused     uint64 `json:"refused"`         // of these; it takes CAP_NET_ADMIN
	Ignored     uint64 `json:"ignored"`         // announced and dumped routes with a source, a type of service or an encapsulation
	Rules       int    `json:"rules"`           // policy rules beside the kernel's own, which are not evaluated
	Error       string `json:"error,omitempty"` // why following has ended
}

// New makes an empty table that nobody follows for.
func New() *Table {
	t := &Table{ways: make(map[string]*ways), objects: make(map[uint32]*object), watch: make(map[int]func()), rouse: func() {}}
	t.ifaces.Store(&interfaces{byIndex: map[int]*Interface{}, byName: map[string]*Interface{}})
	return t
}

// Lookup returns the route with the longest prefix that contains dst, or nil.
func (t *Table) Lookup(dst netip.Addr) *Route { return t.routes.Lookup(dst) }

// Lookup4 is Lookup for the bytes of an IPv4 address.
func (t *Table) Lookup4(dst [4]byte) *Route { return t.routes.Lookup4(dst) }

// Lookup6 is Lookup for the bytes of an IPv6 address.
func (t *Table) Lookup6(dst [16]byte) *Route { return t.routes.Lookup6(dst) }

// Interface returns the interface with an index, or nil.
func (t *Table) Interface(index int) *Interface { return t.ifaces.Load().byIndex[index] }

// InterfaceByName returns the interface of that name, or nil.
func (t *Table) InterfaceByName(name string) *Interface { return t.ifaces.Load().byName[name] }

// LinkChanges returns how often interfaces or their addresses have changed: what was found by Interface holds while it does not.
func (t *Table) LinkChanges() uint64 { return t.links.Load() }

// Interfaces returns all interfaces, by index.
func (t *Table) Interfaces() []*Interface {
	l := slices.Collect(maps.Values(t.ifaces.Load().byIndex))
	slices.SortFunc(l, func(a, b *Interface) int { return a.Index - b.Index })
	return l
}

// Routes calls fn for the best route of each prefix, IPv4 first, by prefix, until fn returns false.
func (t *Table) Routes(fn func(*Route) bool) {
	t.routes.All(func(_ netip.Prefix, r *Route) bool { return fn(r) })
}

// Neighbors calls fn for all neighbours, by interface and address, until fn returns false.
func (t *Table) Neighbors(fn func(*Neighbor) bool) {
	for _, i := range t.Interfaces() {
		more := true
		i.neighbors.table.All(func(_ netip.Prefix, n *Neighbor) bool {
			more = fn(n)
			return more
		})
		if !more {
			return
		}
	}
}

// Status returns counters.
func (t *Table) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Interfaces = len(t.ifaces.Load().byIndex)
	return s
}

// Watch makes fn be called after changes have become visible, once for many that come together, on the goroutine that made them: fn must
// not wait, and must not change the table. After cancel has returned fn is not called any more; fn must not call cancel.
func (t *Table) Watch(fn func()) (cancel func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watches++
	id := t.watches
	t.watch[id] = fn
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watch, id)
	}
}

// Close ends following and waits for it. The table keeps what it has.
func (t *Table) Close() error {
	t.mu.Lock()
	c := t.closer
	t.closer = nil
	t.mu.Unlock()
	if c == nil {
		return nil
	}
	return c()
}

// changed notes that watchers have to be told. t.mu is held.
func (t *Table) changed() { t.news = true }

// settle tells the watchers if there is news, and gives the lock free.
func (t *Table) settle() {
	if t.news {
		t.news = false
		for _, fn := range t.watch {
			fn()
		}
	}
	t.mu.Unlock()
}

// SetRoute enters a route; of those for one prefix with the same table and metric it replaces one.
func (t *Table) SetRoute(s RouteSpec) {
	t.mu.Lock()
	defer t.settle()
	t.put(&s, true, true)
}

// RemoveRoute takes the route out that has the spec's prefix, table, metric, kind and next hops.
func (t *Table) RemoveRoute(s RouteSpec) {
	t.mu.Lock()
	defer t.settle()
	t.take(&s)
}

// SetInterface enters an interface or replaces the one of its index. Its neighbours stay.
func (t *Table) SetInterface(i Interface) {
	t.mu.Lock()
	defer t.settle()
	t.setInterface(i)
}

// RemoveInterface takes an interface out, with its neighbours and routes.
func (t *Table) RemoveInterface(index int) {
	t.mu.Lock()
	defer t.settle()
	t.removeInterface(index)
}

// renew replaces the interfaces by a copy that fn has changed.
func (t *Table) renew(fn func(*interfaces)) {
	old := t.ifaces.Load()
	n := &interfaces{byIndex: maps.Clone(old.byIndex), byName: make(map[string]*Interface, len(old.byName)+1)}
	fn(n)
	for _, i := range n.byIndex {
		n.byName[i.Name] = i
	}
	t.ifaces.Store(n)
	t.links.Add(1)
	t.changed()
}

func (t *Table) setInterface(i Interface) {
	old := t.Interface(i.Index)
	i.seen = t.dump
	switch {
	case old == nil:
		i.neighbors = new(neighbors)
	case old.Name == i.Name && old.Up == i.Up && old.Carrier == i.Carrier && old.MTU == i.MTU && old.HWAddr == i.HWAddr && slices.Equal(old.Prefixes, i.Prefixes):
		old.seen = t.dump
		return
	default:
		i.neighbors = old.neighbors
	}
	t.renew(func(n *interfaces) { n.byIndex[i.Index] = &i })
	if old == nil || old.Up != i.Up {
		t.rechoose(i.Index)
	}
}

func (t *Table) removeInterface(index int) {
	i := t.Interface(index)
	if i == nil {
		return
	}
	i.neighbors.table.All(func(_ netip.Prefix, n *Neighbor) bool {
		n.set([6]byte{}, 0)
		t.status.Neighbors--
		return true
	})
	t.renew(func(n *interfaces) { delete(n.byIndex, index) })
	t.rechoose(index)
	only := make(map[*ways]bool)
	for _, w := range t.ways {
		if len(w.all) > 0 && !slices.ContainsFunc(w.all, func(h Hop) bool { return h.Ifindex != index }) {
			only[w] = true
		}
	}
	if len(only) > 0 { // else the routes need not be looked through
		t.drop(func(r *Route) bool { return only[r.ways] })
	}
}

// rechoose finds out which next hops are left after an interface has gone up or down, and takes out what the kernel does without
// saying so: IPv4 routes all of whose next hops are down.
func (t *Table) rechoose(index int) {
	on := func(hops []Hop) bool {
		return slices.ContainsFunc(hops, func(h Hop) bool { return h.Ifindex == index })
	}
	dead := make(map[*ways]bool)
	for _, w := range t.ways {
		if on(w.all) {
			t.choose(w, false)
			if len(w.choice.Load().hops) == 0 {
				dead[w] = true
			}
		}
	}
	t.resolve()
	for _, o := range t.objects {
		if on(o.ways.all) && len(o.ways.choice.Load().hops) == 0 {
			dead[o.ways] = true
		}
	}
	if len(dead) > 0 {
		t.drop(func(r *Route) bool { return r.kind == Unicast && r.Prefix.Addr().Is4() && dead[r.ways] })
	}
	t.changed()
}

// setAddr enters or takes out an own address.
func (t *Table) setAddr(index int, p netip.Prefix, add bool) {
	i := t.Interface(index)
	if i == nil {
		return
	}
	at := slices.Index(i.Prefixes, p)
	if (at >= 0) == add {
		return
	}
	n := *i
	if add {
		n.Prefixes = append(slices.Clone(i.Prefixes), p)
	} else {
		n.Prefixes = slices.Delete(slices.Clone(i.Prefixes), at, at+1)
	}
	t.renew(func(m *interfaces) { m.byIndex[index] = &n })
}
