package ants

import (
	"cmp"
	"slices"

	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/resctl"
)

// Stats is a reading of an EE. Lists are in a fixed order.
type Stats struct {
	Node      NodeAddr          `json:"node"`
	Name      string            `json:"name,omitempty"`
	Counts    Counts            `json:"counts"`
	Drops     map[string]uint64 `json:"drops"` // by cause, those that happened
	Kills     uint64            `json:"kills"`
	Refused   int               `json:"refused"` // methods that are refused now
	Protocols []ProtocolStats   `json:"protocols"`
	Ports     []PortStats       `json:"ports"`
	Apps      []AppStats        `json:"apps"`
}

// ProtocolStats is a reading of a protocol.
type ProtocolStats struct {
	Name    string                  `json:"name"`
	ID      ProtocolID              `json:"id"`
	State   string                  `json:"state"` // loading, active
	Pinned  bool                    `json:"pinned"`
	Domain  string                  `json:"domain"`
	Jail    string                  `json:"jail,omitempty"` // where its code runs; empty: in the node's process
	Counts  ProtocolCounts          `json:"counts"`
	Strikes int                     `json:"strikes"`
	Queue   nodeos.ChanStats        `json:"queue"`
	Soft    StateStats              `json:"state_store"`
	Account map[string]resctl.Usage `json:"account"` // by resource
	Classes []ClassStats            `json:"classes"`
}

// ClassStats is a reading of a capsule class.
type ClassStats struct {
	Name     string         `json:"name"`
	Group    GroupID        `json:"group"`
	Code     CodeID         `json:"code"`
	Method   MethodID       `json:"method"`
	Bytes    int            `json:"bytes"`
	Compiled bool           `json:"compiled"`
	Counts   ProtocolCounts `json:"counts"`
}

// PortStats is a reading of a port.
type PortStats struct {
	Name  string           `json:"name"`
	Link  uint16           `json:"link"`
	Queue nodeos.ChanStats `json:"queue"`
}

// AppStats is a reading of an application.
type AppStats struct {
	Name     string           `json:"name"`
	Port     uint16           `json:"port"`
	Received uint64           `json:"received"`
	Queue    nodeos.ChanStats `json:"queue"`
}

// Stats reads everything at one moment. The zero value is returned when the EE has ended.
func (e *EE) Stats() Stats {
	var s Stats
	_ = e.call(func() { s = e.stats() })
	return s
}

// StatsHere is Stats on the EE's worker; on any other it returns the zero value.
func (e *EE) StatsHere(w *nodeos.Worker) Stats {
	if w != e.home {
		return Stats{}
	}
	return e.stats()
}

func (e *EE) stats() Stats {
	s := Stats{
		Node: e.spec.Addr, Name: e.spec.Name, Counts: e.counts, Drops: make(map[string]uint64), Kills: e.killTotal, Refused: len(e.refused.byMethod),
		Protocols: []ProtocolStats{}, Ports: []PortStats{}, Apps: []AppStats{},
	}
	for c, n := range e.drops {
		if n > 0 {
			s.Drops[Cause(c).String()] = n
		}
	}
	for _, f := range e.flows {
		s.Protocols = append(s.Protocols, f.stats())
	}
	slices.SortFunc(s.Protocols, func(a, b ProtocolStats) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Domain, b.Domain))
	})
	for _, p := range e.ports {
		s.Ports = append(s.Ports, PortStats{p.spec.Name, p.spec.Link, p.in.Stats()})
	}
	for _, a := range e.apps {
		s.Apps = append(s.Apps, AppStats{a.spec.Name, a.spec.Port, a.received, a.in.Stats()})
	}
	slices.SortFunc(s.Apps, func(a, b AppStats) int { return cmp.Compare(a.Port, b.Port) })
	return s
}

func (f *flow) stats() ProtocolStats {
	s := ProtocolStats{
		Name: f.name, ID: f.id, State: flowStates[f.state], Pinned: f.pinned, Domain: f.domain.Path(), Counts: f.counts, Strikes: f.strikes,
		Queue: f.in.Stats(), Soft: f.store.stats(), Account: make(map[string]resctl.Usage), Classes: []ClassStats{},
	}
	if f.jail != nil {
		s.Jail = f.jail.Name()
	}
	for r := range resctl.NumResources {
		s.Account[r.String()] = f.domain.Account().Usage(r)
	}
	for _, g := range f.groups {
		for _, c := range g.classes {
			s.Classes = append(s.Classes, ClassStats{
				Name: c.name, Group: g.id, Code: c.id, Method: c.method, Bytes: len(c.bytes), Compiled: c.code.Compiled(), Counts: c.counts,
			})
		}
	}
	return s
}
