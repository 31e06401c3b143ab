package nodeos

import (
	"slices"

	"github.com/janos-os/janos/resctl"
)

// NodeStats are all counters of a node.
type NodeStats struct {
	Name    string               `json:"name"`
	Workers []WorkerStats        `json:"workers"` // by number
	Links   map[string]LinkStats `json:"links"`   // by name
	Root    DomainStats          `json:"root"`
}

// DomainStats are all counters of a domain; those below it have their own.
type DomainStats struct {
	Path        string                  `json:"path"`
	State       string                  `json:"state"`
	Account     map[string]resctl.Usage `json:"account"` // by resource
	Share       resctl.Share            `json:"share"`
	MaxThreads  int                     `json:"max_threads,omitempty"`
	Runs        RunStats                `json:"runs"`
	Tasks       []TaskStats             `json:"tasks,omitempty"`
	Pools       map[string]MemPoolStats `json:"pools,omitempty"` // that it has made, by path
	Heaps       []HeapStats             `json:"heaps,omitempty"`
	Regions     []RegionStats           `json:"regions,omitempty"`
	Files       FileStats               `json:"files"`
	Descriptors int                     `json:"descriptors"`
	In          []NamedStats            `json:"in,omitempty"`
	Out         []NamedStats            `json:"out,omitempty"`
	Cut         []NamedCutStats         `json:"cut,omitempty"`
	Children    []DomainStats           `json:"children,omitempty"` // by name
}

// NamedStats are the counters of a channel, with its protocol and address strings.
type NamedStats struct {
	Protocol string `json:"protocol"`
	Address  string `json:"address,omitempty"`
	ChanStats
}

// NamedCutStats are the counters of a cut-through channel.
type NamedCutStats struct {
	From string `json:"from"` // protocol string of the in-channel
	To   string `json:"to"`
	CutStats
}

// Stats reads all counters of the node, each for itself while the workers run on. It takes locks and memory by the number of things that there are: it is for
// reports.
func (n *Node) Stats() NodeStats {
	s := NodeStats{Name: n.spec.Name, Links: make(map[string]LinkStats)}
	for _, w := range n.workers {
		s.Workers = append(s.Workers, w.Stats())
	}
	for _, l := range n.Links() {
		name := l.Info().Name
		if st, err := n.LinkStats(name); err == nil { // else it was closed meanwhile
			s.Links[name] = st
		}
	}
	s.Root = n.root.stats(n.CutChans())
	return s
}

// Stats reads all counters of the domain and of those below it, as Node.Stats does.
func (d *Domain) Stats() DomainStats { return d.stats(d.node.CutChans()) }

func (d *Domain) stats(cuts []*CutChan) DomainStats {
	s := DomainStats{
		Path: d.Path(), State: d.State().String(), Account: make(map[string]resctl.Usage), Share: d.account.Share(), MaxThreads: d.MaxThreads(),
		Runs: d.RunStats(), Tasks: d.Tasks(), Files: d.FileStats(), Descriptors: len(d.Descriptors()),
	}
	for r := range resctl.NumResources {
		s.Account[r.String()] = d.account.Usage(r)
	}
	d.mu.Lock()
	pools, holdings, ins := slices.Clone(d.pools), slices.Clone(d.holdings), slices.Clone(d.inChans)
	d.mu.Unlock()
	for _, p := range pools {
		if s.Pools == nil {
			s.Pools = make(map[string]MemPoolStats)
		}
		s.Pools[p.Path()] = p.Stats()
	}
	for _, h := range holdings {
		switch h := h.(type) {
		case *Heap:
			s.Heaps = append(s.Heaps, h.Stats())
		case *Region:
			s.Regions = append(s.Regions, h.Stats())
		}
	}
	for _, c := range ins {
		s.In = append(s.In, NamedStats{c.spec.Protocol, c.spec.Address, c.Stats()})
	}
	for _, c := range d.OutChans() {
		s.Out = append(s.Out, NamedStats{c.spec.Protocol, c.spec.Address, c.Stats()})
	}
	for _, c := range cuts {
		if c.in.domain == d {
			s.Cut = append(s.Cut, NamedCutStats{c.in.spec.Protocol, c.Out().spec.Protocol, c.Stats()})
		}
	}
	for _, c := range d.Children() {
		s.Children = append(s.Children, c.stats(cuts))
	}
	return s
}
