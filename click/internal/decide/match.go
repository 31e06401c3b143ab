package decide

import (
	"encoding/binary"

	"github.com/janos-os/janos/packet"
)

// The way of a match, in the order of this file:
//
//  1. Prepared once: steps, which are nodes in a form that is fast to walk, or a table for a long list of rules (table.go)
//  2. For each packet: where its headers are. If it has all bytes that any step looks at, loads need not look (load_unsafe.go)
//  3. Otherwise every load looks at the packet's length

// step is a node.
type step struct {
	mask, value uint32 // as the machine loads words
	yes, no     int32  // further step, or ^result
	off         int32
	base        Base
	short       bool
}

// bounds is which bytes a packet must have so that nobody need look.
type bounds struct {
	need    [numBases]int // bytes behind each base
	least   [numBases]int // what the place of each base must be at least: it must be known if somebody looks there
	careful bool          // everybody must look in any case
}

func unbounded() bounds {
	return bounds{least: [numBases]int{MAC: -1 << 31, Network: -1 << 31, Transport: -1 << 31}}
}

// include says that somebody looks at the word of a test.
func (b *bounds) include(t *Test) {
	if t.Off < 0 || t.Off > 1<<20 {
		b.careful = true
		return
	}
	b.least[t.Base] = 0
	b.need[t.Base] = max(b.need[t.Base], t.Off+4)
}

// native returns a big-endian word as the machine loads it.
func native(w uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], w)
	return binary.NativeEndian.Uint32(b[:])
}

// prepare makes the steps of the nodes.
func (p *Program) prepare() {
	p.steps, p.bounds = make([]step, len(p.nodes)), unbounded()
	for i := range p.nodes {
		n := &p.nodes[i]
		t := &n.test
		p.steps[i] = step{mask: native(t.Mask), value: native(t.Value), yes: n.yes, no: n.no, off: int32(t.Off), base: t.Base, short: n.short}
		p.include(t)
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
	b := &p.bounds
	if p.table != nil {
		b = &p.table.bounds
	}
	for i, k := range pk {
		frame, head, tail, mac, network, transport := k.Layout()
		if !b.careful && head+b.need[Data] <= tail && mac+b.need[MAC] <= tail && network+b.need[Network] <= tail && transport+b.need[Transport] <= tail &&
			mac >= b.least[MAC] && network >= b.least[Network] && transport >= b.least[Transport] {
			c.add(frame, head, mac, network, transport, i)
			continue
		}
		d := [numBases][]byte{Data: k.Data(), MAC: k.MAC(), Network: k.Network(), Transport: k.Transport()}
		if p.table != nil {
			results[i] = p.table.matchShort(&d)
		} else {
			results[i] = uint16(p.walkShort(&d))
		}
	}
	switch {
	case c.n == 0:
	case p.table == nil:
		p.walkAll(&c, results)
	default:
		p.table.matchAll(&c, results)
	}
}

// walkShort is walk for packets that may lack bytes.
func (p *Program) walkShort(d *[numBases][]byte) int {
	i := p.start
	for i >= 0 {
		s := &p.steps[i]
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
