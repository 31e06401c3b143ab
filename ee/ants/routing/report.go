package routing

import (
	"time"

	"github.com/janos-os/janos/clock"
)

// Neighbour is a node that is heard on a link.
type Neighbour struct {
	NextHop
	MACText    string        `json:"mac,omitempty"`
	Adjacent   bool          `json:"adjacent"` // it hears this node too, and is used
	Generation uint32        `json:"generation"`
	Interval   time.Duration `json:"interval_ns"` // of its hellos
	Since      clock.Time    `json:"since_ns"`    // of being adjacent, or not
	LastHello  clock.Time    `json:"last_hello_ns"`
}

// Report is what a router knows.
type Report struct {
	Node       NodeAddr      `json:"node"`
	Generation uint32        `json:"generation"`
	Version    uint64        `json:"version"` // of the table
	Neighbours []Neighbour   `json:"neighbours"`
	Nodes      []NodeRoute   `json:"nodes"`
	Prefixes   []PrefixRoute `json:"prefixes"`
	Database   []LSA         `json:"database"`
	Stats      Stats         `json:"stats"`
}

// Report copies what the router knows. It waits for the worker and must not be called from one; on a node that is
// closed it returns false.
func (r *Router) Report() (rep Report, ok bool) {
	ok = r.worker.Call(func() {
		now := r.domain.Node().Clock().Now()
		t := r.table.Load()
		rep = Report{Node: r.spec.Addr, Generation: r.gen, Version: t.version, Nodes: t.nodes, Prefixes: t.prefixes, Stats: r.stats}
		for _, p := range r.ports {
			for _, n := range p.neighbours {
				x := Neighbour{NextHop: n.hop, Adjacent: n.adjacent, Generation: n.gen, Interval: n.interval, Since: n.since, LastHello: n.last}
				if n.hop.HasMAC {
					x.MACText = macText(n.hop.MAC)
				}
				rep.Neighbours = append(rep.Neighbours, x)
			}
		}
		for _, s := range r.db.pieces {
			l := s.lsa
			l.Lifetime = max(s.expires.Sub(now), 0)
			rep.Database = append(rep.Database, l)
		}
	})
	return rep, ok
}

func macText(m [6]byte) string {
	const hex = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hex[x>>4], hex[x&15])
	}
	return string(b)
}
