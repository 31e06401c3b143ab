package ip

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	doc := click.Doc{
		Group: "ip", Title: "looks up the destination annotation in a routing table",
		Text: "The longest prefix wins. The packet goes to the route's output; a gateway replaces the destination annotation. Packets without a route are dropped. " +
			"Lookup takes at most three memory accesses, whatever the number of routes; the elements of this kind differ only in their names. When a configuration is replaced, routes that " +
			"handlers added stay unless the new one has routes for their prefixes.",
		Args: []string{"<ADDR/LEN [GATEWAY] OUTPUT>...: Routes. Of two for the same prefix the later one holds. A dash or 0.0.0.0 is no gateway."},
		Handlers: []string{
			"table (r): All routes, in the order in which they came: prefix, gateway or a dash, output.", "lookup (r): The output and gateway for the address given as parameter; -1 without a route.",
			"add (w): A new route; refused if there is one for the prefix.", "set (w): Adds a route or replaces the one for the prefix.",
			"remove (w): Removes the route for a prefix; if an output is given, only if output and gateway are those of the route.", "ctrl (w): Lines of add, set and remove commands, all or none.",
			"flush (w): Removes all routes.", "drops (r): Packets without a route.",
		},
		Example: "rt :: RadixIPLookup(10.0.1.1/32 0, 10.0.1.0/24 1, 0.0.0.0/0 10.0.1.254 1);",
	}
	for _, name := range []string{"StaticIPLookup", "RadixIPLookup", "LinearIPLookup", "DirectIPLookup", "RangeIPLookup", "SortedIPLookup"} {
		click.Register(click.Class{Name: name, Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Lookup{} }, Doc: doc})
	}
}

// Lookup routes by longest prefix.
type Lookup struct {
	click.Base
	table *Table
	args  *click.Args // knows the names that routes may use
}

// Configure implements click.Element.
func (e *Lookup) Configure(a *click.Args) {
	e.table, e.args = NewTable(), a
	for i, arg := range a.List() {
		r, given, err := e.parse(arg, a.Outputs())
		if err == nil && !given {
			err = errRoute
		}
		if err != nil {
			if errors.Is(err, errOutput) {
				a.Errorf("argument %d: bad OUTPUT in '%s'", i+1, arg)
			} else {
				a.Errorf("argument %d should be %v, not '%s'", i+1, err, arg)
			}
			continue
		}
		e.table.Set(r)
	}
}

var (
	errRoute  = errs.New(errs.Invalid, "'ADDR/MASK [GATEWAY] OUTPUT'")
	errOutput = errs.New(errs.Invalid, "bad OUTPUT")
)

// parse reads a route. given is whether it has an output.
func (e *Lookup) parse(s string, outputs int) (r Route, given bool, err error) {
	w := lang.SplitWords(s)
	if len(w) < 1 || len(w) > 3 {
		return Route{}, false, errRoute
	}
	px, err := e.args.ParsePrefix(w[0])
	if err != nil || !px.Addr().Is4() {
		return Route{}, false, errRoute
	}
	r = Route{Prefix: px.Masked(), Port: -1}
	if len(w) == 1 {
		return r, false, nil
	}
	if len(w) == 3 && w[1] != "-" {
		if r.Gateway, err = e.args.ParseAddr(w[1]); err != nil || !r.Gateway.Is4() {
			return Route{}, false, errRoute
		}
		if r.Gateway.IsUnspecified() {
			r.Gateway = netip.Addr{}
		}
	}
	r.Port, err = strconv.Atoi(w[len(w)-1])
	if err != nil || r.Port < 0 || r.Port >= outputs {
		return Route{}, false, errOutput
	}
	return r, true, nil
}

// Push implements click.Pusher.
func (e *Lookup) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	t := e.table
	for i, p := range b.Packets() {
		if !p.Anno.Dst.Is4() {
			ports[i] = noRoute
			continue
		}
		r := t.lookup(p.Anno.Dst.As4())
		ports[i] = uint16(r.Port)
		if r.hasGateway {
			p.Anno.Dst = r.Gateway
		}
	}
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *Lookup) AddHandlers(h *click.Handlers) {
	h.Read("table", e.table.String)
	h.Add(click.Handler{Name: "lookup", Read: func(param string) (string, error) {
		a, err := e.args.ParseAddr(lang.Unquote(strings.TrimSpace(param)))
		if err != nil || !a.Is4() {
			return "", errs.New(errs.Invalid, "expected IP address, not '%s'", param)
		}
		r, ok := e.table.Lookup(a)
		switch {
		case !ok:
			return "-1", nil
		case r.Gateway.IsValid():
			return fmt.Sprintf("%d %v", r.Port, r.Gateway), nil
		}
		return strconv.Itoa(r.Port), nil
	}})
	for _, verb := range []string{"add", "set", "remove"} {
		h.Write(verb, func(s string) error { return e.apply([]string{verb + " " + s}) })
	}
	h.Write("ctrl", func(s string) error { return e.apply(strings.Split(strings.TrimSpace(s), "\n")) })
	h.Write("flush", func(string) error { *e.table = *NewTable(); return nil })
}

// Inherit implements click.Inheritor.
func (e *Lookup) Inherit(old click.Element) error {
	o, ok := old.(*Lookup)
	if !ok {
		return nil
	}
	for _, r := range o.table.routes {
		if _, had := e.table.Get(r.Prefix); r.later && !had && r.Port < e.Outputs() {
			e.table.Set(r)
		}
	}
	return nil
}

// apply carries out commands, or none of them.
func (e *Lookup) apply(cmds []string) error {
	type undo struct {
		r   Route
		had bool
	}
	var done []undo
	var err error
	for _, c := range cmds {
		verb, rest, _ := strings.Cut(strings.TrimSpace(c), " ")
		if verb == "" {
			continue
		}
		var u undo
		if u.r, u.had, err = e.command(verb, rest); err != nil {
			break
		}
		done = append(done, u)
	}
	if err == nil {
		return nil
	}
	for i := len(done) - 1; i >= 0; i-- {
		if done[i].had {
			e.table.Set(done[i].r)
		} else {
			e.table.Remove(done[i].r.Prefix)
		}
	}
	return err
}

// command carries out one command and returns the route that there was before for its prefix.
func (e *Lookup) command(verb, rest string) (old Route, had bool, err error) {
	if verb != "add" && verb != "set" && verb != "remove" {
		return Route{}, false, errs.New(errs.Invalid, "bad command '%s', known are add, set and remove", verb)
	}
	r, given, err := e.parse(rest, e.Outputs())
	if err == nil && !given && verb != "remove" {
		err = errRoute
	}
	if errors.Is(err, errRoute) {
		return Route{}, false, errs.New(errs.Invalid, "expected %w, not '%s'", err, strings.TrimSpace(rest))
	} else if err != nil {
		return Route{}, false, err
	}
	old, had = e.table.Get(r.Prefix)
	switch {
	case verb == "add" && had:
		return Route{}, false, errs.New(errs.Exists, "conflict with existing route '%s'", old.line(" "))
	case verb == "remove" && (!had || given && (old.Port != r.Port || old.Gateway != r.Gateway)):
		return Route{}, false, errs.New(errs.NotFound, "route '%s' not found", r.line(" "))
	case verb == "remove":
		e.table.Remove(r.Prefix)
	default:
		r.later = true
		e.table.Set(r)
	}
	old.Prefix = r.Prefix
	return old, had, nil
}

// noRoute is a port that no element has.
const noRoute = 1<<16 - 1

// Route is an entry of a Table.
type Route struct {
	Prefix     netip.Prefix // masked
	Gateway    netip.Addr   // zero: none
	Port       int
	hasGateway bool
	later      bool // it came by a handler
}

// line shows a route, its parts apart by sep.
func (r *Route) line(sep string) string {
	gw := "-"
	if r.Gateway.IsValid() {
		gw = r.Gateway.String()
	}
	return r.Prefix.String() + sep + gw + sep + strconv.Itoa(r.Port)
}

// Table finds the longest IPv4 prefix of an address: 16, 8 and 8 bits at a time, with every
// prefix spread over the slots that it covers. It is not safe for concurrent use.
//
//	root (65536 slots) -> block (256) -> block (256)
type Table struct {
	routes []Route // [0]: no route
	free   []int32
	byPfx  map[netip.Prefix]int32
	root   []slot
	blocks [][]slot
}

// slot holds a route, or a block to go on with, and the length of the prefix that filled it.
type slot struct {
	ref int32 // route, or ^block
	len int8  // of the prefix that the route of a slot has; for a block not used
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{routes: []Route{{Port: noRoute}}, byPfx: map[netip.Prefix]int32{}, root: make([]slot, 1<<16)}
}

// Len returns the number of routes.
func (t *Table) Len() int { return len(t.byPfx) }

// lookup returns the best route, or one to the port noRoute.
func (t *Table) lookup(a [4]byte) *Route {
	s := t.root[uint(a[0])<<8|uint(a[1])].ref
	if s < 0 {
		if s = t.blocks[^s][a[2]].ref; s < 0 {
			s = t.blocks[^s][a[3]].ref
		}
	}
	return &t.routes[s]
}

// Lookup returns the route with the longest prefix that has a.
func (t *Table) Lookup(a netip.Addr) (Route, bool) {
	if !a.Is4() {
		return Route{}, false
	}
	r := t.lookup(a.As4())
	return *r, r.Port != noRoute
}

// Get returns the route for exactly that prefix.
func (t *Table) Get(p netip.Prefix) (Route, bool) {
	i, ok := t.byPfx[p]
	if !ok {
		return Route{}, false
	}
	return t.routes[i], true
}

// Set adds a route or replaces the one for its prefix.
func (t *Table) Set(r Route) {
	r.hasGateway = r.Gateway.IsValid()
	if i, ok := t.byPfx[r.Prefix]; ok {
		t.routes[i] = r
		return
	}
	var i int32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
		t.routes[i] = r
	} else {
		i = int32(len(t.routes))
		t.routes = append(t.routes, r)
	}
	t.byPfx[r.Prefix] = i
	n := int8(r.Prefix.Bits())
	t.cover(r.Prefix, func(s *slot) {
		if s.len <= n {
			*s = slot{i, n}
		}
	})
}

// Remove takes a route out.
func (t *Table) Remove(p netip.Prefix) {
	i, ok := t.byPfx[p]
	if !ok {
		return
	}
	delete(t.byPfx, p)
	var next slot // what covers the prefix now
	for n := p.Bits() - 1; n >= 0; n-- {
		q, _ := p.Addr().Prefix(n)
		if j, ok := t.byPfx[q]; ok {
			next = slot{j, int8(n)}
			break
		}
	}
	t.cover(p, func(s *slot) {
		if s.ref == i {
			*s = next
		}
	})
	t.routes[i] = Route{Port: noRoute}
	t.free = append(t.free, i)
}

// cover calls fn for all slots with routes below a prefix, and makes the blocks for it.
func (t *Table) cover(p netip.Prefix, fn func(*slot)) {
	a, n := p.Addr().As4(), p.Bits()
	hi := int(a[0])<<8 | int(a[1])
	if n <= 16 {
		for i := hi; i < hi+1<<(16-n); i++ {
			t.fill(&t.root[i], fn)
		}
		return
	}
	b := t.block(&t.root[hi])
	if n <= 24 {
		for i := int(a[2]); i < int(a[2])+1<<(24-n); i++ {
			t.fill(&t.blocks[b][i], fn)
		}
		return
	}
	b = t.block(&t.blocks[b][a[2]])
	for i := int(a[3]); i < int(a[3])+1<<(32-n); i++ {
		t.fill(&t.blocks[b][i], fn)
	}
}

func (t *Table) fill(s *slot, fn func(*slot)) {
	if s.ref >= 0 {
		fn(s)
		return
	}
	b := t.blocks[^s.ref]
	for i := range b {
		t.fill(&b[i], fn)
	}
}

// block returns the block below a slot, which it makes if there is none.
func (t *Table) block(s *slot) int32 {
	if s.ref < 0 {
		return ^s.ref
	}
	b := make([]slot, 256)
	for i := range b {
		b[i] = *s
	}
	n := int32(len(t.blocks))
	s.ref = ^n // before append moves anything that s may point into
	t.blocks = append(t.blocks, b)
	return n
}

// String lists the routes in the order in which they came, save that a new one takes the place of one that was removed.
func (t *Table) String() string {
	var b strings.Builder
	for i := range t.routes {
		if r := &t.routes[i]; r.Prefix.IsValid() {
			b.WriteString(r.line("\t\t") + "\n")
		}
	}
	return b.String()
}
