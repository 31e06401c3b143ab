package control

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/node"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// Status is who a node is and how its layers are.
type Status struct {
	Node     string               `json:"node"`
	Kind     string               `json:"kind"`
	Address  ants.NodeAddr        `json:"address"`
	PID      int                  `json:"pid"`
	Now      clock.Time           `json:"now_ns"` // of the node's clock
	Wall     time.Time            `json:"wall"`
	Links    []Link               `json:"links"`
	Domains  []Domain             `json:"domains"`
	Channels []Channel            `json:"channels"`
	Workers  []nodeos.WorkerStats `json:"workers"`
	Frames   map[string]int       `json:"frames"`          // of packet memory, by state
	Host     *host.Status         `json:"host,omitempty"`  // what is followed of the host
	Trial    *node.Trial          `json:"trial,omitempty"` // the change that waits to be confirmed
	Lost     uint64               `json:"events_dropped"`
}

// Link is a link with its counters.
type Link struct {
	Name     string           `json:"name"`
	Driver   string           `json:"driver"`
	Number   uint16           `json:"number"`
	MTU      int              `json:"mtu"`
	HWAddr   string           `json:"hwaddr,omitempty"`
	Prefixes []netip.Prefix   `json:"prefixes,omitempty"`
	Notes    []string         `json:"notes,omitempty"`
	Stats    nodeos.LinkStats `json:"stats"`
}

// Domain is a domain of the tree, with its tasks.
type Domain struct {
	Path  string             `json:"path"`
	State string             `json:"state"`
	Tasks []nodeos.TaskStats `json:"tasks,omitempty"`
}

// Channel is an in-channel with its counters.
type Channel struct {
	Protocol string           `json:"protocol"`
	Domain   string           `json:"domain"`
	Stats    nodeos.ChanStats `json:"stats"`
}

// StatusOf reads the status of a node of this process.
func StatusOf(n *node.Node) Status {
	o := n.OS()
	s := Status{
		Node: n.Spec().Name, Kind: n.Spec().Kind.String(), Address: n.Spec().Addr, PID: os.Getpid(),
		Now: o.Clock().Now(), Wall: o.Clock().Wall(), Frames: make(map[string]int), Lost: n.Events().Dropped(),
	}
	if t := n.Host(); t != nil {
		h := t.Status()
		s.Host = &h
	}
	if t, ok := n.Pending(); ok {
		s.Trial = &t
	}
	for _, l := range o.Links() {
		i := l.Info()
		st, err := o.LinkStats(i.Name)
		if err != nil {
			continue // closed since
		}
		x := Link{Name: i.Name, Driver: i.Driver, Number: i.Number, MTU: i.MTU, Prefixes: o.Prefixes(i.Name), Notes: slices.Clone(i.Notes), Stats: st}
		if e, ok := l.(interface{ Err() error }); ok && e.Err() != nil {
			x.Notes = append(x.Notes, e.Err().Error())
		}
		if i.HWAddr != [6]byte{} {
			x.HWAddr = net.HardwareAddr(i.HWAddr[:]).String()
		}
		s.Links = append(s.Links, x)
	}
	walkDomains(o.Root(), func(d *nodeos.Domain) {
		s.Domains = append(s.Domains, Domain{Path: d.Path(), State: d.State().String(), Tasks: d.Tasks()})
	})
	for _, c := range o.InChans() {
		s.Channels = append(s.Channels, Channel{Protocol: c.Protocol(), Domain: c.Domain().Path(), Stats: c.Stats()})
	}
	for i := range o.Workers() {
		s.Workers = append(s.Workers, o.Worker(i).Stats())
	}
	for st, k := range o.Pool().Stats().ByState {
		s.Frames[packet.State(st).String()] = k
	}
	return s
}

func walkDomains(d *nodeos.Domain, fn func(*nodeos.Domain)) {
	fn(d)
	for _, c := range d.Children() {
		walkDomains(c, fn)
	}
}

// Account is an account with its use of each resource.
type Account struct {
	Path  string                  `json:"path"`
	Share resctl.Share            `json:"share"`
	Usage map[string]resctl.Usage `json:"usage"`
}

// AccountsOf reads the account tree of a node of this process, parents first.
func AccountsOf(n *node.Node) []Account {
	var as []Account
	n.OS().Root().Account().Walk(func(a *resctl.Account) {
		x := Account{Path: a.Path(), Share: a.Share(), Usage: make(map[string]resctl.Usage)}
		for r := range resctl.NumResources {
			x.Usage[r.String()] = a.Usage(r)
		}
		as = append(as, x)
	})
	return as
}
