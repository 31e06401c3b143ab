package rewrite

import (
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/janos-os/janos/clock"
)

// A table has three parts:
//
//   - flows lie in chunks that never move, and are named by number
//   - an index of 64 open hash tables, each of which grows alone, so that growing a large table takes no long pause
//   - two heaps by time: flows that are guaranteed their place, and others. A packet does not touch them. The times in a heap are at most the right ones
//     and are corrected when a flow comes to the top.

// flow is a pair of mappings. A packet with key[d] is rewritten to look like the reverse of key[1-d], and leaves by out[d].
type flow struct {
	key   [2]key
	ip    [2]uint16 // growth of the IP header's sum in that direction
	l4    [2]uint16 // and of the transport checksum's
	last  clock.Time
	heap  uint32 // position in its heap
	input uint16 // whose specification made it, or byHandler
	out   [2]uint16
	state uint8
	count uint8 // packets, up to 3
	anno  uint8 // of the packet that made it, for replies
}

const byHandler = 0xffff

// States of flows.
const (
	stTCP       = 1 << 0
	stData      = 1 << 1 // payload seen in direction 0; shifted by one: in direction 1. For UDP: packets seen
	stFin       = 1 << 3 // likewise
	stReset     = 1 << 5
	stPermanent = 1 << 6 // never times out
	stSafe      = 1 << 7 // in the heap of guaranteed flows
)

func (f *flow) streaming() bool { return f.count >= 3 && f.state&(3*stData) == 3*stData }
func (f *flow) done() bool      { return f.state&stReset != 0 || f.state&(3*stFin) == 3*stFin }

// times say how long flows live after their last packet.
type times struct {
	tcp, tcpDone, tcpNoData, tcpSafe time.Duration
	udp, udpStream, udpSafe          time.Duration
}

// of returns how long a flow stays, and how long it has a guarantee.
func (t *times) of(f *flow) (life, safe time.Duration) {
	switch {
	case f.state&stTCP == 0 && f.streaming():
		return t.udpStream, t.udpSafe
	case f.state&stTCP == 0:
		return t.udp, t.udpSafe
	case f.done():
		return t.tcpDone, t.tcpSafe
	case f.state&(3*stData) != 3*stData:
		return t.tcpNoData, t.tcpSafe
	}
	return t.tcp, t.tcpSafe
}

const (
	chunkBits  = 8
	partBits   = 6
	maxEntries = 1 << 30 // of an index: its slots name flow and direction in 32 bits
)

// slot of an index: part of the hash, and the flow's number and direction plus one; 0 is free.
type slot struct{ hash, ref uint32 }

type part struct {
	slots []slot
	used  int
}

type table struct {
	times
	flip     uint32
	seed     [2]uint64
	parts    [1 << partBits]part
	chunks   []*[1 << chunkBits]flow
	free     []uint32
	next     uint32 // flow that was never used
	n        int
	safe     heap
	rest     heap
	removals uint64               // so that a search that failed need not be repeated before one
	seqs     map[uint32]*[2]steps // of flows whose sequence numbers are changed
}

func newTable(flip uint32) *table {
	s := maphash.MakeSeed() // secret, so that nobody can choose flows that collide
	return &table{flip: flip, seed: [2]uint64{maphash.String(s, "a"), maphash.String(s, "b")}, seqs: map[uint32]*[2]steps{}}
}

func (t *table) flow(i uint32) *flow { return &t.chunks[i>>chunkBits][i&(1<<chunkBits-1)] }

func (t *table) hash(k key) uint64 {
	hi, lo := bits.Mul64(k.a^t.seed[0], k.b^t.seed[1])
	hi, lo = bits.Mul64(hi^lo, t.seed[0]|1)
	return hi ^ lo
}

// find returns the flow that a key belongs to, and in which direction.
func (t *table) find(k key) (i uint32, dir int, ok bool) {
	h := t.hash(k)
	p := &t.parts[h>>(64-partBits)]
	if p.used == 0 {
		return 0, 0, false
	}
	mask := uint32(len(p.slots) - 1)
	for at := uint32(h) & mask; ; at = (at + 1) & mask {
		s := p.slots[at]
		if s.ref == 0 {
			return 0, 0, false
		}
		if s.hash == uint32(h) {
			i, dir = (s.ref-1)>>1, int((s.ref-1)&1)
			if t.flow(i).key[dir] == k {
				return i, dir, true
			}
		}
	}
}

func (t *table) has(k key) bool {
	_, _, ok := t.find(k)
	return ok
}

// enter makes a key lead to a flow.
func (t *table) enter(k key, i uint32, dir int) {
	h := t.hash(k)
	p := &t.parts[h>>(64-partBits)]
	if p.used*4 >= len(p.slots)*3 {
		old := p.slots
		p.slots = make([]slot, max(8, 2*len(old)))
		for _, s := range old {
			if s.ref != 0 {
				p.put(s)
			}
		}
	}
	p.used++
	p.put(slot{uint32(h), i<<1 | uint32(dir) + 1})
}

func (p *part) put(s slot) {
	mask := uint32(len(p.slots) - 1)
	at := s.hash & mask
	for p.slots[at].ref != 0 {
		at = (at + 1) & mask
	}
	p.slots[at] = s
}

// leave takes a key out of the index.
func (t *table) leave(k key, i uint32, dir int) {
	h := t.hash(k)
	p := &t.parts[h>>(64-partBits)]
	mask := uint32(len(p.slots) - 1)
	at := uint32(h) & mask
	for p.slots[at].ref != i<<1|uint32(dir)+1 {
		at = (at + 1) & mask
	}
	// Slots behind it move up as far as their own places allow.
	for hole, next := at, (at+1)&mask; ; next = (next + 1) & mask {
		s := p.slots[next]
		if s.ref == 0 {
			p.slots[hole] = slot{}
			break
		}
		if home := s.hash & mask; (next-home)&mask >= (next-hole)&mask {
			p.slots[hole] = s
			hole = next
		}
	}
	p.used--
}

// add makes a flow of the keys of its two directions, which must not be in the table; they may be equal, and then the reply's
// direction has it. The caller has made room.
func (t *table) add(k, rev key, now clock.Time) uint32 {
	var i uint32
	if n := len(t.free); n > 0 {
		i = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		i = t.next
		t.next++
		if int(i>>chunkBits) == len(t.chunks) {
			t.chunks = append(t.chunks, new([1 << chunkBits]flow))
		}
	}
	f := t.flow(i)
	*f = flow{key: [2]key{k, rev}, last: now}
	for d := range 2 {
		from, to := f.key[d], f.key[1-d].reverse(t.flip)
		addrs := change32(from.src(), to.src()) + change32(from.dst(), to.dst())
		f.ip[d] = fold(addrs)
		f.l4[d] = fold(addrs + change16(from.sport(), to.sport()) + change16(from.dport(), to.dport()))
	}
	if k != rev {
		t.enter(k, i, 0)
	}
	t.enter(rev, i, 1)
	t.n++
	return i
}

// track puts a flow, whose state is set, under the rule of its times.
func (t *table) track(i uint32) {
	f := t.flow(i)
	if f.state&stPermanent != 0 {
		return
	}
	life, safe := t.of(f)
	if safe > 0 {
		f.state |= stSafe
		t.safe.push(t, entry{f.last.Add(safe), i})
	} else {
		t.rest.push(t, entry{f.last.Add(life), i})
	}
}

// lower corrects the heap after a change of state that may let a flow end sooner.
func (t *table) lower(i uint32) {
	f := t.flow(i)
	if f.state&(stPermanent|stSafe) != 0 {
		return // a guarantee is as long in any state
	}
	life, _ := t.of(f)
	if at := f.last.Add(life); at < t.rest.e[f.heap].at {
		t.rest.e[f.heap].at = at
		t.rest.up(t, int(f.heap))
	}
}

// remove ends a flow.
func (t *table) remove(i uint32) {
	f := t.flow(i)
	switch {
	case f.state&stPermanent != 0:
	case f.state&stSafe != 0:
		t.safe.remove(t, int(f.heap))
	default:
		t.rest.remove(t, int(f.heap))
	}
	if f.key[0] != f.key[1] {
		t.leave(f.key[0], i, 0)
	}
	t.leave(f.key[1], i, 1)
	delete(t.seqs, i)
	*f = flow{input: unused}
	t.free = append(t.free, i)
	t.n--
	t.removals++
}

// unused marks the flows in the list of free ones.
const unused = 0xfffe

// each calls fn for all flows in the order of their numbers; fn may remove the flow.
func (t *table) each(fn func(i uint32, f *flow)) {
	for i := range t.next {
		if f := t.flow(i); f.input != unused {
			fn(i, f)
		}
	}
}

// soonest returns the flow without a guarantee that ends next, and when.
func (t *table) soonest(now clock.Time) (i uint32, at clock.Time, ok bool) {
	for len(t.safe.e) > 0 {
		top := t.safe.e[0]
		f := t.flow(top.flow)
		life, safe := t.of(f)
		at := f.last.Add(safe)
		switch {
		case at != top.at:
			t.safe.e[0].at = at
			t.safe.down(t, 0)
			continue
		case at <= now:
			t.safe.remove(t, 0)
			f.state &^= stSafe
			t.rest.push(t, entry{f.last.Add(life), top.flow})
			continue
		}
		break
	}
	for len(t.rest.e) > 0 {
		top := t.rest.e[0]
		f := t.flow(top.flow)
		life, safe := t.of(f)
		if safe > 0 && f.last.Add(safe) > now {
			t.rest.remove(t, 0)
			f.state |= stSafe
			t.safe.push(t, entry{f.last.Add(safe), top.flow})
			continue
		}
		if at := f.last.Add(life); at != top.at {
			t.rest.e[0].at = at
			t.rest.down(t, 0)
			continue
		}
		return top.flow, top.at, true
	}
	return 0, 0, false
}

// reap ends up to n flows whose time is over and reports whether there may be more.
func (t *table) reap(now clock.Time, n int) bool {
	for range n {
		i, at, ok := t.soonest(now)
		if !ok || at > now {
			return false
		}
		t.remove(i)
	}
	return true
}

// rebuild fills the heaps anew, after the times have changed.
func (t *table) rebuild() {
	t.safe.e, t.rest.e = t.safe.e[:0], t.rest.e[:0]
	t.each(func(i uint32, f *flow) {
		f.state &^= stSafe
		t.track(i)
	})
}

// heap of flows, the least time first. Flows know their places.
type heap struct{ e []entry }

type entry struct {
	at   clock.Time
	flow uint32
}

func (h *heap) push(t *table, e entry) {
	h.e = append(h.e, e)
	h.up(t, len(h.e)-1)
}

func (h *heap) set(t *table, i int, e entry) {
	h.e[i] = e
	t.flow(e.flow).heap = uint32(i)
}

func (h *heap) up(t *table, i int) {
	e := h.e[i]
	for i > 0 && e.at < h.e[(i-1)/2].at {
		h.set(t, i, h.e[(i-1)/2])
		i = (i - 1) / 2
	}
	h.set(t, i, e)
}

func (h *heap) down(t *table, i int) {
	e := h.e[i]
	for {
		c := 2*i + 1
		if c+1 < len(h.e) && h.e[c+1].at < h.e[c].at {
			c++
		}
		if c >= len(h.e) || e.at <= h.e[c].at {
			break
		}
		h.set(t, i, h.e[c])
		i = c
	}
	h.set(t, i, e)
}

func (h *heap) remove(t *table, i int) {
	n := len(h.e) - 1
	last := h.e[n]
	h.e = h.e[:n]
	if i < n {
		h.set(t, i, last)
		h.up(t, i)
		h.down(t, int(t.flow(last.flow).heap))
	}
}

// flowSet are the tables that share a capacity.
type flowSet struct {
	tables   []*rewriter
	capacity int
}

func (s *flowSet) size() int {
	n := 0
	for _, e := range s.tables {
		n += e.table.n
	}
	return n
}

// room makes room for one more flow and reports whether there is any: flows that are over or will be soonest go, those with a
// guarantee stay.
func (s *flowSet) room(now clock.Time) bool {
	for s.size() >= s.capacity {
		if !s.evict(now, false) {
			return false
		}
	}
	return true
}

// shrink makes the set as small as its capacity, permanent flows excepted.
func (s *flowSet) shrink(now clock.Time) {
	for s.size() > s.capacity && s.evict(now, true) {
	}
}

func (s *flowSet) evict(now clock.Time, force bool) bool {
	var from *table
	var victim uint32
	var when clock.Time
	for _, e := range s.tables {
		if i, at, ok := e.table.soonest(now); ok && (from == nil || at < when) {
			from, victim, when = e.table, i, at
		}
	}
	for _, e := range s.tables {
		if t := e.table; from == nil && force && len(t.safe.e) > 0 {
			from, victim = t, t.safe.e[0].flow
		}
	}
	if from == nil {
		return false
	}
	from.remove(victim)
	return true
}
