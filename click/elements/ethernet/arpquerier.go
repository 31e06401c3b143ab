package ethernet

import (
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ARPQuerier", Ports: "2/1-2", Processing: "h", Flow: "xy/x", New: func() click.Element { return &ARPQuerier{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "finds Ethernet addresses by ARP",
			Text: "Input 0 takes IP packets with the destination annotation set and puts an Ethernet header before them; while the address is unknown it asks and holds the packets. " +
				"Input 1 takes ARP replies. Queries go to output 1 if that is connected, else to output 0. Multicast and broadcast addresses need no query.\n\n" +
				"An unanswered query is repeated every second, five times at most; entries are asked for anew before TIMEOUT is over.",
			Args: []string{
				"IP: Own address.", "ETHER: Own Ethernet address.", "CAPACITY: Packets to hold in all; default 2048.", "ENTRY_CAPACITY: Packets to hold for one address; default 16.",
				"TIMEOUT: How long an answer holds; default 300s.", "BROADCAST: The network's broadcast address.",
			},
			Handlers: []string{
				"table (r): Address, Ethernet address or '?', packets held, age.", "queries (r): Queries sent.", "responses (r): Answers taken.", "length (r): Packets held.", "drops (r): Packets dropped.",
				"drop_details (r): Packets dropped by cause.", "insert (w): An address and its Ethernet address.", "delete (w): An address.", "clear (w): Forgets everything.",
			},
			Example: "rt[1] -> ... -> [0] q :: ARPQuerier(10.0.1.1, 2:0:0:0:0:1) -> out; cl[1] -> [1] q;", See: []string{"ARPResponder"},
		},
	})
}

// Causes of ARPQuerier's drops.
const (
	dropNoAddr = iota
	dropFull
	dropNoAnswer
	dropNoMemory
	dropCauses
)

var dropNames = [dropCauses]string{"no destination address", "too many packets held", "no answer", "no memory"}

// ARPQuerier finds Ethernet addresses.
type ARPQuerier struct {
	click.Base
	ip       netip.Addr
	ether    [6]byte
	capacity int
	perEntry int
	timeout  time.Duration
	bcast    netip.Addr

	table     map[[4]byte]*arpEntry
	held      int
	queries   uint64
	responses uint64
	causes    [dropCauses]uint64
	timer     *click.Timer
	last      *arpEntry // of the packet before, as the next one often has the same
	lastAddr  [4]byte
}

// arpEntry is what is known about one address.
type arpEntry struct {
	ether   [6]byte
	known   bool
	fixed   bool // by handler
	since   clock.Time
	asked   clock.Time
	tries   int
	pending []*packet.Packet
}

const (
	queryPause = time.Second
	maxTries   = 5
	maxEntries = 1 << 16
)

// Configure implements click.Element.
func (e *ARPQuerier) Configure(a *click.Args) {
	e.capacity, e.perEntry, e.timeout = 2048, 16, 300*time.Second
	e.table = map[[4]byte]*arpEntry{}
	a.Parse(click.Must("IP", click.Addr4(&e.ip)), click.Must("ETHER", click.Ether(&e.ether)),
		click.Key("CAPACITY", click.IntRange(&e.capacity, 0, 1<<20)), click.Key("ENTRY_CAPACITY", click.IntRange(&e.perEntry, 1, 1<<16)),
		click.Key("TIMEOUT", click.Duration(&e.timeout)), click.Key("BROADCAST", click.Addr4(&e.bcast)))
}

// Initialize implements click.Initializer.
func (e *ARPQuerier) Initialize() error {
	e.timer = e.NewTimer(e.tick)
	return nil
}

// Cleanup implements click.Cleaner.
func (e *ARPQuerier) Cleanup() { e.clear() }

func (e *ARPQuerier) clear() {
	for a, n := range e.table {
		for _, p := range n.pending {
			e.Cache().Free(p)
		}
		delete(e.table, a)
	}
	e.held, e.last = 0, nil
}

// Push implements click.Pusher.
func (e *ARPQuerier) Push(port int, b *packet.Batch) {
	if port == 1 {
		for _, p := range b.Packets() {
			if m, ok := parseARP(p.Data()); ok && m.op == arpReply {
				e.learn(m.spa, m.sha)
			}
			e.Cache().Free(p)
		}
		b.Reset()
		return
	}
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		dst, ok := e.resolve(p)
		if !ok {
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

// resolve returns the address to send p to, or takes p.
func (e *ARPQuerier) resolve(p *packet.Packet) (*[6]byte, bool) {
	a := p.Anno.Dst
	if !a.Is4() {
		e.drop(p, dropNoAddr)
		return nil, false
	}
	k := a.As4()
	n := e.last
	if n == nil || k != e.lastAddr {
		switch {
		case k == [4]byte{255, 255, 255, 255} || a == e.bcast:
			return &broadcastEther, true
		case k[0]>>4 == 14: // RFC 1112 section 6.4
			return &[6]byte{1, 0, 0x5e, k[1] & 0x7f, k[2], k[3]}, true
		case k == [4]byte{}:
			e.drop(p, dropNoAddr)
			return nil, false
		}
		if n = e.table[k]; n == nil {
			if len(e.table) >= maxEntries {
				e.drop(p, dropFull)
				return nil, false
			}
			n = &arpEntry{}
			e.table[k] = n
		}
		e.last, e.lastAddr = n, k
	}
	now := e.Now()
	if n.known {
		if !n.fixed && e.timeout > 0 && now.Sub(n.since) >= e.timeout*3/4 {
			if now.Sub(n.since) >= e.timeout {
				n.known, n.tries = false, 0
			}
			if now.Sub(n.asked) >= queryPause {
				e.ask(k, n)
			}
		}
		if n.known {
			return &n.ether, true
		}
	}
	if e.held >= e.capacity || len(n.pending) >= e.perEntry {
		if len(n.pending) == 0 {
			e.drop(p, dropFull)
			return nil, false
		}
		e.drop(n.pending[0], dropFull) // the oldest is the least useful
		n.pending = append(n.pending[:0], n.pending[1:]...)
		e.held--
	}
	n.pending = append(n.pending, p)
	e.held++
	if n.tries == 0 {
		e.ask(k, n)
	}
	return nil, false
}

// ask sends a query.
func (e *ARPQuerier) ask(k [4]byte, n *arpEntry) {
	n.tries++
	n.asked = e.Now()
	if !e.timer.Pending() {
		e.timer.SetAfter(queryPause)
	}
	q := newARP(&e.Base, broadcastEther, &arpMessage{op: arpRequest, sha: e.ether, spa: e.ip.As4(), tpa: k})
	if q == nil {
		return
	}
	e.queries++
	port := 0
	if e.Outputs() > 1 {
		port = 1
	}
	e.ForwardOne(port, q)
}

// tick repeats queries and gives up.
func (e *ARPQuerier) tick() {
	now := e.Now()
	var due [][4]byte
	again := false
	for k, n := range e.table {
		if n.known || n.tries == 0 {
			continue
		}
		again = true
		if now.Sub(n.asked) >= queryPause {
			due = append(due, k)
		}
	}
	// The order must not depend on the map's.
	sort.Slice(due, func(i, j int) bool { return string(due[i][:]) < string(due[j][:]) })
	if again {
		e.timer.SetAfter(queryPause)
	}
	for _, k := range due {
		n := e.table[k]
		if n.tries < maxTries && len(n.pending) > 0 {
			e.ask(k, n)
			continue
		}
		for _, p := range n.pending {
			e.drop(p, dropNoAnswer)
		}
		e.held -= len(n.pending)
		delete(e.table, k)
		e.last = nil
	}
}

// learn takes an answer and sends what waited for it.
func (e *ARPQuerier) learn(k [4]byte, m [6]byte) {
	n := e.table[k]
	if n == nil || m[0]&1 != 0 {
		return // not asked for, or nonsense
	}
	e.responses++
	if n.fixed {
		return
	}
	n.ether, n.known, n.since, n.tries = m, true, e.Now(), 0
	e.flush(n)
}

func (e *ARPQuerier) flush(n *arpEntry) {
	b := e.Thread().Scratch()
	for _, p := range n.pending {
		if !e.Cache().Unshare(p) || !push(p, &n.ether, &e.ether, typeIP) {
			e.drop(p, dropNoMemory)
			continue
		}
		if b.Room() == 0 {
			e.Out(0).Push(b)
		}
		b.Append(p)
	}
	e.held -= len(n.pending)
	clear(n.pending)
	n.pending = n.pending[:0]
	e.Out(0).Push(b)
	e.Thread().Release(b)
}

// AddHandlers implements click.HandlerAdder.
func (e *ARPQuerier) AddHandlers(h *click.Handlers) {
	h.Count("queries", &e.queries)
	h.Count("responses", &e.responses)
	h.Read("length", func() string { return strconv.Itoa(e.held) })
	h.Read("drop_details", func() string {
		var b strings.Builder
		for i, n := range e.causes {
			fmt.Fprintf(&b, "%d %s\n", n, dropNames[i])
		}
		return b.String()
	})
	h.Read("table", func() string {
		keys := make([][4]byte, 0, len(e.table))
		for k := range e.table {
			keys = append(keys, k)
		}
		sort.Slice(keys, func(i, j int) bool { return string(keys[i][:]) < string(keys[j][:]) })
		var b strings.Builder
		for _, k := range keys {
			n := e.table[k]
			m := "?"
			if n.known {
				m = FormatEther(n.ether)
			}
			fmt.Fprintf(&b, "%v\t%s\t%d\t%.6f\n", netip.AddrFrom4(k), m, len(n.pending), e.Now().Sub(max(n.since, n.asked)).Seconds())
		}
		return b.String()
	})
	h.Write("insert", func(s string) error {
		w := strings.Fields(s)
		if len(w) != 2 {
			return errs.New(errs.Invalid, "expected 'IP ETHER', not '%s'", s)
		}
		var a netip.Addr
		var m [6]byte
		if err := click.Addr4(&a)(w[0], nil); err != nil {
			return errs.New(errs.Invalid, "%v", err)
		}
		if err := click.Ether(&m)(w[1], nil); err != nil {
			return errs.New(errs.Invalid, "%v", err)
		}
		n := e.table[a.As4()]
		if n == nil {
			n = &arpEntry{}
			e.table[a.As4()] = n
		}
		n.ether, n.known, n.fixed, n.since = m, true, true, e.Now()
		e.flush(n)
		return nil
	})
	h.Write("delete", func(s string) error {
		var a netip.Addr
		if err := click.Addr4(&a)(strings.TrimSpace(s), nil); err != nil {
			return errs.New(errs.Invalid, "%v", err)
		}
		n := e.table[a.As4()]
		if n == nil {
			return errs.New(errs.NotFound, "no entry for %v", a)
		}
		for _, p := range n.pending {
			e.drop(p, dropNoAnswer)
		}
		e.held -= len(n.pending)
		delete(e.table, a.As4())
		e.last = nil
		return nil
	})
	h.Write("clear", func(string) error { e.clear(); return nil })
}
