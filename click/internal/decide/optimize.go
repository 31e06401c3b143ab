package decide

import "math/bits"

// The way of an optimization, in the order of this file; it is repeated until nothing changes:
//
//  1. tests whose outcome follows from those before them are passed over
//  2. neighbours are put in order and joined
//  3. tests that are not reached, or decide nothing, are left out
//
// A packet may lack the bytes of a test. Nothing here changes what happens to such a packet.

// fact is the outcome of a test on every way to a node.
type fact struct {
	test    Test
	yes     bool
	present bool // the bytes are known to be there
}

// maxRounds and factWork bound the time that optimization takes.
const (
	maxRounds = 64
	factWork  = 1 << 20
)

func (p *Program) optimize() {
	for range min(max(4*factWork/max(len(p.nodes), 1), 2), maxRounds) {
		if changed := p.thread(); !p.join() && !changed {
			break
		}
	}
	p.sweep()
}

// maxWays is how many ways to a node are kept apart.
const maxWays = 6

// thread passes over tests whose outcome is known.
func (p *Program) thread() (changed bool) {
	p.sweep()
	limit := min(max(factWork/max(len(p.nodes), 1), 4), 64)
	// For each node the ways to it, with what is known on each. Edges lead to later nodes only, so that one pass does.
	ways := make([][][]fact, len(p.nodes))
	if p.start >= 0 {
		ways[p.start] = [][]fact{nil}
	}
	var here [maxWays][]fact
	for i := range p.nodes {
		n := &p.nodes[i]
		if ways[i] == nil {
			continue // all edges to it were passed over
		}
		for _, yes := range [...]bool{true, false} {
			for k, w := range ways[i] {
				buf := append(here[k][:0], w...)
				if len(buf) >= limit {
					buf = buf[:copy(buf, buf[len(buf)-limit+1:])]
				}
				here[k] = append(buf, fact{n.test, yes, yes != n.short})
			}
			to := &n.no
			if yes {
				to = &n.yes
			}
			old := *to
			*to = p.follow(old, here[:len(ways[i])])
			changed = changed || *to != old
			if *to < 0 {
				continue
			}
			for k := range ways[i] {
				ways[*to] = addWay(ways[*to], here[k])
			}
		}
		ways[i] = nil
	}
	return changed
}

// follow returns the furthest node or result to which packets get from a node on every one of some ways to it.
func (p *Program) follow(from int32, ways [][]fact) int32 {
	best := from
	for {
		next := best
		for k, facts := range ways {
			to := best
			if k == 0 {
				// One step on the first way; the others have to come by there.
				to = p.step(best, facts)
				if to == best {
					return p.meet(best, best, ways)
				}
				next = to
				continue
			}
			for to != next && (next < 0 || to >= 0 && to < next) {
				t := p.step(to, facts)
				if t == to {
					break
				}
				to = t
			}
			if to != next {
				return p.meet(best, next, ways)
			}
		}
		if best = next; best < 0 {
			return best
		}
	}
}

// meet is follow for where the first way goes on without the others: it looks whether they meet later. from is where all are, at is where the
// first way is.
func (p *Program) meet(from, at int32, ways [][]fact) int32 {
	for at != from {
		all := true
		for _, facts := range ways[1:] {
			to := from
			for to != at && to >= 0 && (at < 0 || to < at) {
				t := p.step(to, facts)
				if t == to {
					break
				}
				to = t
			}
			all = all && to == at
		}
		if all {
			if at < 0 {
				return at
			}
			return p.follow(at, ways)
		}
		t := p.step(at, ways[0])
		if t == at {
			break
		}
		at = t
	}
	return from
}

// step returns where packets go from a node if the facts decide that, or the node.
func (p *Program) step(i int32, facts []fact) int32 {
	if i < 0 {
		return i
	}
	switch yes, ok := decided(&p.nodes[i], facts); {
	case !ok:
		return i
	case yes:
		return p.nodes[i].yes
	}
	return p.nodes[i].no
}

// addWay adds a way to those to a node. Of more than maxWays the last have in common what they share.
func addWay(ways [][]fact, w []fact) [][]fact {
	if len(ways) < maxWays {
		return append(ways, append(make([]fact, 0, len(w)), w...))
	}
	last := ways[maxWays-1]
	keep := last[:0]
	for _, f := range last {
		for _, g := range w {
			if f == g {
				keep = append(keep, f)
				break
			}
		}
	}
	ways[maxWays-1] = keep
	return ways
}

// decided returns which way a packet goes at n for which the facts hold, if that can be told.
func decided(n *node, facts []fact) (yes, ok bool) {
	t := &n.test
	present := false
	for i := range facts {
		f := &facts[i]
		present = present || f.present && f.test.Base == t.Base && f.test.end() >= t.end()
	}
	// differs is the outcome where the word is known to differ, if the bytes are there.
	differs := func() (bool, bool) { return false, present || !n.short }
	var value, mask uint32 // bits that are known
	for i := range facts {
		f := &facts[i]
		if f.test.Base != t.Base || f.test.Off != t.Off {
			continue
		}
		there := f.present || present && f.test.end() <= t.end()
		switch {
		case f.test == *t && f.present == (f.yes != n.short):
			return f.yes, true // the same test with the same way for short packets
		case f.yes && there:
			value, mask = value&^f.test.Mask|f.test.Value, mask|f.test.Mask
		case !f.yes && there && f.test.Mask&(f.test.Mask-1) == 0:
			value, mask = value&^f.test.Mask|f.test.Value^f.test.Mask, mask|f.test.Mask
		case !f.yes && f.test.Mask&^t.Mask == 0 && t.Value&f.test.Mask == f.test.Value && (there || !n.short && !f.present):
			return differs() // if n's test held, so would that
		}
	}
	if common := mask & t.Mask; value&common != t.Value&common {
		return differs()
	}
	return true, t.Mask&^mask == 0 && (present || n.short)
}

// join puts neighbours in order and makes one test of two where it can.
func (p *Program) join() (changed bool) {
	for i := range p.nodes {
		n := &p.nodes[i]
		for again := true; again; {
			again = p.and(n) || p.or(n) || p.flip(n)
			changed = changed || again
		}
	}
	edges := make([]int, len(p.nodes))
	for i := range p.nodes {
		for _, to := range [...]int32{p.nodes[i].yes, p.nodes[i].no} {
			if to >= 0 {
				edges[to]++
			}
		}
	}
	for range max(factWork/max(len(p.nodes), 1), 1) {
		if !p.order(edges) {
			break
		}
		changed = true
	}
	return changed
}

// order exchanges neighbours in chains with one way out, so that their tests come in the order of their places; a chain on any other way, and
// the first test, stay. edges says how many edges lead to each node, which does not change.
func (p *Program) order(edges []int) (changed bool) {
	for i := range p.nodes {
		n := &p.nodes[i]
		if int32(i) == p.start {
			continue
		}
		for _, to := range [...]int32{n.yes, n.no} {
			if to < 0 || edges[to] != 1 {
				continue
			}
			m := &p.nodes[to]
			if m.short == n.short && (to == n.yes && m.no == n.no || to == n.no && m.yes == n.yes) && before(&m.test, &n.test) {
				n.test, m.test = m.test, n.test
				changed = true
			}
		}
	}
	return changed
}

// before orders tests: by place, mask and value. That of the protocol comes first, for most depends on it.
func before(a, b *Test) bool {
	pa, pb := a.place(), b.place()
	if a.Base == Network && a.Off == 8 {
		pa = -4
	}
	if b.Base == Network && b.Off == 8 {
		pb = -4
	}
	switch {
	case pa != pb:
		return pa < pb
	case a.Mask != b.Mask:
		return a.Mask < b.Mask
	}
	return a.Value < b.Value
}

// next returns the node behind i if it tests the same word.
func (p *Program) next(n *node, i int32) *node {
	if i < 0 || p.nodes[i].test.Base != n.test.Base || p.nodes[i].test.Off != n.test.Off {
		return nil
	}
	return &p.nodes[i]
}

// flipped returns a node of a single bit with its sides exchanged, which means the same.
func flipped(n node) node {
	n.test.Value ^= n.test.Mask
	n.yes, n.no, n.short = n.no, n.yes, !n.short
	return n
}

func single(n *node) bool { return n.test.Mask&(n.test.Mask-1) == 0 }

// joined returns the test of n and m, m being what follows where n holds; ok is false if that would change what becomes of any packet.
func joined(n, m *node) (j node, ok bool) {
	end := n.test.end()
	switch {
	case m.no != n.no || m.test.Mask&n.test.Mask&(m.test.Value^n.test.Value) != 0:
		return j, false
	case !n.short && (!m.short || m.test.end() <= end):
	case n.short && m.short && m.test.end() == end:
	default:
		return j, false
	}
	j = *n
	j.test.Mask |= m.test.Mask
	j.test.Value |= m.test.Value
	j.yes = m.yes
	return j, true
}

// and joins n with what follows where it holds.
func (p *Program) and(n *node) bool {
	m := p.next(n, n.yes)
	if m == nil {
		return false
	}
	j, ok := joined(n, m)
	if !ok && single(m) {
		f := flipped(*m)
		j, ok = joined(n, &f)
	}
	if ok {
		*n = j
	}
	return ok
}

// flip joins n, a test of one bit, with what follows where it does not hold.
func (p *Program) flip(n *node) bool {
	m := p.next(n, n.no)
	if m == nil || !single(n) {
		return false
	}
	f := flipped(*n)
	j, ok := joined(&f, m)
	if !ok && single(m) {
		g := flipped(*m)
		j, ok = joined(&f, &g)
	}
	if ok {
		*n = j
	}
	return ok
}

// or joins n with a test that comes where it does not hold, leads to the same, and differs in one bit of the value.
func (p *Program) or(n *node) bool {
	m := p.next(n, n.no)
	if m == nil || m.yes != n.yes || m.short || n.short || m.test.Mask != n.test.Mask || bits.OnesCount32(m.test.Value^n.test.Value) != 1 {
		return false
	}
	t := n.test
	t.Mask &^= m.test.Value ^ n.test.Value
	t.Value &= t.Mask
	if t.Mask == 0 || t.end() != n.test.end() {
		return false
	}
	n.test, n.no = t, m.no
	return true
}

// sweep leaves out tests that are not reached, and those both of whose sides lead to the same.
func (p *Program) sweep() {
	skip := func(i int32) int32 {
		for i >= 0 && p.nodes[i].yes == p.nodes[i].no {
			i = p.nodes[i].yes
		}
		return i
	}
	for i := len(p.nodes) - 1; i >= 0; i-- { // later ones first, so that chains vanish in one pass
		p.nodes[i].yes, p.nodes[i].no = skip(p.nodes[i].yes), skip(p.nodes[i].no)
	}
	p.start = skip(p.start)
	reached := make([]bool, len(p.nodes))
	at := make([]int32, len(p.nodes))
	if p.start >= 0 {
		reached[p.start] = true
	}
	count := int32(0)
	for i := range p.nodes {
		if !reached[i] {
			continue
		}
		at[i] = count
		count++
		for _, to := range [...]int32{p.nodes[i].yes, p.nodes[i].no} {
			if to >= 0 {
				reached[to] = true
			}
		}
	}
	move := func(i int32) int32 {
		if i < 0 {
			return i
		}
		return at[i]
	}
	p.start = move(p.start)
	for i := range p.nodes {
		if n := p.nodes[i]; reached[i] {
			n.yes, n.no = move(n.yes), move(n.no)
			p.nodes[at[i]] = n
		}
	}
	p.nodes = p.nodes[:count]
}
