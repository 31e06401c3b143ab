package decide

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/janos-os/janos/packet"
)

// The way of a match, in the order of this file:
//
//  1. Prepared once: steps, which are nodes in a form that is fast to walk, and tables, which stand for many tests one behind the other
//  2. For each packet: where its headers are. If it has all bytes that any step looks at, steps load them without looking (load_unsafe.go)
//  3. Otherwise the walk looks at the packet's length in every step
//
// A table is for a chain of tests each of which is made where the one before does not hold. Its tests are grouped by shape, the word and the bits that
// they look at; for each shape there is a hash from values to the first test of the chain that has it. The first of those found is the one
// that a walk along the chain would have found.

// step is a node, or a table.
type step struct {
	mask, value uint32 // as the machine loads words
	yes, no     int32  // further step, or ^result
	off         int32
	base        Base
	short       bool
	table       *table // instead of a test, from a place on; no is where packets go for which none of its tests from there on holds
	from        int32
}

// table is a chain of tests.
type table struct {
	shapes []shape
	yes    []int32 // by place in the chain: where packets go for which that test is the first to hold
	again  []int32 // by place: one plus the place of the next test that is the same; zero is nothing
}

// shape is the tests of a chain that look at the same bits.
type shape struct {
	off   int32
	base  Base
	shift uint8
	mask  uint32
	first int32 // the least place in the chain
	slots []slot
}

// slot is a value and one plus the place in the chain of the first test that has it; zero is nothing.
type slot struct {
	value uint32
	place int32
}

const (
	// tableTests is how many tests a table has at least, tableShare how many for each shape.
	tableTests = 8
	tableShare = 4
	maxShapes  = 16
)

// native returns a big-endian word as the machine loads it.
func native(w uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], w)
	return binary.NativeEndian.Uint32(b[:])
}

// prepare makes the steps of the nodes.
func (p *Program) prepare() {
	p.steps = make([]step, len(p.nodes))
	p.least = [numBases]int{MAC: -1 << 31, Network: -1 << 31, Transport: -1 << 31}
	for i := range p.nodes {
		n := &p.nodes[i]
		t := &n.test
		p.steps[i] = step{mask: native(t.Mask), value: native(t.Value), yes: n.yes, no: n.no, off: int32(t.Off), base: t.Base, short: n.short}
		p.least[t.Base] = 0
		if t.Off < 0 || t.Off > 1<<20 {
			p.careful = true
		} else {
			p.need[t.Base] = max(p.need[t.Base], t.Off+4)
		}
	}
	// Chains begin where no chain leads to, and behind every chain. Packets may also come to a place within one.
	within := make([]bool, len(p.nodes))
	for i := range p.nodes {
		if no := p.nodes[i].no; no >= 0 && !p.nodes[i].short && !p.nodes[no].short {
			within[no] = true
		}
	}
	for i := range p.nodes {
		for at := int32(i); at >= 0 && !within[i] && p.steps[at].table == nil && !p.nodes[at].short; {
			t, end := p.chain(at)
			for place := int32(0); at != end; place++ {
				next := p.nodes[at].no
				if s := &p.steps[at]; t != nil && len(t.yes)-int(place) >= tableTests {
					s.table, s.from, s.no = t, place, end
				}
				at = next
			}
		}
	}
}

// chain makes a table of the chain that begins at a node, nil if a table is not worth it, and returns where packets go that leave the chain.
func (p *Program) chain(at int32) (*table, int32) {
	type key struct {
		base Base
		off  int
		mask uint32
	}
	t, shapes, values := &table{}, []key{}, [][]slot{}
	next := at
	for next >= 0 && !p.nodes[next].short && p.steps[next].table == nil {
		n := &p.nodes[next]
		k := key{n.test.Base, n.test.Off, n.test.Mask}
		s := slices.Index(shapes, k)
		if s < 0 {
			if len(shapes) == maxShapes {
				break
			}
			s = len(shapes)
			shapes, values = append(shapes, k), append(values, nil)
			t.shapes = append(t.shapes, shape{off: int32(k.off), base: k.base, mask: native(k.mask), first: int32(len(t.yes))})
		}
		values[s] = append(values[s], slot{native(n.test.Value), int32(len(t.yes)) + 1})
		t.yes = append(t.yes, n.yes)
		next = n.no
	}
	if len(t.yes) < tableTests || len(t.yes) < tableShare*len(t.shapes) {
		return nil, next
	}
	t.again = make([]int32, len(t.yes))
	for i := range t.shapes {
		t.shapes[i].fill(values[i], t.again)
	}
	return t, next
}

// fill makes the hash, at most half full, of which the first of equal values is the beginning of a list.
func (s *shape) fill(values []slot, again []int32) {
	n := bits.Len(uint(2*len(values) - 1))
	s.slots, s.shift = make([]slot, 1<<n), uint8(32-n)
	for k := len(values) - 1; k >= 0; k-- {
		v := values[k]
		i := s.hash(v.value)
		for s.slots[i].place != 0 && s.slots[i].value != v.value {
			i = (i + 1) & (len(s.slots) - 1)
		}
		again[v.place-1] = s.slots[i].place
		s.slots[i] = v
	}
}

func (s *shape) hash(w uint32) int {
	return int((w^w>>15)*0x9e3779b1>>s.shift) & (len(s.slots) - 1)
}

// find returns one plus the place of the first test for the word that is not before from, or zero.
func (s *shape) find(w uint32, from int32, again []int32) int32 {
	for i := s.hash(w); ; i++ {
		e := &s.slots[i&(len(s.slots)-1)]
		if e.place != 0 && e.value != w {
			continue
		}
		at := e.place
		for at != 0 && at <= from {
			at = again[at-1]
		}
		return at
	}
}

// Match returns the result for a packet.
func (p *Program) Match(pk *packet.Packet) int {
	var r [1]uint16
	p.MatchAll([]*packet.Packet{pk}, r[:])
	return int(r[0])
}

// MatchAll sets the results for packets, which must have the room.
func (p *Program) MatchAll(pk []*packet.Packet, results []uint16) {
	for len(pk) > 0 {
		n := min(len(pk), together)
		p.match(pk[:n], results[:n])
		pk, results = pk[n:], results[n:]
	}
}

func (p *Program) match(pk []*packet.Packet, results []uint16) {
	var c crowd
	for i, k := range pk {
		frame, head, tail, mac, network, transport := k.Layout()
		if !p.careful && head+p.need[Data] <= tail && mac+p.need[MAC] <= tail && network+p.need[Network] <= tail && transport+p.need[Transport] <= tail &&
			mac >= p.least[MAC] && network >= p.least[Network] && transport >= p.least[Transport] {
			c.add(frame, head, mac, network, transport, i)
			continue
		}
		results[i] = uint16(p.walkShort(&[numBases][]byte{Data: k.Data(), MAC: k.MAC(), Network: k.Network(), Transport: k.Transport()}))
	}
	if c.n > 0 {
		p.walkAll(&c, results)
	}
}

// walkShort is walk for packets that may lack bytes.
func (p *Program) walkShort(d *[numBases][]byte) int {
	i := p.start
	for i >= 0 {
		s := &p.steps[i]
		if s.table != nil {
			best := int32(len(s.table.yes))
			for k := range s.table.shapes {
				h := &s.table.shapes[k]
				if h.first >= best {
					break
				}
				if w, ok := load(d[h.base], h.off, h.mask); ok {
					if at := h.find(w, s.from, s.table.again); at > 0 {
						best = min(best, at-1)
					}
				}
			}
			if i = s.no; int(best) < len(s.table.yes) {
				i = s.table.yes[best]
			}
			continue
		}
		w, ok := load(d[s.base], s.off, s.mask)
		switch {
		case !ok && s.short, ok && w == s.value:
			i = s.yes
		default:
			i = s.no
		}
	}
	return int(^i)
}

// load loads a word under a mask that is as the machine loads words; ok is false if the mask wants missing bytes.
func load(d []byte, off int32, mask uint32) (w uint32, ok bool) {
	if at := int(off); uint(at) < uint(len(d)) && at+4 <= len(d) {
		return binary.NativeEndian.Uint32(d[at:]) & mask, true
	}
	w, ok = short(d, int(off), native(mask))
	return native(w), ok
}
