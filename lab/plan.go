package lab

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/linkmodel"
)

// Plan is a topology in which everything has been decided. It is inert, the same for every form in which the network
// is built, and the same whenever it is made from the same topology. Its JSON form is what `janos lab status` shows of it.
type Plan struct {
	Name    string     `json:"name"`
	Seed    uint64     `json:"seed"`
	Routing Routing    `json:"routing"`
	Nodes   []NodePlan `json:"nodes"`
	Links   []LinkPlan `json:"links"`
	Actions []Action   `json:"actions,omitempty"`

	Duration time.Duration `json:"duration_ns,omitempty"`

	byNode map[string]int
	byLink map[string]int
}

// NodePlan is one node.
type NodePlan struct {
	Index      int         `json:"index"` // in Plan.Nodes
	Name       string      `json:"name"`
	Kind       Kind        `json:"kind"`
	Addr       netip.Addr  `json:"addr"` // logical address, on the loopback interface
	Interfaces []Interface `json:"interfaces"`
	Routes     []Route     `json:"routes,omitempty"`    // what the lab enters in the kernel's table
	Protocols  []string    `json:"protocols,omitempty"` // descriptions of protocols that it has from the start
	Options    NodeOptions `json:"options,omitzero"`
}

// Interface is one end of a link.
type Interface struct {
	Name     string           `json:"name"` // eth0, eth1, in the order of the links in the file
	Link     int              `json:"link"` // index in Plan.Links
	End      int              `json:"end"`  // 0 or 1
	MAC      net.HardwareAddr `json:"mac"`
	Prefix   netip.Prefix     `json:"prefix"` // address and length of the link's network
	MTU      int              `json:"mtu"`
	Peer     string           `json:"peer"` // name of the node at the other end
	PeerAddr netip.Addr       `json:"peer_addr"`
	PeerMAC  net.HardwareAddr `json:"peer_mac"`
}

// LinkPlan is one link.
type LinkPlan struct {
	Index  int                  `json:"index"` // in Plan.Links
	Name   string               `json:"name"`
	Ends   [2]End               `json:"ends"`
	MTU    int                  `json:"mtu"`
	Cost   int                  `json:"cost,omitempty"` // for routing
	Impair linkmodel.Impairment `json:"impairment"`
	Direct bool                 `json:"direct,omitempty"`
}

// End names an interface: Plan.Nodes[Node].Interfaces[Interface].
type End struct {
	Node      int `json:"node"`
	Interface int `json:"interface"`
}

// Route is a route of a node's kernel.
type Route struct {
	Dst       netip.Prefix `json:"dst"`
	Via       netip.Addr   `json:"via"`
	Interface int          `json:"interface"` // index in NodePlan.Interfaces
}

// The pools that addresses come from when the topology names none.
var (
	defaultLinkPool = netip.MustParsePrefix("10.0.0.0/12")
	defaultNodePool = netip.MustParsePrefix("10.255.0.0/16")
)

// MarshalText returns the word that topology files use.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads it.
func (k *Kind) UnmarshalText(b []byte) error {
	switch string(b) {
	case "host":
		*k = Host
	case "router":
		*k = Router
	default:
		return errs.New(errs.Invalid, "%q is not a kind of node; write host or router", clip(string(b)))
	}
	return nil
}

// Plan checks the topology and decides names, addresses, MAC addresses and routes.
func (t *Topology) Plan() (*Plan, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	p := &Plan{
		Name: t.Name, Seed: t.Seed, Routing: t.Routes, Actions: t.Actions, Duration: t.Duration,
		Nodes: make([]NodePlan, len(t.Nodes)),
		Links: make([]LinkPlan, len(t.Links)),
	}
	for i, n := range t.Nodes {
		p.Nodes[i] = NodePlan{Index: i, Name: n.Name, Kind: n.Kind, Addr: n.Addr, Options: n.Options.over(t.Defaults)}
	}
	for i, name := range t.linkNames() {
		p.Links[i].Name = name
	}
	p.index()
	for _, pr := range t.Protocols {
		for i := range p.Nodes {
			n := &p.Nodes[i]
			if len(pr.At) == 0 && n.Kind == Host || slices.Contains(pr.At, n.Name) {
				n.Protocols = append(n.Protocols, t.path(pr.File))
			}
		}
	}
	for i, l := range t.Links {
		lp := LinkPlan{Index: i, Name: p.Links[i].Name, MTU: l.MTU, Cost: l.Cost, Impair: l.Impair, Direct: l.Direct}
		if lp.MTU == 0 {
			lp.MTU = DefaultMTU
		}
		for e, end := range l.Ends {
			n := &p.Nodes[p.byNode[end]]
			k := len(n.Interfaces)
			lp.Ends[e] = End{n.Index, k}
			n.Interfaces = append(n.Interfaces, Interface{
				Name: fmt.Sprintf("eth%d", k), Link: i, End: e, MAC: mac(n.Index, k), MTU: lp.MTU, Prefix: l.Addrs[e],
			})
		}
		p.Links[i] = lp
	}
	if err := t.assign(p); err != nil {
		return nil, err
	}
	for _, l := range p.Links {
		for e := range 2 {
			here, there := p.at(l.Ends[e]), p.at(l.Ends[1-e])
			here.Peer = p.Nodes[l.Ends[1-e].Node].Name
			here.PeerAddr, here.PeerMAC = there.Prefix.Addr(), there.MAC
		}
	}
	p.routes(t.Routes)
	return p, nil
}

// path resolves a path of the file.
func (t *Topology) path(p string) string {
	if filepath.IsAbs(p) || t.file == "" {
		return p
	}
	return filepath.Join(filepath.Dir(t.file), p)
}

// index makes nodes and links findable by name.
func (p *Plan) index() {
	p.byNode = make(map[string]int, len(p.Nodes))
	for i := range p.Nodes {
		p.byNode[p.Nodes[i].Name] = i
	}
	p.byLink = make(map[string]int, len(p.Links))
	for i := range p.Links {
		p.byLink[p.Links[i].Name] = i
	}
}

func (p *Plan) at(e End) *Interface { return &p.Nodes[e.Node].Interfaces[e.Interface] }

// Node returns the node with the given name, or nil. The result belongs to the plan.
func (p *Plan) Node(name string) *NodePlan {
	if i, ok := p.byNode[name]; ok {
		return &p.Nodes[i]
	}
	return nil
}

// Link returns the link with the given name, or nil. The result belongs to the plan.
func (p *Plan) Link(name string) *LinkPlan {
	if i, ok := p.byLink[name]; ok {
		return &p.Links[i]
	}
	return nil
}

// mac returns the address of interface k of node n: locally administered, "jn", node and interface.
func mac(n, k int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 'j', 'n', byte(n >> 8), byte(n), byte(k)}
}

// assign gives an address to every interface and node that has none, from the pools, in the order of the file, around
// what the file gives out itself.
func (t *Topology) assign(p *Plan) error {
	claims := t.claims(func(errs.Pos, string, ...any) {}) // checked already
	taken := newSpace()
	for _, c := range claims {
		taken.add(c.prefix)
	}
	pool := t.LinkPool
	if !pool.IsValid() {
		pool = defaultLinkPool
	}
	links := allocator{pool: pool.Masked(), bits: 30, taken: taken}
	for i, l := range t.Links {
		if l.Addrs[0].IsValid() {
			continue
		}
		net := l.network()
		if !net.IsValid() {
			var ok bool
			if net, ok = links.next(); !ok {
				return &errs.At{Pos: t.pos("links", i, ""), Err: errs.New(errs.Limit,
					"no network left in %s for link %s; give pool: links: a shorter prefix", pool, p.Links[i].Name)}
			}
		}
		a := net.Addr()
		if net.Bits() < 31 {
			a = a.Next()
		}
		p.at(p.Links[i].Ends[0]).Prefix = netip.PrefixFrom(a, net.Bits())
		p.at(p.Links[i].Ends[1]).Prefix = netip.PrefixFrom(a.Next(), net.Bits())
	}
	pool = t.NodePool
	if !pool.IsValid() {
		pool = defaultNodePool
	}
	nodes := allocator{pool: pool.Masked(), bits: 32, taken: taken}
	nodes.at = nodes.pool.Addr().Next() // not the network's own address
	for i := range p.Nodes {
		if p.Nodes[i].Addr.IsValid() {
			continue
		}
		net, ok := nodes.next()
		if !ok {
			return &errs.At{Pos: t.pos("nodes", i, "name"), Err: errs.New(errs.Limit,
				"no address left in %s for node %s; give pool: nodes: a shorter prefix", pool, p.Nodes[i].Name)}
		}
		p.Nodes[i].Addr = net.Addr()
	}
	return nil
}

// allocator hands out networks of one size from a pool, ascending.
type allocator struct {
	pool  netip.Prefix
	bits  int
	at    netip.Addr // next candidate; invalid before the first
	taken *space
}

func (a *allocator) next() (netip.Prefix, bool) {
	if !a.at.IsValid() {
		a.at = a.pool.Addr()
	}
	for a.pool.Contains(a.at) {
		p := netip.PrefixFrom(a.at, a.bits)
		clash, ok := a.taken.overlap(p)
		if !ok {
			a.at = last(p).Next()
			a.taken.add(p)
			return p, true
		}
		// Behind the obstacle, at a network boundary of our size.
		end := last(clash)
		if e := last(p); end.Less(e) {
			end = e
		}
		a.at = netip.PrefixFrom(end, a.bits).Masked().Addr()
		for !end.Less(a.at) {
			a.at = last(netip.PrefixFrom(a.at, a.bits)).Next()
			if !a.at.IsValid() || a.at.As4() == [4]byte{} {
				return netip.Prefix{}, false
			}
		}
	}
	return netip.Prefix{}, false
}

// space is a set of prefixes that answers overlap questions with one look-up per prefix length.
type space struct {
	has  map[netip.Prefix]bool
	bits [33]int // members by length
}

func newSpace() *space { return &space{has: make(map[netip.Prefix]bool)} }

func (s *space) add(p netip.Prefix) {
	p = p.Masked()
	if s.has[p] {
		return
	}
	s.has[p] = true
	s.bits[p.Bits()]++
}

// overlap returns a member that overlaps p. Members longer than p are found only if they start at or after p's first address and there
// are few of them, which holds for the /30 and /32 that the allocator asks about.
func (s *space) overlap(p netip.Prefix) (netip.Prefix, bool) {
	for b := 0; b <= p.Bits(); b++ {
		if s.bits[b] == 0 {
			continue
		}
		if q := netip.PrefixFrom(p.Addr(), b).Masked(); s.has[q] {
			return q, true
		}
	}
	for b := p.Bits() + 1; b <= 32; b++ {
		if s.bits[b] == 0 {
			continue
		}
		for a := p.Addr(); p.Contains(a); {
			q := netip.PrefixFrom(a, b)
			if s.has[q] {
				return q, true
			}
			a = last(q).Next()
		}
	}
	return netip.Prefix{}, false
}
