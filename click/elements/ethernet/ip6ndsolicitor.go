package ethernet

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IP6NDSolicitor", Ports: "2/1-2", Processing: "h", Flow: "xy/x", New: func() click.Element { return &IP6NDSolicitor{} },
		Doc: click.Doc{
			Group: "ip6", Title: "finds Ethernet addresses by neighbour discovery",
			Text: "Input 0 takes IPv6 packets with the destination annotation set and puts an Ethernet header before them; while the address is unknown it solicits and holds the packets, for five seconds at most. " +
				"Input 1 takes neighbour advertisements. Solicitations go to output 1 if that is connected, else to output 0. Multicast addresses need none, and packets to :: are dropped.\n\n" +
				"Solicitations are sent when packets come, at most ten a second for one address: while it is unknown, when its answer is older than TIMEOUT, and, to the known Ethernet address, when it is older than POLL_TIMEOUT. " +
				"An advertisement without the override flag does not replace a known address that holds. At a hot swap the table of the element of the same name is taken over.",
			Args: []string{
				"IP: Own address.", "ETH: Own Ethernet address.", capacityArg, entryArg, perEntryArg, slimArg, arpTimeoutArg, "POLL_TIMEOUT: Age of an answer from which on its sender is asked again; default 60s. 0 is never.",
			},
			Handlers: []string{
				tableHandler, "stats (r): Packets dropped and solicitations sent, in two lines.", "queries (r): Solicitations sent.", "responses (r): Advertisements taken.",
				lengthHandler, countHandler, "drops (r): Packets dropped.", insertHandler, deleteHandler, clearHandler,
			},
			Example: "rt6[1] -> ... -> [0] nds :: IP6NDSolicitor(fe80::1, 2:0:0:0:0:1) -> out; cl[1] -> [1] nds;", See: []string{"IP6NDAdvertiser", "ARPQuerier"},
		},
	})
}

// IP6NDSolicitor finds Ethernet addresses.
type IP6NDSolicitor struct {
	click.Base
	ip       [16]byte
	ether    [6]byte
	poll     time.Duration
	t        table[[16]byte]
	queries  uint64
	answers  uint64
	multi    [6]byte
	queryOut int
}

// Configure implements click.Element.
func (e *IP6NDSolicitor) Configure(a *click.Args) {
	e.t.init(&e.Base)
	e.poll = time.Minute
	var ip netip.Addr
	if a.Parse(append(e.t.params(), click.Must("IP", click.Addr6(&ip)), click.Must("ETH", click.Ether(&e.ether)), click.Key("POLL_TIMEOUT", click.Duration(&e.poll)))...) {
		e.ip = ip.As16()
	}
	if e.Outputs() > 1 {
		e.queryOut = 1
	}
}

// Initialize implements click.Initializer.
func (e *IP6NDSolicitor) Initialize() error {
	e.t.start()
	return nil
}

// Cleanup implements click.Cleaner.
func (e *IP6NDSolicitor) Cleanup() { e.t.clear() }

// Inherit implements click.Inheritor.
func (e *IP6NDSolicitor) Inherit(old click.Element) error {
	if o, ok := old.(*IP6NDSolicitor); ok {
		e.queries, e.answers = o.queries, o.answers
		e.CountDrops(int(o.Drops()))
		e.t.inherit(&o.t)
	}
	return nil
}

// Push implements click.Pusher.
func (e *IP6NDSolicitor) Push(port int, b *packet.Batch) {
	if port == 1 {
		for _, p := range b.Packets() {
			m, ok := parseND(p.Data())
			if !ok || m.typ != advertisement {
				e.DropOne(p)
				continue
			}
			e.Cache().Free(p)
			e.answer(&m)
		}
		b.Reset()
		return
	}
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		dst := e.resolve(p)
		if dst == nil {
			return false
		}
		if !c.Unshare(p) || !push(p, dst, &e.ether, typeIP6) {
			e.DropOne(p)
			return false
		}
		return true
	})
	e.Out(0).Push(b)
}

// resolve returns the address to send p to, or takes p and returns nil.
func (e *IP6NDSolicitor) resolve(p *packet.Packet) *[6]byte {
	if !p.Anno.Dst.Is6() || p.Anno.Dst.IsUnspecified() {
		e.DropOne(p)
		return nil
	}
	k := p.Anno.Dst.As16()
	if k[0] == 0xff {
		e.multi = multicast6(k)
		return &e.multi
	}
	now := e.Now()
	n := e.t.enter(k)
	due := !n.asked || now.Sub(n.askedAt) >= queryPause
	if e.t.known(n, now) {
		if e.poll > 0 && now.Sub(n.since) >= e.poll && due {
			if q := e.query(n, p, true); q != nil {
				e.ForwardOne(e.queryOut, q)
			}
		}
		return &n.ether
	}
	var q *packet.Packet
	if due {
		q = e.query(n, p, false)
	}
	e.t.hold(n, p)
	if q != nil {
		e.ForwardOne(e.queryOut, q)
	}
	return nil
}

// query makes a solicitation that p has caused, to the known address or to all that may have the address.
func (e *IP6NDSolicitor) query(n *entry[[16]byte], p *packet.Packet, known bool) *packet.Packet {
	n.asked, n.askedAt = true, e.Now()
	m := ndMessage{typ: solicitation, src: e.ip, dst: n.addr, target: n.addr, option: optionSource, link: e.ether}
	to := n.ether
	if !known {
		copy(m.dst[:], solicitedPrefix)
		to = multicast6(m.dst)
	}
	q := newND(&e.Base, e.ether, to, &m)
	if q == nil {
		return nil
	}
	e.queries++
	q.Anno.Time, q.Anno.VLAN, q.Anno.HasVLAN = p.Anno.Time, p.Anno.VLAN, p.Anno.HasVLAN
	return q
}

// answer takes an advertisement and sends what waited for it.
func (e *IP6NDSolicitor) answer(m *ndMessage) {
	e.answers++
	n := e.t.find(m.target)
	if n == nil || m.hasLink && m.link[0]&1 != 0 { // not asked for, or nonsense
		return
	}
	known := e.t.known(n, e.Now())
	switch {
	case m.hasLink && (!known || m.flags&flagOverride != 0 || m.link == n.ether):
		e.t.learn(n, m.link)
		e.flush(n)
	case !m.hasLink && known && m.flags&flagSolicited != 0: // RFC 4861 section 7.2.5: it is still there
		e.t.learn(n, n.ether)
	}
}

// flush sends what waited for an entry. What it sends may come back here.
func (e *IP6NDSolicitor) flush(n *entry[[16]byte]) {
	list := n.pending
	n.pending = nil
	e.t.held -= len(list)
	dst := n.ether
	b := e.Thread().Scratch()
	for _, p := range list {
		if !e.Cache().Unshare(p) || !push(p, &dst, &e.ether, typeIP6) {
			e.DropOne(p)
			continue
		}
		if b.Room() == 0 {
			e.Out(0).Push(b)
		}
		b.Append(p)
	}
	e.Out(0).Push(b)
	e.Thread().Release(b)
	if n.pending == nil {
		clear(list)
		n.pending = list[:0]
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *IP6NDSolicitor) AddHandlers(h *click.Handlers) {
	h.Count("queries", &e.queries)
	h.Count("responses", &e.answers)
	h.Read("stats", func() string { return fmt.Sprintf("%d packets killed\n%d solicitations sent\n", e.Drops(), e.queries) })
	e.t.addHandlers(h, e.flush)
}
