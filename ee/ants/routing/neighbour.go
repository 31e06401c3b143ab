package routing

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// neighbour is a node that is heard on a link. It is in use only while it says that it hears this node too.
type neighbour struct {
	hop      NextHop
	source   netip.Addr // where its messages come from
	gen      uint32
	interval time.Duration
	adjacent bool
	since    clock.Time // of the state
	last     clock.Time // hello
	deadAt   *nodeos.Timer

	owed       keySet // pieces that it lacks
	differs    clock.Time
	differing  bool // its digest is not ours, since differs
	summarised clock.Time
	summaries  bool // a summary is due,
	notBefore  clock.Time
	next       key // where it goes on
}

// neighbour returns the neighbour called a, or nil.
func (p *port) neighbour(a NodeAddr) *neighbour {
	i, ok := p.search(a)
	if !ok {
		return nil
	}
	return p.neighbours[i]
}

func (p *port) search(a NodeAddr) (int, bool) {
	return slices.BinarySearchFunc(p.neighbours, a, func(n *neighbour, a NodeAddr) int { return cmp.Compare(n.hop.Node, a) })
}

// heard handles a hello.
func (r *Router) heard(p *port, h *hello, pk *packet.Packet, now clock.Time) {
	if h.node == r.spec.Addr {
		if h.gen != r.gen {
			r.complain(now, Event{Kind: DuplicateAddress, Link: p.spec.Name})
		}
		return
	}
	n := p.neighbour(h.node)
	if n != nil && n.gen != h.gen {
		r.lose(p, n, ReasonRestart, now)
		n = nil
	}
	if h.leave {
		if n != nil {
			r.lose(p, n, ReasonLeft, now)
		}
		return
	}
	if n == nil {
		if len(p.neighbours) >= MaxNeighbours {
			r.complain(now, Event{Kind: Overflow, Link: p.spec.Name, Neighbour: h.node, Reason: "more neighbours on one link than the protocol allows"})
			return
		}
		n = &neighbour{gen: h.gen, since: now}
		n.hop = NextHop{Node: h.node, Link: p.info.Number, LinkName: p.spec.Name, Metric: p.spec.Metric}
		n.deadAt = r.domain.NewTimer(-1, func(now clock.Time) { r.silent(p, n, now) })
		i, _ := p.search(h.node)
		p.neighbours = slices.Insert(p.neighbours, i, n)
		r.helloSoon(p, now)
	}
	n.last, n.interval = now, h.interval
	n.deadAt.Set(now.Add(time.Duration(r.spec.DeadAfter)*h.interval + h.interval/4))

	before := n.hop
	n.learnAddrs(p, h, pk)
	if n.adjacent && n.hop != before {
		r.changed(now)
	}
	both := slices.Contains(h.heard, heard{r.spec.Addr, r.gen})
	switch {
	case both && !n.adjacent:
		if !p.adjacencies.allow(adjacencyRate, now) {
			r.stats.Refused++
			return // there will be another hello
		}
		n.adjacent, n.since = true, now
		r.event(now, Event{Kind: NeighbourUp, Link: p.spec.Name, Neighbour: h.node})
		r.sendHello(p, false, now) // before the summary, which only an adjacent node takes
		r.summariseSoon(n, 0)
		r.originateSoon(now)
		r.changed(now)
	case !both && n.adjacent:
		r.part(p, n, ReasonOneWay, now)
		r.helloSoon(p, now)
	case n.adjacent:
		r.compareDigest(n, h, now)
	}
}

// learnAddrs notes how n can be reached.
func (n *neighbour) learnAddrs(p *port, h *hello, pk *packet.Packet) {
	n.hop.Host = h.host
	n.hop.IP, n.hop.IP6 = netip.Addr{}, netip.Addr{}
	if p.info.Base == demux.UDP {
		n.source, n.hop.IP, n.hop.Port = pk.Anno.Src, pk.Anno.Src, pk.Anno.SrcPort
		return
	}
	if ip := pk.Network(); !p.six && len(ip) >= demux.IPv4Len {
		n.source = netip.AddrFrom4([4]byte(ip[12:16]))
		n.hop.IP = n.source
	} else if p.six && len(ip) >= demux.IPv6Len {
		n.source = netip.AddrFrom16([16]byte(ip[8:24]))
		n.hop.IP6 = n.source
	}
	for _, a := range h.addrs {
		switch {
		case a.Is4() && !n.hop.IP.IsValid():
			n.hop.IP = a
		// A link-local address is the better gateway: it does not depend on prefixes (RFC 4861 section 8).
		case a.Is6() && (!n.hop.IP6.IsValid() || a.IsLinkLocalUnicast() && !n.hop.IP6.IsLinkLocalUnicast()):
			n.hop.IP6 = a
		}
	}
	if !n.hop.IP.IsValid() {
		n.hop.IP = n.hop.IP6
	}
	if mac := pk.MAC(); len(mac) >= demux.EtherLen {
		n.hop.MAC, n.hop.HasMAC = [6]byte(mac[6:12]), true
	}
}

// part takes n out of use.
func (r *Router) part(p *port, n *neighbour, reason string, now clock.Time) {
	if !n.adjacent {
		return
	}
	n.adjacent, n.since = false, now
	n.owed, n.summaries, n.differing = nil, false, false
	r.event(now, Event{Kind: NeighbourDown, Link: p.spec.Name, Neighbour: n.hop.Node, Reason: reason, Silence: now.Sub(n.last)})
	r.originateSoon(now)
	r.changed(now)
}

// silent handles that nothing was heard of n for the dead interval. If the timer itself is late, it is this node that stood
// still, with n's hellos in its queues or, if the whole machine stood still, not yet sent: n gets another interval.
func (r *Router) silent(p *port, n *neighbour, now clock.Time) {
	if now.Sub(n.deadAt.At()) > n.interval/4 {
		n.deadAt.Set(now.Add(n.interval + n.interval/4))
		return
	}
	r.lose(p, n, ReasonSilent, now)
}

// lose forgets n.
func (r *Router) lose(p *port, n *neighbour, reason string, now clock.Time) {
	n.deadAt.Stop()
	r.part(p, n, reason, now)
	if i, ok := p.search(n.hop.Node); ok && p.neighbours[i] == n {
		p.neighbours = slices.Delete(p.neighbours, i, i+1)
	}
	r.helloSoon(p, now)
}

// compareDigest has a summary sent when n's database differs from ours for longer than a flood takes.
func (r *Router) compareDigest(n *neighbour, h *hello, now clock.Time) {
	if h.digest == r.db.digest && int(h.pieces) == min(len(r.db.pieces), 1<<16-1) {
		n.differing, n.owed = false, n.owed[:0]
		return
	}
	if !n.differing {
		n.differing, n.differs = true, now
		return
	}
	if half := r.spec.Hello / 2; now.Sub(n.differs) >= half {
		r.summariseSoon(n, half)
	}
}

// summariseSoon has a summary sent to n, at least pace after the last.
func (r *Router) summariseSoon(n *neighbour, pace time.Duration) {
	if !n.summaries {
		n.summaries, n.next, n.notBefore = true, 0, n.summarised.Add(pace)
		r.flush.Wake()
	}
}
