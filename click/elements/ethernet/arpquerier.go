package ethernet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ARPQuerier", Ports: "2/1-2", Processing: "h", Flow: "xy/x", New: func() click.Element { return &ARPQuerier{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "finds Ethernet addresses by ARP",
			Text: "Input 0 takes IP packets with the destination annotation set and puts an Ethernet header before them; while the address is unknown it asks and holds the packets, for five seconds at most. " +
				"Input 1 takes ARP replies. Queries go to output 1 if that is connected, else to output 0; they have the time and VLAN annotations of the packet that caused them. " +
				"Multicast and broadcast addresses need no query, and packets to 0.0.0.0 are dropped.\n\n" +
				"Queries are sent when packets come, at most ten a second for one address: while it is unknown, when its answer is older than TIMEOUT, and, to the known Ethernet address, when it is older than POLL_TIMEOUT. " +
				"An answer counts where there is an entry for its address. At a hot swap the table of the element of the same name is taken over.",
			Args: []string{
				"IP: Own address, which may be written with the length of the network's prefix.", "ETH: Own Ethernet address; where it is left away, that of the name given for IP.",
				"TABLE: Name of the ARPTable to use instead of one of its own; then the next five arguments have no effect.",
				capacityArg, entryArg, perEntryArg, slimArg, arpTimeoutArg, "POLL_TIMEOUT: Age of an answer from which on its sender is asked again; default 60s. 0 is never.",
				"BROADCAST: The network's broadcast address; default the last address of IP's network, if that is known.", "BROADCAST_POLL: Whether to ask everybody again, and not the known address; default false.",
			},
			Handlers: []string{
				"ipaddr (rw): Own address.", "broadcast (r): The broadcast address, or 255.255.255.255.", tableHandler, "stats (r): Packets dropped and queries sent, in two lines.", "queries (r): Queries sent.", "responses (r): Answers taken.",
				lengthHandler, countHandler, "drops (r): Packets dropped, those that the table held among them.", "drop_details (r): Packets dropped by cause.", insertHandler, deleteHandler, clearHandler,
			},
			Example: "rt[1] -> ... -> [0] q :: ARPQuerier(10.0.1.1/24, 2:0:0:0:0:1) -> out; cl[1] -> [1] q;", See: []string{"ARPResponder", "ARPTable", "ARPFaker"},
		},
	})
}

// Causes of ARPQuerier's drops beside those of its table.
const (
	dropNoAddr = iota
	dropNoMemory
	dropNoReply
	dropCauses
)

// ARPQuerier finds Ethernet addresses.
type ARPQuerier struct {
	click.Base
	ip       [4]byte
	ether    [6]byte
	bcast    [4]byte // 255.255.255.255 if there is no other
	poll     time.Duration
	pollAll  bool
	own      table[[4]byte]
	t        *table[[4]byte]
	shared   bool
	causes   [dropCauses]uint64
	queries  uint64
	answers  uint64
	multi    [6]byte
	queryOut int
}

// Configure implements click.Element.
func (e *ARPQuerier) Configure(a *click.Args) {
	e.own.init(&e.Base)
	e.t, e.poll = &e.own, time.Minute
	var ip, ether string
	var bcast netip.Addr
	var table *ARPTable
	var hasEther, hasBcast bool
	params := []click.Param{
		click.Must("IP", click.String(&ip)), click.May("ETH", click.String(&ether)).Given(&hasEther), click.Key("TABLE", click.Ref(&table, "ARPTable")).Given(&e.shared),
		click.Key("POLL_TIMEOUT", click.Duration(&e.poll)), click.Key("BROADCAST", click.Addr4(&bcast)).Given(&hasBcast), click.Key("BROADCAST_POLL", click.Bool(&e.pollAll)),
	}
	given := make([]bool, 5)
	for i, p := range e.own.params() {
		params = append(params, p.Given(&given[i]))
	}
	if !a.Parse(params...) {
		return
	}
	own, net, err := ownAddr(a, ip)
	if err != nil {
		a.Errorf("IP: %v", err)
		return
	}
	e.ip = own
	if !hasEther {
		ether = ip
	}
	if e.ether, err = a.ParseEther(ether); err != nil {
		if !hasEther {
			a.Errorf("required argument ETH is missing")
		} else {
			a.Errorf("ETH: %v", err)
		}
	}
	e.bcast = [4]byte{255, 255, 255, 255}
	switch {
	case hasBcast:
		e.bcast = bcast.As4()
	case net.IsValid() && net.Bits() < 31: // RFC 3021: shorter networks have none
		v := net.Addr().As4()
		for i := net.Bits(); i < 32; i++ {
			v[i/8] |= 0x80 >> (i % 8)
		}
		e.bcast = v
	}
	if e.shared {
		for i, name := range []string{"CAPACITY", "ENTRY_CAPACITY", "ENTRY_PACKET_CAPACITY", "CAPACITY_SLIM_FACTOR", "TIMEOUT"} {
			if given[i] {
				a.Messagef("warning: %s has no effect beside TABLE, give it to the table", name)
			}
		}
		e.t = &table.t
	}
	if e.Outputs() > 1 {
		e.queryOut = 1
	}
}

// ownAddr parses an address that may tell its network.
func ownAddr(a *click.Args, s string) (addr [4]byte, net netip.Prefix, err error) {
	p, err := a.ParsePrefix(s)
	if err == nil && !p.Addr().Is4() {
		p, err = a.ParsePrefix(s + ":ip")
	}
	if err != nil || !p.Addr().Is4() {
		return addr, net, fmt.Errorf("expected an IPv4 address, not '%s'", s)
	}
	addr, net = p.Addr().As4(), p
	if q, qerr := a.ParsePrefix(s + ":ipnet"); qerr == nil && q.Addr().Is4() {
		net = q // of a name that stands for an address of a network
	}
	return addr, net, nil
}

// Initialize implements click.Initializer.
func (e *ARPQuerier) Initialize() error {
	if !e.shared {
		e.own.start()
	}
	return nil
}

// Cleanup implements click.Cleaner.
func (e *ARPQuerier) Cleanup() { e.own.clear() }

// Inherit implements click.Inheritor.
func (e *ARPQuerier) Inherit(old click.Element) error {
	o, ok := old.(*ARPQuerier)
	if !ok {
		return nil
	}
	e.queries, e.answers, e.causes = o.queries, o.answers, o.causes
	e.CountDrops(int(o.Drops()))
	if !e.shared && !o.shared {
		e.own.inherit(&o.own)
	}
	return nil
}

// Push implements click.Pusher.
func (e *ARPQuerier) Push(port int, b *packet.Batch) {
	if port == 1 {
		for _, p := range b.Packets() {
			m, ok := parseARP(p.Data())
			if !ok || m.op != arpReply {
				e.drop(p, dropNoReply)
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
		if !c.Unshare(p) || !push(p, dst, &e.ether, typeIP) {
			e.drop(p, dropNoMemory)
			return false
		}
		return true
	})
	e.Out(0).Push(b)
}

func (e *ARPQuerier) drop(p *packet.Packet, why int) {
	e.causes[why]++
	e.DropOne(p)
}

// resolve returns the address to send p to, or takes p and returns nil.
func (e *ARPQuerier) resolve(p *packet.Packet) *[6]byte {
	if !p.Anno.Dst.Is4() {
		e.drop(p, dropNoAddr)
		return nil
	}
	k := p.Anno.Dst.As4()
	n := e.t.last
	if n == nil || n.addr != k {
		switch {
		case k == [4]byte{255, 255, 255, 255} || k == e.bcast:
			return &broadcastEther
		case k[0]>>4 == 14: // RFC 1112 section 6.4
			e.multi = [6]byte{1, 0, 0x5e, k[1] & 0x7f, k[2], k[3]}
			return &e.multi
		case k == [4]byte{}:
			e.drop(p, dropNoAddr)
			return nil
		}
		n = e.t.enter(k)
	}
	now := e.Now()
	if e.t.known(n, now) {
		if e.poll > 0 && now.Sub(n.since) >= e.poll && (!n.asked || now.Sub(n.askedAt) >= queryPause) {
			dst := n.ether
			if e.pollAll {
				dst = broadcastEther
			}
			e.ask(n, dst, p)
		}
		if len(n.pending) > 0 { // answered elsewhere
			e.flush(n)
		}
		return &n.ether
	}
	ask := !n.asked || now.Sub(n.askedAt) >= queryPause
	q := e.query(n, broadcastEther, p, ask)
	e.t.hold(n, p)
	if q != nil {
		e.ForwardOne(e.queryOut, q)
	}
	return nil
}

// query makes a query that p has caused, if it is time for one.
func (e *ARPQuerier) query(n *entry[[4]byte], dst [6]byte, p *packet.Packet, due bool) *packet.Packet {
	if !due {
		return nil
	}
	n.asked, n.askedAt = true, e.Now()
	q := newARP(&e.Base, dst, &arpMessage{op: arpRequest, sha: e.ether, spa: e.ip, tpa: n.addr})
	if q == nil {
		return nil
	}
	e.queries++
	q.Anno.Time, q.Anno.VLAN, q.Anno.HasVLAN = p.Anno.Time, p.Anno.VLAN, p.Anno.HasVLAN
	return q
}

func (e *ARPQuerier) ask(n *entry[[4]byte], dst [6]byte, p *packet.Packet) {
	if q := e.query(n, dst, p, true); q != nil {
		e.ForwardOne(e.queryOut, q)
	}
}

// answer takes an answer and sends what waited for it.
func (e *ARPQuerier) answer(m *arpMessage) {
	e.answers++
	if n := e.t.find(m.spa); n != nil && m.sha[0]&1 == 0 { // asked for, and of one station
		e.t.learn(n, m.sha)
		e.flush(n)
	}
}

// flush sends what waited for an entry. What it sends may come back here.
func (e *ARPQuerier) flush(n *entry[[4]byte]) {
	list := n.pending
	n.pending = nil
	e.t.held -= len(list)
	dst := n.ether
	b := e.Thread().Scratch()
	for _, p := range list {
		if !e.Cache().Unshare(p) || !push(p, &dst, &e.ether, typeIP) {
			e.drop(p, dropNoMemory)
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

// killed returns how many packets were dropped, by the table too.
func (e *ARPQuerier) killed() uint64 {
	if e.shared {
		return e.Drops() + e.t.el.Drops()
	}
	return e.Drops()
}

// AddHandlers implements click.HandlerAdder.
func (e *ARPQuerier) AddHandlers(h *click.Handlers) {
	h.Value("ipaddr", func() string { return netip.AddrFrom4(e.ip).String() }, func(s string, a *click.Args) error {
		x, _, err := ownAddr(a, lang.Unquote(s))
		if err == nil {
			e.ip = x
		}
		return err
	})
	h.Read("broadcast", func() string { return netip.AddrFrom4(e.bcast).String() })
	h.Count("queries", &e.queries)
	h.Count("responses", &e.answers)
	h.Read("drops", func() string { return strconv.FormatUint(e.killed(), 10) })
	h.Read("stats", func() string { return fmt.Sprintf("%d packets killed\n%d ARP queries sent\n", e.killed(), e.queries) })
	h.Read("drop_details", func() string {
		var b strings.Builder
		for _, x := range []struct {
			n   uint64
			why string
		}{{e.causes[dropNoAddr], "no destination address"}, {e.t.causes[dropFull], "too many packets held"}, {e.t.causes[dropNoAnswer], "no answer"},
			{e.causes[dropNoMemory], "no memory"}, {e.causes[dropNoReply], "no ARP reply"}} {
			fmt.Fprintf(&b, "%d %s\n", x.n, x.why)
		}
		return b.String()
	})
	e.t.addHandlers(h, e.flush)
}
