package ip6

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/lpm"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "LookupIP6Route", Ports: "1/-", Processing: "h", Merging: click.MergedInOrder, New: func() click.Element { return &Lookup{} },
		Doc: click.Doc{
			Group: "ip6", Title: "looks up the destination annotation in a routing table for IPv6",
			Text: "The longest prefix wins. The packet goes to the route's output; a gateway replaces the destination annotation. Packets without a route are dropped. " +
				"When a configuration is replaced, routes that handlers added stay unless the new one has routes for their prefixes.",
			Args: []string{"<PREFIX [GATEWAY] OUTPUT>...: Routes. Of two for the same prefix the later one holds. A dash or ::0 is no gateway."},
			Handlers: []string{
				"table (r): All routes by prefix: prefix, gateway or a dash, output.", "lookup (r): The output and gateway for the address given as parameter; -1 without a route.",
				"add (w): A new route; refused if there is one for the prefix.", "set (w): Adds a route or replaces the one for the prefix.", "remove (w): Removes the route for a prefix.",
				"ctrl (w): Lines of add, set and remove commands, all or none.", "drops (r): Packets without a route.",
			},
			Example: "rt :: LookupIP6Route(2001:db8:1::/64 0, ::0/0 2001:db8::1 1);", See: []string{"RadixIPLookup", "GetIP6Address"},
		},
	})
}

const (
	noRoute   = 1<<16 - 1
	maxRoutes = 1 << 21
)

// route is where packets go.
type route struct {
	prefix  netip.Prefix
	gateway netip.Addr // zero: none
	port    int
	later   bool // it came by a handler
}

func (r *route) String() string {
	gw := "-"
	if r.gateway.IsValid() {
		gw = r.gateway.String()
	}
	return fmt.Sprintf("%v %s %d", r.prefix, gw, r.port)
}

// Lookup routes by longest prefix.
type Lookup struct {
	click.Base
	table lpm.Table[*route]
	args  *click.Args // knows the names that routes may use
}

// Configure implements click.Element.
func (e *Lookup) Configure(a *click.Args) {
	e.args = a
	for i, arg := range a.List() {
		r, given, err := e.parse(arg, a.Outputs())
		if err == nil && !given {
			err = errRoute
		}
		if err != nil {
			a.Errorf("argument %d should be %v, not '%s'", i+1, err, arg)
			continue
		}
		e.table.Set(r.prefix, r)
	}
}

var errRoute = errs.New(errs.Invalid, "'PREFIX [GATEWAY] OUTPUT'")

// parse reads a route. given is whether it has an output.
func (e *Lookup) parse(s string, outputs int) (r *route, given bool, err error) {
	w := lang.SplitWords(s)
	if len(w) < 1 || len(w) > 3 {
		return nil, false, errRoute
	}
	px, err := e.args.ParsePrefix(w[0])
	if err != nil || !px.Addr().Is6() {
		return nil, false, errRoute
	}
	r = &route{prefix: px.Masked(), port: -1}
	if len(w) == 1 {
		return r, false, nil
	}
	if len(w) == 3 && w[1] != "-" {
		if r.gateway, err = e.args.ParseAddr(w[1]); err != nil || !r.gateway.Is6() {
			return nil, false, errRoute
		}
		if r.gateway.IsUnspecified() {
			r.gateway = netip.Addr{}
		}
	}
	r.port, err = strconv.Atoi(w[len(w)-1])
	if err != nil || r.port < 0 || r.port >= outputs {
		return nil, false, errs.New(errs.Invalid, "a route to an output from 0 to %d", outputs-1)
	}
	return r, true, nil
}

// Push implements click.Pusher.
func (e *Lookup) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		ports[i] = noRoute
		if !p.Anno.Dst.Is6() {
			continue
		}
		if r := e.table.Lookup6(p.Anno.Dst.As16()); r != nil {
			ports[i] = uint16(r.port)
			if r.gateway.IsValid() {
				p.Anno.Dst = r.gateway
			}
		}
	}
	e.Split(b, &ports)
}

// Inherit implements click.Inheritor.
func (e *Lookup) Inherit(old click.Element) error {
	o, ok := old.(*Lookup)
	if !ok {
		return nil
	}
	o.table.All(func(p netip.Prefix, r *route) bool {
		if r.later && e.table.Get(p) == nil && r.port < e.Outputs() {
			e.table.Set(p, r)
		}
		return true
	})
	return nil
}

// apply carries out commands, or none of them.
func (e *Lookup) apply(cmds []string) error {
	type undo struct {
		p   netip.Prefix
		old *route
	}
	var done []undo
	for _, c := range cmds {
		verb, rest, _ := strings.Cut(strings.TrimSpace(c), " ")
		if verb == "" {
			continue
		}
		p, old, err := e.command(verb, rest)
		if err == nil {
			done = append(done, undo{p, old})
			continue
		}
		for i := len(done) - 1; i >= 0; i-- {
			if done[i].old != nil {
				e.table.Set(done[i].p, done[i].old)
			} else {
				e.table.Remove(done[i].p)
			}
		}
		return err
	}
	return nil
}

// command carries out one command and returns the prefix and the route that there was for it.
func (e *Lookup) command(verb, rest string) (p netip.Prefix, old *route, err error) {
	if verb != "add" && verb != "set" && verb != "remove" {
		return p, nil, errs.New(errs.Invalid, "bad command '%s', known are add, set and remove", verb)
	}
	r, given, err := e.parse(rest, e.Outputs())
	if err == nil && !given && verb != "remove" {
		err = errRoute
	}
	if err != nil {
		return p, nil, errs.New(errs.Invalid, "expected %v, not '%s'", err, strings.TrimSpace(rest))
	}
	p, old = r.prefix, e.table.Get(r.prefix)
	switch {
	case verb == "add" && old != nil:
		return p, nil, errs.New(errs.Exists, "conflict with existing route '%v'", old)
	case verb == "remove" && (old == nil || given && (old.port != r.port || old.gateway != r.gateway)):
		return p, nil, errs.New(errs.NotFound, "route '%s' not found", strings.TrimSpace(rest))
	case verb == "remove":
		e.table.Remove(p)
	case old == nil && e.table.Len() >= maxRoutes:
		return p, nil, errs.New(errs.Limit, "there can be %d routes", maxRoutes)
	default:
		r.later = true
		e.table.Set(p, r)
	}
	return p, old, nil
}

// AddHandlers implements click.HandlerAdder.
func (e *Lookup) AddHandlers(h *click.Handlers) {
	h.Read("table", func() string {
		var b strings.Builder
		e.table.All(func(_ netip.Prefix, r *route) bool {
			b.WriteString(r.String() + "\n")
			return true
		})
		return b.String()
	})
	h.Add(click.Handler{Name: "lookup", Read: func(param string) (string, error) {
		var a netip.Addr
		if err := h.Parse(click.Addr6(&a), strings.TrimSpace(param)); err != nil {
			return "", errs.New(errs.Invalid, "%v", err)
		}
		r := e.table.Lookup(a)
		switch {
		case r == nil:
			return "-1", nil
		case r.gateway.IsValid():
			return fmt.Sprintf("%d %v", r.port, r.gateway), nil
		}
		return strconv.Itoa(r.port), nil
	}})
	for _, verb := range []string{"add", "set", "remove"} {
		h.Write(verb, func(s string) error { return e.apply([]string{verb + " " + s}) })
	}
	h.Write("ctrl", func(s string) error { return e.apply(strings.Split(strings.TrimSpace(s), "\n")) })
}
