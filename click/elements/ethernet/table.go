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
	maxEntries     = 1 << 16
	queryPause     = 100 * time.Millisecond // between two questions for one address
	longestWait    = 5 * time.Second        // of a packet for an answer
	keptWhenStale  = time.Minute            // an entry after its TIMEOUT
	sweepInterval  = time.Second
	defaultTimeout = 5 * time.Minute
)

// address is the key of a table, the bytes of an address of either version of IP.
type address interface{ [4]byte | [16]byte }

func addrOf[K address](k K) netip.Addr {
	a, _ := netip.AddrFromSlice(bytesOf(&k))
	return a
}

func bytesOf[K address](k *K) []byte {
	switch k := any(k).(type) {
	case *[4]byte:
		return k[:]
	case *[16]byte:
		return k[:]
	}
	return nil
}

// entry is what is known about one address. Entries are in a list, those that were made or answered longest ago first.
type entry[K address] struct {
	addr       K
	ether      [6]byte
	answered   bool
	asked      bool
	since      clock.Time // made or answered
	askedAt    clock.Time
	waiting    clock.Time // since when the oldest packet waits
	pending    []*packet.Packet
	prev, next *entry[K]
}

// table holds entries and the packets that wait for them. It belongs to one element and, like that, to a worker.
type table[K address] struct {
	el       *click.Base
	capacity int
	entries  int
	perEntry int
	slim     int
	timeout  time.Duration

	byAddr map[K]*entry[K]
	list   entry[K] // its ring: list.next is the oldest
	held   int
	causes [heldCauses]uint64
	last   *entry[K] // that was looked for before, as packets for one address come together
	timer  *click.Timer
}

// init makes the table an empty one with the default limits. Before its arguments are parsed.
func (t *table[K]) init(el *click.Base) {
	t.el, t.capacity, t.slim, t.timeout = el, 2048, 2, defaultTimeout
	t.byAddr = map[K]*entry[K]{}
	t.list.prev, t.list.next = &t.list, &t.list
}

// params are the arguments that say how large it is.
func (t *table[K]) params() []click.Param {
	return []click.Param{
		click.Key("CAPACITY", click.IntRange(&t.capacity, 0, 1<<20)), click.Key("ENTRY_CAPACITY", click.IntRange(&t.entries, 0, maxEntries)),
		click.Key("ENTRY_PACKET_CAPACITY", click.IntRange(&t.perEntry, 0, 1<<20)), click.Key("CAPACITY_SLIM_FACTOR", click.IntRange(&t.slim, 1, 1<<20)),
		click.Key("TIMEOUT", click.Duration(&t.timeout)),
	}
}

// start gives the table its timer. In Initialize.
func (t *table[K]) start() { t.timer = t.el.NewTimer(t.sweep) }

// inherit takes over all that old holds. What does not fit is dropped.
func (t *table[K]) inherit(old *table[K]) {
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

func (t *table[K]) append(n *entry[K]) {
	n.prev, n.next = t.list.prev, &t.list
	n.prev.next, t.list.prev = n, n
}

func (n *entry[K]) unlink() {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
}

// most returns how many entries there may be.
func (t *table[K]) most() int {
	if t.entries == 0 {
		return maxEntries
	}
	return t.entries
}

// find returns the entry of an address, or nil.
func (t *table[K]) find(a K) *entry[K] {
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
func (t *table[K]) enter(a K) *entry[K] {
	if n := t.find(a); n != nil {
		return n
	}
	if len(t.byAddr) >= t.most() {
		t.remove(t.list.next, dropFull)
	}
	n := &entry[K]{addr: a, since: t.el.Now()}
	t.byAddr[a], t.last = n, n
	t.append(n)
	t.arm()
	return n
}

// known reports whether the entry's Ethernet address may be used.
func (t *table[K]) known(n *entry[K], now clock.Time) bool {
	return n.answered && (t.timeout == 0 || now.Sub(n.since) <= t.timeout)
}

// learn sets the Ethernet address of an entry.
func (t *table[K]) learn(n *entry[K], m [6]byte) {
	n.ether, n.answered, n.since = m, true, t.el.Now()
	n.unlink()
	t.append(n)
}

// hold keeps a packet until the entry is answered.
func (t *table[K]) hold(n *entry[K], p *packet.Packet) {
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
func (t *table[K]) makeRoom(want int) {
	for n := t.list.next; n != &t.list && t.held > max(want, 0); n = n.next {
		t.dropHeld(n, min(len(n.pending), t.held-max(want, 0)), dropFull)
	}
}

// dropHeld drops the k oldest packets of an entry.
func (t *table[K]) dropHeld(n *entry[K], k int, why int) {
	for _, p := range n.pending[:k] {
		t.causes[why]++
		t.el.DropOne(p)
	}
	rest := copy(n.pending, n.pending[k:])
	clear(n.pending[rest:])
	n.pending = n.pending[:rest]
	t.held -= k
}

func (t *table[K]) remove(n *entry[K], why int) {
	t.dropHeld(n, len(n.pending), why)
	n.unlink()
	delete(t.byAddr, n.addr)
	t.last = nil
}

// clear forgets all.
func (t *table[K]) clear() {
	for len(t.byAddr) > 0 {
		t.remove(t.list.next, dropNoAnswer)
	}
}

func (t *table[K]) arm() {
	if t.timer != nil && len(t.byAddr) > 0 && !t.timer.Pending() {
		t.timer.SetAfter(sweepInterval)
	}
}

// sweep drops packets that nobody answered for and removes entries that are of no use any more.
func (t *table[K]) sweep() {
	now := t.el.Now()
	var next *entry[K]
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
func (t *table[K]) text() string {
	list := make([]*entry[K], 0, len(t.byAddr))
	for _, n := range t.byAddr {
		list = append(list, n)
	}
	sort.Slice(list, func(i, j int) bool { return addrOf(list[j].addr).Less(addrOf(list[i].addr)) })
	var b []byte
	now := t.el.Now()
	for _, n := range list {
		b = addrOf(n.addr).AppendTo(b)
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
func (t *table[K]) addHandlers(h *click.Handlers, flush func(n *entry[K])) {
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
		n := t.enter(a)
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
			return errs.New(errs.NotFound, "no entry for %v", addrOf(a))
		}
		t.remove(n, dropNoAnswer)
		return nil
	})
	h.Write("clear", func(string) error { t.clear(); return nil })
}

func (t *table[K]) addr(h *click.Handlers, s string) (k K, err error) {
	var a netip.Addr
	switch k := any(&k).(type) {
	case *[4]byte:
		if err = h.Parse(click.Addr4(&a), s); err == nil {
			*k = a.As4()
		}
	case *[16]byte:
		if err = h.Parse(click.Addr6(&a), s); err == nil {
			*k = a.As16()
		}
	}
	if err != nil {
		err = errs.New(errs.Invalid, "%v", err)
	}
	return k, err
}
