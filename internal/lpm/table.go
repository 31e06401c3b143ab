package lpm

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"sync/atomic"
)

// The way of a lookup: find (jump, or root of the address's version) -> per level: answer of the byte, if any, kept as the best so
// far -> child for the byte -> compare the bytes that were left out -> next level -> look whether the tree has changed.
//
// Rule: a node never changes after it can be reached, but for the pointers in child. Those are stored atomically by the one
// writer, so that a node is replaced by storing its successor in its parent. A change is one such store as lookups see it; changes
// counts them, so that a lookup into which one fell, and which may have met the upper part of the tree before one change and the lower
// part after the next, is repeated.

// Table maps prefixes to values that are not the zero V, which stands for none. The zero Table is empty and ready.
type Table[V comparable] struct {
	four, six tree[V]
}

// tree is the table of one version of IP.
type tree[V comparable] struct {
	root    atomic.Pointer[node[V]]
	jump    atomic.Pointer[jump[V]] // IPv4 with many prefixes; else nil
	changes atomic.Uint64
	len     int
}

// jump has, for the first two bytes of an address, the uppermost node whose depth is 2 or more. What is longer than 16 bits is below it.
type jump[V comparable] [1 << 16]atomic.Pointer[node[V]]

// jumpFrom is the number of prefixes from which the half MiB of a jump pays.
const jumpFrom = 512

// key is an address, its first bit first; IPv4 fills the upper half of hi.
type key struct{ hi, lo uint64 }

// node has the prefixes of 8*depth+1 to 8*depth+8 bits below a path; the root also that of 0 bits.
//
// The order of fields is by cache lines: what answers, what leads to the child, the rest.
type node[V comparable] struct {
	depth     uint8
	childless bool
	runRank   [3]uint8  // bits set in the words before word 1, 2 and 3
	runs      [4]uint64 // byte values at which another answer begins; 0 is one
	best      []V       // by run; empty without prefixes

	childRank [3]uint8
	kids      [4]uint64 // byte values with a child
	child     []atomic.Pointer[node[V]]

	path key      // the first depth bytes; others zero
	own  []own[V] // sorted by slot; writer's
	_    [3]uint64
}

// own is a prefix of a node: its slot is 1<<n | first n bits of the byte, for n of 0 to 8.
type own[V comparable] struct {
	slot  uint16
	value V
}

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// at returns byte i.
func (k key) at(i uint8) uint8 {
	if i < 8 {
		return uint8(k.hi >> (56 - 8*i))
	}
	return uint8(k.lo >> (120 - 8*i))
}

// first keeps the first n bytes.
func (k key) first(n uint8) key {
	switch {
	case n == 0:
		return key{}
	case n <= 8:
		return key{hi: k.hi >> (64 - 8*n) << (64 - 8*n)}
	}
	return key{k.hi, k.lo >> (128 - 8*n) << (128 - 8*n)}
}

// common returns how many bytes at the front are the same.
func (k key) common(o key) uint8 {
	if x := k.hi ^ o.hi; x != 0 {
		return uint8(bits.LeadingZeros64(x) / 8)
	}
	return 8 + uint8(bits.LeadingZeros64(k.lo^o.lo)/8)
}

// Lookup returns the value of the longest prefix that contains a, or the zero V. An IPv4 address mapped into IPv6 is
// an IPv6 address here, and zones are ignored.
func (t *Table[V]) Lookup(a netip.Addr) (v V) {
	switch {
	case a.Is4():
		b := a.As4()
		return t.Lookup4(b)
	case a.IsValid():
		return t.six.find(keyOf(a))
	}
	return v
}

// Lookup4 is Lookup for an IPv4 address.
func (t *Table[V]) Lookup4(b [4]byte) V {
	return t.four.find(key{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32})
}

// Lookup6 is Lookup for an IPv6 address.
func (t *Table[V]) Lookup6(b [16]byte) V {
	return t.six.find(key{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])})
}

// find repeats a lookup that met a change. That it gives up repeating after some time is for the case of a writer that does nothing else; each
// answer is right for some order of the changes in any case.
func (t *tree[V]) find(k key) (v V) {
	for range 16 {
		before := t.changes.Load()
		v = t.findOnce(k)
		if t.changes.Load() == before {
			break
		}
	}
	return v
}

func (t *tree[V]) findOnce(k key) V {
	if j := t.jump.Load(); j != nil {
		if n := j[k.hi>>48].Load(); n != nil && (n.depth == 2 || k.first(n.depth) == n.path) {
			var none V
			if v := n.find(k, 16); v != none {
				return v
			}
		}
		return t.root.Load().find(k, 2)
	}
	return t.root.Load().find(k, 16)
}

// find looks for k in n, whose path it has, and below it down to depths under limit.
func (n *node[V]) find(k key, limit uint8) (found V) {
	var none V
	for n != nil && n.depth < limit {
		o := k.at(n.depth)
		w, bit := o>>6, o&63
		if len(n.best) > 0 {
			i := bits.OnesCount64(n.runs[w]<<(63-bit)) - 1
			if w > 0 {
				i += int(n.runRank[w-1])
			}
			if v := n.best[i]; v != none {
				found = v
			}
		}
		if n.childless || n.kids[w]>>bit&1 == 0 {
			return found
		}
		c := n.child[n.rank(w, bit)].Load()
		if c.depth != n.depth+1 && k.first(c.depth) != c.path {
			return found
		}
		n = c
	}
	return found
}

// rank returns which child that of byte w<<6|bit is.
func (n *node[V]) rank(w, bit uint8) int {
	i := bits.OnesCount64(n.kids[w]<<(63-bit)) - 1
	if w > 0 {
		i += int(n.childRank[w-1])
	}
	return i
}

// Len returns the number of prefixes. Writer's.
func (t *Table[V]) Len() int { return t.four.len + t.six.len }

// tree returns the tree for p, which is masked, and where in it p is; nil if p is not valid.
func (t *Table[V]) tree(p netip.Prefix) (tr *tree[V], k key, depth uint8, slot uint16) {
	if !p.IsValid() {
		return nil, k, 0, 0
	}
	p = p.Masked()
	tr = &t.six
	if p.Addr().Is4() {
		tr = &t.four
	}
	k = keyOf(p.Addr())
	n := p.Bits()
	if n > 0 {
		depth = uint8((n - 1) / 8)
	}
	n -= 8 * int(depth)
	slot = 1 << n
	if n > 0 {
		slot |= uint16(k.at(depth) >> (8 - n))
	}
	return tr, k, depth, slot
}

// Get returns the value of exactly p, or the zero V. Writer's.
func (t *Table[V]) Get(p netip.Prefix) (v V) {
	tr, k, depth, slot := t.tree(p)
	if tr == nil {
		return v
	}
	n := tr.root.Load()
	for n != nil && n.depth <= depth && k.first(n.depth) == n.path {
		if n.depth == depth {
			if i, ok := n.index(slot); ok {
				return n.own[i].value
			}
			return v
		}
		c := n.slotOf(k.at(n.depth))
		if c == nil {
			return v
		}
		n = c.Load()
	}
	return v
}

// Set gives p a value instead of any that it has. The zero V removes it; a prefix that is not valid is ignored. Writer's.
func (t *Table[V]) Set(p netip.Prefix, v V) {
	tr, k, depth, slot := t.tree(p)
	var none V
	switch {
	case tr == nil:
		return
	case v == none:
		tr.remove(k, depth, slot)
	default:
		tr.set(k, depth, slot, v)
	}
	if tr == &t.four {
		tr.leap(k, depth)
	}
	tr.changes.Add(1)
}

// leap renews the jump for a prefix that has changed at a depth.
func (t *tree[V]) leap(k key, depth uint8) {
	j := t.jump.Load()
	switch {
	case j == nil && t.len >= jumpFrom:
		j = new(jump[V])
		for i := range j {
			j[i].Store(t.below(key{hi: uint64(i) << 48}))
		}
		t.jump.Store(j)
	case j != nil && depth >= 2:
		j[k.hi>>48].Store(t.below(k))
	}
}

// below returns the uppermost node of a depth from 2 on that has the first two bytes of k, or nil.
func (t *tree[V]) below(k key) *node[V] {
	n := t.root.Load()
	for n != nil && n.depth < 2 {
		c := n.slotOf(k.at(n.depth))
		if c == nil {
			return nil
		}
		n = c.Load()
	}
	if n != nil && n.path.first(2) != k.first(2) {
		return nil
	}
	return n
}

// Remove takes p out. Writer's.
func (t *Table[V]) Remove(p netip.Prefix) {
	var none V
	t.Set(p, none)
}

// Clear removes everything. Writer's.
func (t *Table[V]) Clear() {
	for _, tr := range []*tree[V]{&t.four, &t.six} {
		tr.root.Store(nil)
		tr.jump.Store(nil)
		tr.changes.Add(1)
		tr.len = 0
	}
}

// All calls fn for each prefix, IPv4 first, then by address and length, until fn returns false. It may run beside changes, and
// then sees some of them.
func (t *Table[V]) All(fn func(netip.Prefix, V) bool) {
	_ = walk(t.four.root.Load(), true, fn) && walk(t.six.root.Load(), false, fn)
}

func (n *node[V]) index(slot uint16) (int, bool) {
	return slices.BinarySearchFunc(n.own, slot, func(o own[V], s uint16) int { return int(o.slot) - int(s) })
}

// slotOf returns the place of the child for byte o, or nil.
func (n *node[V]) slotOf(o uint8) *atomic.Pointer[node[V]] {
	w, bit := o>>6, o&63
	if n.kids[w]>>bit&1 == 0 {
		return nil
	}
	return &n.child[n.rank(w, bit)]
}

// clone copies what a change of the children shares with the node before; child is made anew.
func (n *node[V]) clone() *node[V] {
	return &node[V]{path: n.path, depth: n.depth, childless: n.childless, runRank: n.runRank, childRank: n.childRank, runs: n.runs, kids: n.kids, best: n.best, child: n.child, own: n.own}
}

// withChild returns a copy of n with c for byte o, or without a child for it if c is nil.
func (n *node[V]) withChild(o uint8, c *node[V]) *node[V] {
	m := n.clone()
	w, bit := o>>6, o&63
	m.kids[w] |= 1 << bit
	m.countKids()
	at := m.rank(w, bit)
	if c == nil {
		m.kids[w] &^= 1 << bit
	}
	r := m.countKids()
	m.child = make([]atomic.Pointer[node[V]], r)
	j := 0
	for i := range n.child {
		if i == at {
			if c == nil {
				continue
			}
			j++
		}
		m.child[j].Store(n.child[i].Load())
		j++
	}
	if c != nil {
		m.child[at].Store(c)
	}
	return m
}

// countKids sets childRank and returns the number of children.
func (n *node[V]) countKids() (all int) {
	for i, w := range n.kids {
		if i > 0 {
			n.childRank[i-1] = uint8(all) // 192 at most
		}
		all += bits.OnesCount64(w)
	}
	n.childless = all == 0
	return all
}

// withOwn returns a copy of n with other prefixes, and the answers that follow from them.
func (n *node[V]) withOwn(list []own[V]) *node[V] {
	m := n.clone()
	m.own, m.best = list, nil
	m.runs, m.runRank = [4]uint64{}, [3]uint8{}
	if len(list) == 0 {
		m.own = nil
		return m
	}
	var none V
	var answers [256]V
	for _, o := range list { // in order of slots, hence of lengths: longer ones cover shorter ones
		l := bits.Len16(o.slot) - 1
		from := int(o.slot-1<<l) << (8 - l)
		for i := from; i < from+1<<(8-l); i++ {
			answers[i] = o.value
		}
	}
	runs := 0
	last := none
	for i, v := range answers {
		if i == 0 || v != last {
			m.runs[i>>6] |= 1 << (i & 63)
			runs++
			last = v
		}
	}
	m.best = make([]V, 0, runs)
	for w, word := range m.runs {
		if w > 0 {
			m.runRank[w-1] = uint8(len(m.best)) // 192 at most
		}
		for ; word != 0; word &= word - 1 {
			m.best = append(m.best, answers[w<<6|bits.TrailingZeros64(word)])
		}
	}
	return m
}

func newNode[V comparable](k key, depth uint8) *node[V] {
	return &node[V]{path: k.first(depth), depth: depth, childless: true}
}

func (t *tree[V]) set(k key, depth uint8, slot uint16, v V) {
	if t.root.Load() == nil {
		t.root.Store(newNode[V](key{}, 0))
	}
	at := &t.root // where n is
	for {
		n := at.Load()
		if n.depth == depth {
			i, had := n.index(slot)
			list := make([]own[V], 0, len(n.own)+1)
			list = append(list, n.own[:i]...)
			list = append(list, own[V]{slot, v})
			if had {
				i++
			} else {
				t.len++
			}
			at.Store(n.withOwn(append(list, n.own[i:]...)))
			return
		}
		o := k.at(n.depth)
		next := n.slotOf(o)
		if next == nil {
			t.len++
			at.Store(n.withChild(o, newNode[V](k, depth).withOwn([]own[V]{{slot, v}})))
			return
		}
		c := next.Load()
		m := min(k.common(c.path), depth, c.depth)
		switch {
		case m == c.depth:
			at = next
		case m == depth: // ours is above the child
			t.len++
			next.Store(newNode[V](k, depth).withOwn([]own[V]{{slot, v}}).withChild(c.path.at(depth), c))
			return
		default: // they part at byte m
			t.len++
			mine := newNode[V](k, depth).withOwn([]own[V]{{slot, v}})
			next.Store(newNode[V](k, m).withChild(c.path.at(m), c).withChild(k.at(m), mine))
			return
		}
	}
}

func (t *tree[V]) remove(k key, depth uint8, slot uint16) {
	var above *atomic.Pointer[node[V]] // where n's parent is
	at := &t.root
	n := at.Load()
	for n != nil && n.depth < depth && k.first(n.depth) == n.path {
		next := n.slotOf(k.at(n.depth))
		if next == nil {
			return
		}
		above, at = at, next
		n = at.Load()
	}
	if n == nil || n.depth != depth || k.first(depth) != n.path {
		return
	}
	i, ok := n.index(slot)
	if !ok {
		return
	}
	t.len--
	list := append(slices.Clip(slices.Clone(n.own[:i])), n.own[i+1:]...)
	if len(list) > 0 || len(n.child) > 1 || above == nil {
		if above == nil && len(list)+len(n.child) == 0 {
			at.Store(nil)
			return
		}
		at.Store(n.withOwn(list))
		return
	}
	if len(n.child) == 1 { // nothing ends or branches here any more
		at.Store(n.child[0].Load())
		return
	}
	p := above.Load()
	p = p.withChild(k.at(p.depth), nil)
	switch {
	case len(p.own) > 0 || len(p.child) > 1:
	case above == &t.root && len(p.child) == 0:
		p = nil
	case above != &t.root && len(p.child) == 1:
		p = p.child[0].Load()
	}
	above.Store(p)
}

// walk calls fn for the prefixes of n and below.
func walk[V comparable](n *node[V], four bool, fn func(netip.Prefix, V) bool) bool {
	if n == nil {
		return true
	}
	// A prefix comes before all children below it and after those before its first byte value.
	type item struct {
		first, length int // first byte value; 0 to 8, or 9 for a child
		at            int
	}
	items := make([]item, 0, len(n.own)+len(n.child))
	for i, o := range n.own {
		l := bits.Len16(o.slot) - 1
		items = append(items, item{int(o.slot-1<<l) << (8 - l), l, i})
	}
	i := 0
	for w, word := range n.kids {
		for ; word != 0; word &= word - 1 {
			items = append(items, item{w<<6 | bits.TrailingZeros64(word), 9, i})
			i++
		}
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.first != b.first {
			return a.first - b.first
		}
		return a.length - b.length
	})
	for _, it := range items {
		if it.length == 9 {
			if !walk(n.child[it.at].Load(), four, fn) {
				return false
			}
			continue
		}
		k := n.path
		if n.depth < 8 {
			k.hi |= uint64(it.first) << (56 - 8*n.depth)
		} else {
			k.lo |= uint64(it.first) << (120 - 8*n.depth)
		}
		if !fn(netip.PrefixFrom(k.addr(four), int(n.depth)*8+it.length), n.own[it.at].value) {
			return false
		}
	}
	return true
}

func (k key) addr(four bool) netip.Addr {
	if four {
		return netip.AddrFrom4([4]byte{byte(k.hi >> 56), byte(k.hi >> 48), byte(k.hi >> 40), byte(k.hi >> 32)})
	}
	var b [16]byte
	for i := range b {
		b[i] = k.at(uint8(i))
	}
	return netip.AddrFrom16(b)
}
