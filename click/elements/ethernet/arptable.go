package ethernet

import (
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

const (
	entryArg       = "ENTRY_CAPACITY: Most addresses that are known or asked for; default 0, which means 65536, the most there can be."
	perEntryArg    = "ENTRY_PACKET_CAPACITY: Most packets held for one address; default 0, no limit but CAPACITY."
	capacityArg    = "CAPACITY: Most packets held in all; default 2048. 0 is no limit."
	slimArg        = "CAPACITY_SLIM_FACTOR: When CAPACITY is exceeded, packets of the oldest entries are dropped until a fraction of CAPACITY is free, one in so many; default 2."
	arpTimeoutArg  = "TIMEOUT: How long an answer holds; default 300s. 0 is for ever."
	tableHandler   = "table (r): A line for each address, the highest first: address, 1 if it is known and else 0, Ethernet address, seconds since the entry was made or last answered."
	insertHandler  = "insert (w): 'IP ETHER': as if ETHER had answered for IP now."
	deleteHandler  = "delete (w): An address to forget."
	clearHandler   = "clear (w): Forgets all."
	countHandler   = "count (r): Number of entries."
	lengthHandler  = "length (r): Number of packets held."
	maxARPEntries  = 1 << 16
	queryPause     = 100 * time.Millisecond // between two questions for one address
	longestWait    = 5 * time.Second        // of a packet for an answer
	keptWhenStale  = time.Minute            // an entry after its TIMEOUT
	sweepInterval  = time.Second
	defaultTimeout = 5 * time.Minute
)

func init() {
	click.Register(click.Class{
		Name: "ARPTable", Ports: "0/0", Processing: "a/a", New: func() click.Element { return &ARPTable{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "is a table of IPv4 and Ethernet addresses that several elements use",
			Text: "Only ARPQuerier elements need one, and only if they are to share it: they name it with TABLE. It also holds the packets that wait for an answer, for five seconds at most. " +
				"At a hot swap a table takes over what a table of the same name holds.",
			Args:     []string{capacityArg, entryArg, perEntryArg, slimArg, arpTimeoutArg},
			Handlers: []string{tableHandler, "drops (r): Packets dropped that were held.", insertHandler, deleteHandler, clearHandler, countHandler, lengthHandler},
			Example:  "t :: ARPTable(TIMEOUT 60s); q0 :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1, TABLE t); q1 :: ARPQuerier(10.0.0.1, 2:0:0:0:0:2, TABLE t);", See: []string{"ARPQuerier"},
		},
	})
}

// Causes of drops of packets that are held.
const (
	dropFull = iota
	dropNoAnswer
	heldCauses
)

// arpEntry is what is known about one address. Entries are in a list, those that were made or answered longest ago first.
type arpEntry struct {
	addr       [4]byte
	ether      [6]byte
	answered   bool
	asked      bool
	since      clock.Time // made or answered
	askedAt    clock.Time
	waiting    clock.Time // since when the oldest packet waits
	pending    []*packet.Packet
	prev, next *arpEntry
}

// arpTable holds entries and the packets that wait for them. It belongs to one element and, like that, to a worker.
type arpTable struct {
	el       *click.Base
	capacity int
	entries  int
	perEntry int
	slim     int
	timeout  time.Duration

	byAddr map[[4]byte]*arpEntry
	list   arpEntry // its ring: list.next is the oldest
	held   int
	causes [heldCauses]uint64
	last   *arpEntry // that was looked for before, as packets for one address come together
	timer  *click.Timer
}

// init makes the table an empty one with the default limits. Before its arguments are parsed.
func (t *arpTable) init(el *click.Base) {
	t.el, t.capacity, t.slim, t.timeout = el, 2048, 2, defaultTimeout
	t.byAddr = map[[4]byte]*arpEntry{}
	t.list.prev, t.list.next = &t.list, &t.list
}

// params are the arguments that say how large it is.
func (t *arpTable) params() []click.Param {
	return []click.Param{
		click.Key("CAPACITY", click.IntRange(&t.capacity, 0, 1<<20)), click.Key("ENTRY_CAPACITY", click.IntRange(&t.entries, 0, maxARPEntries)),
		click.Key("ENTRY_PACKET_CAPACITY", click.IntRange(&t.perEntry, 0, 1<<20)), click.Key("CAPACITY_SLIM_FACTOR", click.IntRange(&t.slim, 1, 1<<20)),
		click.Key("TIMEOUT", click.Duration(&t.timeout)),
	}
}

// start gives the table its timer. In Initialize.
func (t *arpTable) start() { t.timer = t.el.NewTimer(t.sweep) }

// inherit takes over all that old holds. What does not fit is dropped.
func (t *arpTable) inherit(old *arpTable) {
	for n := old.list.next; n != &old.list; n = old.list.next {
		n.unlink()
		t.byAddr[n.addr] = n
		t.append(n)
		t.held += len(n.pending)
	}
	clear(old.byAddr)
	old.held, old.last = 0, nil
	t.causes = old.causes
	for len(t.byAddr) > t.most() {
		t.remove(t.list.next, dropFull)
	}
	if t.capacity > 0 && t.held > t.capacity {
		t.makeRoom(t.capacity)
	}
	t.arm()
}

func (t *arpTable) append(n *arpEntry) {
	n.prev, n.next = t.list.prev, &t.list
	n.prev.next, t.list.prev = n, n
}

func (n *arpEntry) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

// most returns how many entries there may be.
func (t *arpTable) most() int {
	if t.entries == 0 {
		return maxARPEntries
	}
	return t.entries
}

// find returns the entry of an address, or nil.
func (t *arpTable) find(a [4]byte) *arpEntry {
	if n := t.last; n != nil && n.addr == a {
		return n
	}
	n := t.byAddr[a]
	if n != nil {
		t.last = n
	}
	return n
}

// entry returns the entry of an address, a new one if need be. The oldest one makes room.
func (t *arpTable) entry(a [4]byte) *arpEntry {
	if n := t.find(a); n != nil {
		return n
	}
	if len(t.byAddr) >= t.most() {
		t.remove(t.list.next, dropFull)
	}
	n := &arpEntry{addr: a, since: t.el.Now()}
	t.byAddr[a], t.last = n, n
	t.append(n)
	t.arm()
	return n
}

// known reports whether the entry's Ethernet address may be used.
func (t *arpTable) known(n *arpEntry, now clock.Time) bool {
	return n.answered && (t.timeout == 0 || now.Sub(n.since) <= t.timeout)
}

// learn sets the Ethernet address of an entry.
func (t *arpTable) learn(n *arpEntry, m [6]byte) {
	n.ether, n.answered, n.since = m, true, t.el.Now()
	n.unlink()
	t.append(n)
}

// hold keeps a packet until the entry is answered.
func (t *arpTable) hold(n *arpEntry, p *packet.Packet) {
	if t.capacity > 0 && t.held >= t.capacity {
		t.makeRoom(t.capacity - t.capacity/t.slim - 1)
	}
	if t.perEntry > 0 && len(n.pending) >= t.perEntry {
		t.dropHeld(n, 1, dropFull)
	}
	if len(n.pending) == 0 {
		n.waiting = t.el.Now()
	}
	n.pending = append(n.pending, p)
	t.held++
	t.arm()
}

// makeRoom drops packets of the oldest entries until there are no more than want.
func (t *arpTable) makeRoom(want int) {
	for n := t.list.next; n != &t.list && t.held > max(want, 0); n = n.next {
		t.dropHeld(n, min(len(n.pending), t.held-max(want, 0)), dropFull)
	}
}

// dropHeld drops the k oldest packets of an entry.
func (t *arpTable) dropHeld(n *arpEntry, k int, why int) {
	for _, p := range n.pending[:k] {
		t.causes[why]++
		t.el.DropOne(p)
	}
	rest := copy(n.pending, n.pending[k:])
	clear(n.pending[rest:])
	n.pending = n.pending[:rest]
	t.held -= k
}

func (t *arpTable) remove(n *arpEntry, why int) {
	t.dropHeld(n, len(n.pending), why)
	n.unlink()
	delete(t.byAddr, n.addr)
	t.last = nil
}

// clear forgets all.
func (t *arpTable) clear() {
	for len(t.byAddr) > 0 {
		t.remove(t.list.next, dropNoAnswer)
	}
}

func (t *arpTable) arm() {
	if t.timer != nil && len(t.byAddr) > 0 && !t.timer.Pending() {
		t.timer.SetAfter(sweepInterval)
	}
}

// sweep drops packets that nobody answered for and removes entries that are of no use any more.
func (t *arpTable) sweep() {
	now := t.el.Now()
	var next *arpEntry
	for n := t.list.next; n != &t.list; n = next {
		next = n.next
		if len(n.pending) > 0 && now.Sub(n.waiting) >= longestWait {
			t.dropHeld(n, len(n.pending), dropNoAnswer)
		}
		switch {
		case len(n.pending) > 0:
		case n.answered && (t.timeout == 0 || now.Sub(n.since) < t.timeout+keptWhenStale):
		case !n.answered && now.Sub(max(n.since, n.askedAt)) < longestWait:
		default:
			t.remove(n, dropNoAnswer)
		}
	}
	t.arm()
}

// text is the handler table.
func (t *arpTable) text() string {
	list := make([]*arpEntry, 0, len(t.byAddr))
	for _, n := range t.byAddr {
		list = append(list, n)
	}
	sort.Slice(list, func(i, j int) bool { return string(list[i].addr[:]) > string(list[j].addr[:]) })
	var b []byte
	now := t.el.Now()
	for _, n := range list {
		b = netip.AddrFrom4(n.addr).AppendTo(b)
		m := n.ether
		if !n.answered {
			m = broadcastEther
		}
		known := byte('0')
		if t.known(n, now) {
			known = '1'
		}
		b = append(append(b, ' ', known, ' '), DashedEther(m)...)
		b = append(click.AppendTime(append(b, ' '), int64(now.Sub(n.since))), '\n')
	}
	return string(b)
}

// addHandlers registers the handlers for the table. flush, if not nil, sends what waited for an entry.
func (t *arpTable) addHandlers(h *click.Handlers, flush func(n *arpEntry)) {
	h.Read("table", t.text)
	h.Read("count", func() string { return strconv.Itoa(len(t.byAddr)) })
	h.Read("length", func() string { return strconv.Itoa(t.held) })
	h.Write("insert", func(s string) error {
		w := strings.Fields(s)
		if len(w) != 2 {
			return errs.New(errs.Invalid, "expected 'IP ETHER', not '%s'", s)
		}
		a, err := t.addr(h, w[0])
		if err != nil {
			return err
		}
		var m [6]byte
		if err := h.Parse(click.Ether(&m), w[1]); err != nil {
			return errs.New(errs.Invalid, "%v", err)
		}
		n := t.entry(a)
		t.learn(n, m)
		if flush != nil {
			flush(n)
		}
		return nil
	})
	h.Write("delete", func(s string) error {
		a, err := t.addr(h, strings.TrimSpace(s))
		if err != nil {
			return err
		}
		n := t.find(a)
		if n == nil {
			return errs.New(errs.NotFound, "no entry for %v", netip.AddrFrom4(a))
		}
		t.remove(n, dropNoAnswer)
		return nil
	})
	h.Write("clear", func(string) error { t.clear(); return nil })
}

func (t *arpTable) addr(h *click.Handlers, s string) (k [4]byte, err error) {
	var a netip.Addr
	if err := h.Parse(click.Addr4(&a), s); err != nil {
		return k, errs.New(errs.Invalid, "%v", err)
	}
	return a.As4(), nil
}

// ARPTable is a table that is an element of its own.
type ARPTable struct {
	click.Base
	t arpTable
}

// Configure implements click.Element.
func (e *ARPTable) Configure(a *click.Args) {
	e.t.init(&e.Base)
	a.Parse(e.t.params()...)
}

// Initialize implements click.Initializer.
func (e *ARPTable) Initialize() error {
	e.t.start()
	return nil
}

// Cleanup implements click.Cleaner.
func (e *ARPTable) Cleanup() { e.t.clear() }

// Inherit implements click.Inheritor.
func (e *ARPTable) Inherit(old click.Element) error {
	if o, ok := old.(*ARPTable); ok {
		e.t.inherit(&o.t)
		e.CountDrops(int(o.Drops()))
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *ARPTable) AddHandlers(h *click.Handlers) { e.t.addHandlers(h, nil) }
