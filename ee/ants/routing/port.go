package routing

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// hopLimit is what messages are sent with, and what they must still have on arrival (RFC 5082).
const hopLimit = 255

// port is a link as the router uses it. It belongs to the home worker once it has started.
type port struct {
	router *Router
	spec   LinkSpec
	info   nodeos.LinkInfo
	in     *nodeos.InChan
	out    *nodeos.OutChan
	six    bool // messages are IPv6

	started    bool
	neighbours []*neighbour // by address
	helloAt    *nodeos.Timer
	helloed    clock.Time
	floods     keySet // to be sent to all
	batch      packet.Batch

	messages, pieces, adjacencies rateState
}

// AddLink begins to look for neighbours on a link of the node. It refuses with errs.NotFound a link that is
// not open, with errs.Exists one that the router has, and with errs.Invalid one that has no address, or whose Spec has peers
// although it needs none or none although it needs them.
func (r *Router) AddLink(spec LinkSpec) error {
	spec.Metric = cmp.Or(spec.Metric, DefaultMetric)
	link, err := r.domain.Node().Link(spec.Name)
	if err != nil {
		return err
	}
	p := &port{router: r, spec: spec, info: link.Info()}
	in := nodeos.InChanSpec{
		Worker: -1, Key: demux.Key{{Offset: 0, Value: []byte{Magic >> 8, Magic & 0xff}}},
		Handler: p.receive,
	}
	out := nodeos.OutChanSpec{TTL: hopLimit}
	switch {
	case p.info.Base == demux.UDP:
		if len(spec.Peers) == 0 {
			return errs.New(errs.Invalid, "routing on link %s: its frames begin at UDP, so name the peers", spec.Name)
		}
		in.Protocol, out.Protocol = spec.Name+"/udp", spec.Name+"/udp"
	case len(spec.Peers) > 0:
		return errs.New(errs.Invalid, "routing on link %s: peers are found by hellos there, name none", spec.Name)
	default:
		proto := spec.Name + "/ether/ip/udp"
		out.Address = "255.255.255.255:3323"
		own := r.domain.Node().Prefixes(spec.Name)
		if !slices.ContainsFunc(own, v4) {
			if len(own) == 0 {
				return errs.New(errs.Invalid, "routing on link %s: the interface has no IP address: give it one", spec.Name)
			}
			p.six = true
			proto = spec.Name + "/ether/ip6/udp"
			out.Address = "[ff02::1]:3323"
		}
		in.Protocol, out.Protocol = proto, proto
		in.Address = ":3323"
	}
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	if r.links[spec.Name] != nil {
		return errs.New(errs.Exists, "routing on link %s: already", spec.Name)
	}
	if p.out, err = r.domain.NewOutChan(out); err != nil {
		return err
	}
	if p.in, err = r.domain.NewInChan(in); err != nil {
		p.out.Close()
		return err
	}
	r.links[spec.Name] = p
	p.helloAt = r.domain.NewTimer(-1, func(now clock.Time) { r.sendHello(p, false, now) })
	r.worker.Post(func() {
		if r.domain.State() != nodeos.Active {
			return
		}
		p.started = true
		r.ports = append(r.ports, p)
		slices.SortFunc(r.ports, func(a, b *port) int { return cmp.Compare(a.info.Number, b.info.Number) })
		now := r.domain.Node().Clock().Now()
		// A network that is switched on at once should not say hello at once.
		p.helloAt.Set(now.Add(time.Duration(r.rand.Int64N(int64(helloPace)))))
		r.originateSoon(now)
	})
	return nil
}

// v4 reports whether a prefix is of IPv4.
func v4(px netip.Prefix) bool { return px.Addr().Is4() }

// AddressesChanged tells that a link has other addresses than it had: neighbours are told at once, and the prefixes are announced. A link whose
// messages were IPv6 for want of an IPv4 address, and has one now, or the other way round, begins anew. It does not wait.
func (r *Router) AddressesChanged(name string) error {
	r.linksMu.Lock()
	p := r.links[name]
	r.linksMu.Unlock()
	if p == nil {
		return errs.New(errs.NotFound, "routing: link %s is not in use", name)
	}
	if own := r.domain.Node().Prefixes(name); len(own) > 0 && p.info.Base == demux.Ether && p.six == slices.ContainsFunc(own, v4) {
		if err := r.RemoveLink(name); err != nil {
			return err
		}
		return r.AddLink(p.spec)
	}
	r.worker.Post(func() {
		if r.domain.State() != nodeos.Active || !p.started {
			return
		}
		now := r.domain.Node().Clock().Now()
		r.helloSoon(p, now)
		r.originateSoon(now)
	})
	return nil
}

// RemoveLink gives up a link and the neighbours on it. It does not wait.
func (r *Router) RemoveLink(name string) error {
	r.linksMu.Lock()
	p := r.links[name]
	delete(r.links, name)
	r.linksMu.Unlock()
	if p == nil {
		return errs.New(errs.NotFound, "routing: link %s is not in use", name)
	}
	p.in.Close()
	r.worker.Post(func() {
		if r.domain.State() != nodeos.Active {
			return
		}
		now := r.domain.Node().Clock().Now()
		p.started = false
		p.helloAt.Stop()
		for _, n := range slices.Clone(p.neighbours) {
			r.lose(p, n, ReasonLink, now)
		}
		p.out.Close() // or the link's rate would keep a place for it
		r.ports = slices.DeleteFunc(r.ports, func(x *port) bool { return x == p })
		r.originateSoon(now)
	})
	return nil
}

// receive is the in-channel's handler.
func (p *port) receive(w *nodeos.Worker, b *packet.Batch) {
	r := p.router
	for _, pk := range b.Packets() {
		if p.started {
			r.message(p, pk, w.Now())
		}
	}
	w.Cache().FreeBatch(b)
}

// message handles what came in by p.
func (r *Router) message(p *port, pk *packet.Packet, now clock.Time) {
	if !p.messages.allow(messageRate, now) {
		r.stats.Refused++
		return
	}
	if p.info.Base != demux.UDP {
		ip := pk.Network()
		off := 8 // time to live, RFC 791
		if p.six {
			off = 7 // hop limit, RFC 8200
		}
		if len(ip) <= off || ip[off] != hopLimit {
			r.stats.OffLink++
			return
		}
	} else if !slices.Contains(p.spec.Peers, netip.AddrPortFrom(pk.Anno.Src, pk.Anno.SrcPort)) {
		r.stats.Stranger++
		return
	}
	data := pk.Data()
	h, err := parseHeader(data)
	if err == nil {
		switch h.typ {
		case typeHello:
			if err = parseHello(data, &r.hello); err == nil {
				r.stats.HellosIn++
				r.heard(p, &r.hello, pk, now)
			}
		case typeUpdate:
			if n := r.adjacent(p, h); n != nil {
				r.stats.UpdatesIn++
				err = parseUpdate(data, func(l *LSA) { r.learn(p, n, l, now) })
			}
		case typeSummary:
			if n := r.adjacent(p, h); n != nil {
				if err = parseSummary(data, &r.sum); err == nil {
					r.stats.SummariesIn++
					r.compare(n, &r.sum)
				}
			}
		}
	}
	if err != nil {
		r.stats.Malformed++
	}
}

// adjacent returns the neighbour that sent an update or summary, or nil if there is no such one.
func (r *Router) adjacent(p *port, h header) *neighbour {
	n := p.neighbour(h.node)
	if n == nil || !n.adjacent || n.gen != h.gen {
		if h.node != r.spec.Addr { // what came back is not worth counting
			r.stats.Stranger++
		}
		return nil
	}
	return n
}

// transmit sends a message to one neighbour, or to all if n is nil.
func (r *Router) transmit(p *port, msg []byte, n *neighbour) {
	c := r.worker.Cache()
	peers := p.spec.Peers
	if p.info.Base != demux.UDP {
		peers = []netip.AddrPort{{}}
	}
	if n != nil {
		peers = []netip.AddrPort{netip.AddrPortFrom(n.source, n.hop.Port)}
	}
	for _, to := range peers {
		pk := c.AllocFrom(r.domain.Owner(), msg)
		if pk == nil {
			r.stats.NoPacket++
			return
		}
		if to.Addr().IsValid() {
			pk.Anno.Dst, pk.Anno.DstPort = to.Addr(), to.Port()
		}
		if n != nil && n.hop.HasMAC {
			pk.Anno.LinkAddr, pk.Anno.HasLink = n.hop.MAC, true
		}
		p.batch.Append(pk)
		if p.batch.Room() == 0 {
			p.out.Send(r.worker, &p.batch)
		}
	}
	p.out.Send(r.worker, &p.batch)
}

func (r *Router) header(typ uint8) header { return header{typ: typ, node: r.spec.Addr, gen: r.gen} }

// sendHello says hello on p, or goodbye, and sets the time of the next.
func (r *Router) sendHello(p *port, leave bool, now clock.Time) {
	h := hello{
		header: r.header(typeHello), interval: r.spec.Hello, host: r.spec.Host, leave: leave,
		pieces: uint16(min(len(r.db.pieces), 1<<16-1)), digest: r.db.digest,
	}
	for _, px := range r.domain.Node().Prefixes(p.spec.Name) {
		if a := px.Addr(); len(h.addrs) < MaxAddrs && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() {
			h.addrs = append(h.addrs, a.WithZone(""))
		}
	}
	for _, n := range p.neighbours {
		h.heard = append(h.heard, heard{n.hop.Node, n.gen})
	}
	r.buf = appendHello(r.buf[:0], &h)
	r.transmit(p, r.buf, nil)
	r.stats.HellosOut++
	p.helloed = now
	p.helloAt.Set(now.Add(r.spec.Hello - time.Duration(r.rand.Int64N(int64(r.spec.Hello)/10))))
}

// helloSoon says hello before its time, because there is news.
func (r *Router) helloSoon(p *port, now clock.Time) {
	if at := max(now, p.helloed.Add(helloPace)); p.started && (!p.helloAt.Pending() || p.helloAt.At() > at) {
		p.helloAt.Set(at)
	}
}
