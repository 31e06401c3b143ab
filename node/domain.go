package node

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// Limits of a node file.
const (
	MaxPools   = 64
	MaxDomains = 256
	MaxCuts    = 256 // of a domain
)

// Pool is a memory pool that domains share, see nodeos.MemPoolSpec.
type Pool struct {
	Name     string
	Parent   string        // a pool before it in the file that it is a part of; empty: none
	Limit    int64         // bytes of all attached domains together; 0: none of its own; resctl.Nothing: refuse all
	Share    resctl.Share  // of the attached domains together; 0: resctl.DefaultShare
	Deadline time.Duration // to give memory back in; 0: nodeos.DefaultDeadline
}

// Attrs are what the node file says of a domain beside what it does, see nodeos.DomainSpec.
type Attrs struct {
	Share   resctl.Share // weight in processor time; 0: resctl.DefaultShare
	Worker  int          // home worker, from 0
	MaxRun  time.Duration
	Pool    string // name of a Pool; empty: none
	Limits  resctl.Amounts
	Reserve resctl.Amounts
	Files   nodeos.FilesSpec
	Rights  []nodeos.Operation // nil: all
}

// Domain is a domain of the node file, directly below the root, with a data plane of its own.
type Domain struct {
	Name string
	Attrs
	Graph string       // Click configuration; empty: none
	Cuts  []CutThrough // in the order of the file
	Guest *Guest       // nil: none
	Run   *Program     // nil: none

	at    errs.Pos // where Graph stands, with Line 0 if it is not from a file
	block bool
}

// CutThrough is a cut-through channel: what arrives leaves, at its domain's cost and without its code.
type CutThrough struct {
	In      string // protocol string that frames are taken by
	Address string // local address of its topmost protocol; empty: any
	Key     string // demultiplexing key over the payload; empty: any
	Quota   int    // packets that may wait; 0: nodeos.DefaultQuota
	Rate    int    // packets per second that are taken at most; 0: any number
	Packets int    // that may come at once under Rate; 0: as nodeos.InChanSpec.Burst
	Out     string // protocol string of the link that they leave on
	To      string // remote address of its topmost protocol
	Source  string // local address of it; empty: the link's own
	Ether   [6]byte
	Route   netip.Addr // leave by the host's route to this address, on whichever link that is; Out is on "if" then, and Ether is found
	TTL     uint8      // of an IP header that is put before them; 0: demux.DefaultTTL
	TOS     uint8
	VLAN    []uint16 // tags of the Ethernet header that is put before them, the outer one first
	Bare    bool     // no checksum of UDP
	Hop     bool     // the IP packets that are taken lose one of their TTL
	BitRate uint64   // of frames that leave, per second; 0: any
	Burst   time.Duration
	User    bool // in user space, also where the link could do it
}

// spec returns the channel as the NodeOS wants it.
func (c *CutThrough) spec() (s nodeos.CutChanSpec, err error) {
	s.In = nodeos.InChanSpec{Protocol: c.In, Address: c.Address, Quota: c.Quota, Rate: c.Rate, Burst: c.Packets, Worker: -1}
	s.Out = nodeos.OutChanSpec{Protocol: c.Out, Address: c.To, Source: c.Source, LinkAddr: c.Ether, TTL: c.TTL, TOS: c.TOS, VLAN: c.VLAN, NoChecksum: c.Bare}
	s.DecTTL, s.BitRate, s.Burst, s.User = c.Hop, c.BitRate, c.Burst, c.User
	s.In.Key, err = demux.ParseKey(c.Key)
	return s, err
}

// check reports what is wrong with the channel without a node to make it on.
func (c *CutThrough) check(links func(string) bool) error {
	if _, err := c.spec(); err != nil {
		return err
	}
	if c.Route.IsValid() {
		if p, err := demux.ParseProtocol(c.Out); err != nil || p.Link != demux.AnyLink {
			return errs.New(errs.Invalid, "out: %s: with route the link is the host's choice, write if/ether", c.Out)
		}
		if c.Ether != [6]byte{} {
			return errs.New(errs.Invalid, "ether: with route the address is the next hop's, leave it out")
		}
	}
	for _, e := range []struct{ proto, addr string }{{c.In, c.Address}, {c.Out, c.To}, {c.Out, c.Source}} {
		p, err := demux.ParseProtocol(e.proto)
		if err != nil {
			return err
		}
		if _, err := demux.ParseAddress(p.Top(), e.addr); err != nil {
			return err
		}
		if (p.Link != demux.AnyLink || e.proto != c.In && !c.Route.IsValid()) && !links(p.Link) {
			return errs.New(errs.NotFound, "%s: the node has no link %s", e.proto, p.Link)
		}
	}
	return nil
}

// cred returns the credential that the attributes ask for, or nil for that of the root.
func (a *Attrs) cred(root *nodeos.Cred, name string) *nodeos.Cred {
	if a.Rights == nil {
		return nil
	}
	return root.Narrow(name, nodeos.RightsTo(a.Rights...))
}

// reserved are the names below the root that the node itself gives.
var reserved = []string{"ants", "graph", "routing"}

// checkDomains is the part of check that is about pools and domains.
func (s *Spec) checkDomains(bad func(key, format string, args ...any)) {
	if len(s.Pools) > MaxPools || len(s.Domains) > MaxDomains {
		bad("domains", "%d pools and %d domains, want at most %d and %d", len(s.Pools), len(s.Domains), MaxPools, MaxDomains)
	}
	taken := make(map[string]string)
	pools := make(map[string]bool)
	name := func(key, what, n string) {
		switch {
		case n == "" || len(n) > MaxName || strings.ContainsAny(n, "/ \t\n"):
			bad(key, "%s name %.80q: want 1 to %d characters without blanks and slashes", what, n, MaxName)
		case slices.Contains(reserved, n):
			bad(key, "%s %s: the node itself has a domain of that name; take another name", what, n)
		case taken[n] != "":
			bad(key, "%s %s: there is a %s of that name; names of pools and domains must differ", what, n, taken[n])
		}
		taken[n] = what
	}
	for i := range s.Pools {
		p := &s.Pools[i]
		key := fmt.Sprintf("pools[%d]", i)
		name(key, "memory pool", p.Name)
		if p.Parent != "" && !pools[p.Parent] {
			bad(key, "memory pool %s: there is no pool %.40q before it to be a part of", p.Name, p.Parent)
		}
		if p.Limit < resctl.Nothing || p.Deadline < 0 {
			bad(key, "memory pool %s: limit %d, deadline %v: want neither negative", p.Name, p.Limit, p.Deadline)
		}
		pools[p.Name] = true
	}
	links := func(name string) bool {
		return slices.ContainsFunc(s.Links, func(l Link) bool { return l.Name == name })
	}
	attrs := func(key, who string, a *Attrs) {
		if a.Pool != "" && !pools[a.Pool] {
			bad(key, "%s: there is no memory pool %.40q under pools:", who, a.Pool)
		}
		if a.Pool != "" && a.Reserve[resctl.CPU] != 0 {
			bad(key, "%s: processor time cannot be reserved below memory pool %s, which has none to give; take the pool or the reserve away", who, a.Pool)
		}
		if w := max(s.Workers, 1); a.Worker < 0 || a.Worker >= w {
			bad(key, "%s: worker %d, the node has %d, counted from 0", who, a.Worker, w)
		}
		if a.MaxRun < 0 {
			bad(key, "%s: max-run %v, want 0 (none) or more", who, a.MaxRun)
		}
	}
	for i := range s.Links {
		l := &s.Links[i]
		workers := max(s.Workers, 1)
		if len(l.Workers) > 0 && l.Worker != 0 {
			bad(fmt.Sprintf("links[%d]", i), "link %s: worker and workers: write one of them", l.Name)
		}
		for j, w := range append([]int{l.Worker}, l.Workers...) {
			if w < 0 || w >= workers || j > 0 && slices.Contains(l.Workers[:j-1], w) {
				bad(fmt.Sprintf("links[%d]", i), "link %s: worker %d: the node has %d, counted from 0, and each can have one part of a link", l.Name, w, workers)
			}
		}
	}
	attrs("graph-domain", "graph-domain", &s.GraphDomain)
	attrs("ants", "ants", &s.ANTS.Attrs)
	if s.ANTS.Rights != nil || s.ANTS.Files != (nodeos.FilesSpec{}) {
		bad("ants", "ants: the execution environment has neither rights nor files to set")
	}
	for i := range s.Domains {
		d := &s.Domains[i]
		key := fmt.Sprintf("domains[%d]", i)
		name(key, "domain", d.Name)
		attrs(key, "domain "+d.Name, &d.Attrs)
		if d.Graph == "" && len(d.Cuts) == 0 && d.Guest == nil && d.Run == nil {
			bad(key, "domain %s does nothing: give it a graph, cut-through channels, a guest or a program", d.Name)
		}
		if d.Run != nil {
			d.Run.check(func(format string, args ...any) { bad(key, "domain "+d.Name+": "+format, args...) })
		}
		if d.Guest != nil {
			d.Guest.check(func(format string, args ...any) { bad(key, "domain "+d.Name+": "+format, args...) }, links)
		}
		if len(d.Cuts) > MaxCuts || len(d.Graph) > 1<<20 {
			bad(key, "domain %s: %d cut-through channels and a graph of %d bytes, want at most %d and a MiB", d.Name, len(d.Cuts), len(d.Graph), MaxCuts)
			continue
		}
		for j := range d.Cuts {
			if err := d.Cuts[j].check(links); err != nil {
				bad(fmt.Sprintf("%s.cut-through[%d]", key, j), "domain %s: %v", d.Name, err)
			}
		}
	}
}

// pool returns the memory pool of a name.
func (s *Spec) pool(name string) (p Pool, ok bool) {
	i := slices.IndexFunc(s.Pools, func(p Pool) bool { return p.Name == name })
	if i < 0 {
		return p, false
	}
	return s.Pools[i], true
}

// live is a domain of the node file that runs.
type live struct {
	spec   Domain
	domain *nodeos.Domain
	graph  *click.Router // nil without one
}

// spec returns the attributes as the NodeOS wants them.
func (n *Node) domainSpec(name string, a *Attrs) nodeos.DomainSpec {
	s := nodeos.DomainSpec{
		Account: resctl.Spec{Name: name, Share: a.Share, Limit: a.Limits, Reserve: a.Reserve},
		Worker:  a.Worker, MaxRun: a.MaxRun, Files: a.Files, Cred: a.cred(n.cred, name),
	}
	if s.Files.Dir != "" {
		s.Files.Dir = n.spec.path(s.Files.Dir)
	}
	if p := n.pools[a.Pool]; p != nil {
		s.Pool = p.pool
	}
	return s
}

// livePool is a memory pool of the node file.
type livePool struct {
	spec Pool
	pool *nodeos.MemPool
}

// makePools makes the pools of s that are not there.
func (n *Node) makePools(s *Spec) error {
	for _, p := range s.Pools {
		if n.pools[p.Name] != nil {
			continue
		}
		spec := nodeos.MemPoolSpec{Name: p.Name, Limit: p.Limit, Share: p.Share, Deadline: p.Deadline}
		if up := n.pools[p.Parent]; up != nil {
			spec.Parent = up.pool
		}
		m, err := n.os.NewMemPool(spec)
		if err != nil {
			return err
		}
		n.pools[p.Name] = &livePool{p, m}
	}
	return nil
}

// makeDomains makes the domains of s that are not there.
func (n *Node) makeDomains(s *Spec) error {
	for i := range s.Domains {
		if d := &s.Domains[i]; n.domains[d.Name] == nil {
			if err := n.makeDomain(s, d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) makeDomain(s *Spec, spec *Domain) error {
	ds := n.domainSpec(spec.Name, &spec.Attrs)
	ds.OnExit = func(x nodeos.Exit) { n.exited(spec.Name, x) }
	d, err := n.os.Root().NewDomain(ds)
	if err != nil {
		return err
	}
	l := &live{spec: *spec, domain: d}
	for i := range spec.Cuts {
		err := n.makeCut(d, &spec.Cuts[i])
		if err != nil {
			n.endDomain(d)
			return fmt.Errorf("domain %s: cut-through channel: %w", spec.Name, err)
		}
	}
	if spec.Graph != "" {
		if l.graph, err = n.startElements(spec.source(s), d); err != nil {
			n.endDomain(d)
			return fmt.Errorf("domain %s: %w", spec.Name, err)
		}
	}
	if spec.Guest != nil {
		if err := n.startGuest(s, spec.Name, spec.Guest, d); err != nil {
			n.endDomain(d)
			return fmt.Errorf("domain %s: %w", spec.Name, err)
		}
	}
	if spec.Run != nil {
		if err := n.startProgram(s, spec.Name, spec.Run, d); err != nil {
			n.endDomain(d)
			return fmt.Errorf("domain %s: %w", spec.Name, err)
		}
	}
	n.domains[spec.Name] = l
	return nil
}

// makeCut makes a cut-through channel of a domain, with which it ends.
func (n *Node) makeCut(d *nodeos.Domain, c *CutThrough) error {
	spec, err := c.spec()
	if err != nil {
		return err
	}
	if !c.Route.IsValid() {
		_, err = d.NewCutThrough(spec)
		return err
	}
	table := n.Host()
	if table == nil {
		return errs.New(errs.NotSupported, "route %v: this node does not follow the routes of a host (no link on an interface of it, or host: {off: true})", c.Route)
	}
	devices := make(map[string]string)
	for _, l := range n.spec.Links {
		devices[l.device()] = l.Name
	}
	cut, err := host.NewCut(d, table, host.CutSpec{Chan: spec, To: c.Route, Link: func(device string) string { return devices[device] },
		OnNews: func(w host.Way) {
			n.env.Log.Info("cut-through channel leaves by another way", "in", c.In, "route", c.Route, "link", w.Link, "next-hop", w.NextHop, "why", w.Why)
		}})
	if err != nil {
		return err
	}
	n.cuts.Go(func() {
		<-d.Done()
		cut.Close()
	})
	return nil
}

// DomainEvent tells that a domain of the node file ended otherwise than by the operator's will.
type DomainEvent struct {
	Kind   string        `json:"kind"` // domain-ended
	Node   string        `json:"node"`
	Time   time.Duration `json:"t"` // of the node's clock
	Domain string        `json:"domain"`
	Reason string        `json:"reason"`
	Frames int           `json:"frames"` // that were taken back
}

// exited tells of a domain that policy has ended.
func (n *Node) exited(name string, x nodeos.Exit) {
	if x.Reason == nil || errs.KindOf(x.Reason) == errs.Dead { // by reload or close
		return
	}
	n.env.Log.Error("domain ended", "domain", name, "reason", x.Reason)
	n.event(DomainEvent{"domain-ended", n.os.Name(), time.Duration(n.os.Clock().Now()), x.Domain, x.Reason.Error(), x.Frames})
}

// endDomain ends a domain, and waits until it has ended, so that another may have its name, unless the caller of the node drives it.
func (n *Node) endDomain(d *nodeos.Domain) {
	d.Terminate(errs.New(errs.Dead, "its part of the node file has changed, or the node ends"))
	if !n.env.Stepped {
		<-d.Done()
	}
}

// adjust gives a domain another weight and other limits while it runs.
func adjust(a *resctl.Account, share resctl.Share, limits resctl.Amounts) error {
	a.SetShare(cmp.Or(share, resctl.DefaultShare))
	for r := range resctl.NumResources {
		if a.Usage(r).Limit != limits[r] {
			if err := a.SetLimit(r, limits[r]); err != nil {
				return err
			}
		}
	}
	return nil
}

// fixed returns the attributes that cannot be changed while a domain runs.
func (a Attrs) fixed() Attrs {
	a.Share, a.Limits = 0, resctl.Amounts{}
	return a
}

// sameWork reports whether two domains do the same on the same terms, but for weights and limits.
func (d *Domain) sameWork(o *Domain) bool {
	return d.Name == o.Name && d.Graph == o.Graph && reflect.DeepEqual(d.Cuts, o.Cuts) && reflect.DeepEqual(d.Guest, o.Guest) && reflect.DeepEqual(d.Run, o.Run) && reflect.DeepEqual(d.fixed(), o.fixed())
}

// samePool reports whether pools are the same but for the limit and the weight.
func samePool(a, b Pool) bool {
	a.Limit, a.Share, b.Limit, b.Share = 0, 0, 0, 0
	return a == b
}

func ether(s string) (mac [6]byte, err error) {
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 {
		return mac, errs.New(errs.Invalid, "%.40q is not an Ethernet address such as 02:00:00:00:00:01", s)
	}
	return [6]byte(m), nil
}
