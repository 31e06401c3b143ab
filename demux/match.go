package demux

import (
	"encoding/binary"
	"math/bits"

	"github.com/janos-os/janos/packet"
)

// The way of a packet through Match:
//
//  1. walk   down the chain of layers that rules name, noting where each header and payload is;
//  2. lookup from the innermost layer reached outwards, in each layer the group with the most bits first;
//  3. place  the header offsets and pull the packet to the matched payload.
//
// Nothing is written to the packet before 3, and a program is only read, so there is no lock.

// Numbers on the wire that the walk knows.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100 // 802.1Q
	etherSVID = 0x88a8 // 802.1ad

	protoHopByHop = 0
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoDestOpts = 60
	protoMobility = 135
)

// maxVLANTags is how many tags the walk skips; maxExtensions how many IPv6 extension headers.
const (
	maxVLANTags   = 2
	maxExtensions = 6
)

// step is one layer of the walk. Offsets count from the start of the packet.
type step struct {
	hdr, pay, end int
	proto         uint16 // Ethernet type, or number of the protocol inside IP
	later         bool   // a fragment other than the first: no payload to look at
	more          bool   // a first fragment: the payload ends early
	layer         Layer
	node          *node
}

// path is the layers of one packet, the link first.
type path struct {
	n     int
	steps [MaxLayers + 1]step
}

// Match finds the rule that p belongs to. If there is one, it sets the packet's header offsets, pulls p to the payload of the
// rule's top protocol, cuts off what follows that payload (padding), and returns the rule's number. Otherwise p is unchanged. p
// must begin with the program's base layer. The bytes are only read, so the frame may be shared.
func (pr *Program) Match(p *packet.Packet) (id uint32, ok bool) {
	var w path
	return pr.match(&w, p)
}

// match is Match; w is overwritten.
func (pr *Program) match(w *path, p *packet.Packet) (id uint32, ok bool) {
	data := p.Data()
	w.walk(pr.root, data, pr.base)
	for d := w.n - 1; ; d-- {
		if n := w.steps[d].node; len(n.groups) > 0 {
			if id, ok = n.lookup(w, data, d); ok {
				w.place(p, d, len(data))
				return id, true
			}
		}
		if d == 0 {
			return 0, false
		}
	}
}

// NoRule is what MatchAll answers where no rule has the packet. It is no rule's number on links of package nodeos.
const NoRule = 1<<32 - 1

// MatchAll is Match for all packets of ps; ids, as long as ps, gets the numbers of the rules, or NoRule.
func (pr *Program) MatchAll(ps []*packet.Packet, ids []uint32) {
	ids = ids[:len(ps)]
	if id, ok := pr.same(); ok {
		for i := range ids {
			ids[i] = id
		}
		return
	}
	var w path
	for i, p := range ps {
		id, ok := pr.match(&w, p)
		if !ok {
			id = NoRule
		}
		ids[i] = id
	}
}

// same returns what Match answers for every packet if that is the same and Match leaves packets as they are: some rule wants
// all that comes by the link, and no other says more.
func (pr *Program) same() (id uint32, ok bool) {
	n := pr.root
	if len(n.groups) != 1 || len(n.groups[0].shape) != 0 || n.children != [numLayers]*node{} {
		return 0, false
	}
	w := path{n: 1}
	return n.lookup(&w, nil, 0)
}

// walk fills w with the layers that both the packet and the nodes below root have.
func (w *path) walk(root *node, data []byte, base Layer) {
	w.steps[0] = step{end: len(data), node: root}
	w.n = 1
	for w.n <= MaxLayers {
		cur := &w.steps[w.n-1]
		if cur.later {
			return
		}
		l := cur.next(data, base)
		child := cur.node.children[l]
		if child == nil {
			return
		}
		next := &w.steps[w.n]
		if !next.parse(l, cur, data, w.n == 1 && base == UDP) {
			return
		}
		next.node = child
		w.n++
	}
}

// next returns the layer of cur's payload, or None where it says nothing that is known.
func (cur *step) next(data []byte, base Layer) Layer {
	switch cur.layer {
	case None:
		if base == IPv4 || base == IPv6 {
			return ipVersion(data)
		}
		return base
	case Ether:
		switch cur.proto {
		case etherIPv4:
			return IPv4
		case etherIPv6:
			return IPv6
		}
	case IPv4, IPv6:
		switch cur.proto {
		case protoUDP:
			return UDP
		case protoTCP:
			return TCP
		case protoIPv4:
			return IPv4
		case protoIPv6:
			return IPv6
		}
	case UDP:
		return ANEP
	}
	return None
}

func ipVersion(data []byte) Layer {
	if len(data) > 0 {
		switch data[0] >> 4 {
		case 4:
			return IPv4
		case 6:
			return IPv6
		}
	}
	return None
}

// parse reads the header of layer l at the payload of below. bare says that there is no header: a UDP payload from a socket.
func (s *step) parse(l Layer, below *step, data []byte, bare bool) bool {
	*s = step{hdr: below.pay, end: below.end, layer: l, more: below.more}
	b := data[below.pay:below.end]
	if bare {
		s.pay = s.hdr
		return true
	}
	switch l {
	case Ether:
		return s.parseEther(b)
	case IPv4:
		return s.parseIPv4(b)
	case IPv6:
		return s.parseIPv6(b)
	case UDP:
		if len(b) < 8 {
			return false
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < 8 || n > len(b) && !s.more {
			return false
		}
		s.pay, s.end = s.hdr+8, s.hdr+min(n, len(b))
		return true
	case TCP:
		if len(b) < 20 {
			return false
		}
		n := int(b[12]>>4) * 4
		if n < 20 || n > len(b) {
			return false
		}
		s.pay = s.hdr + n
		return true
	case ANEP:
		if len(b) < 8 || b[0] != 1 {
			return false
		}
		hdr, n := 4*int(binary.BigEndian.Uint16(b[4:])), int(binary.BigEndian.Uint16(b[6:]))
		if hdr < 8 || hdr > len(b) || n < hdr || n > len(b) && !s.more {
			return false
		}
		s.pay, s.end = s.hdr+hdr, s.hdr+min(n, len(b))
		return true
	}
	return false
}

func (s *step) parseEther(b []byte) bool {
	if len(b) < 14 {
		return false
	}
	typ, at := binary.BigEndian.Uint16(b[12:]), 14
	for range maxVLANTags {
		if typ != etherVLAN && typ != etherSVID {
			break
		}
		if len(b) < at+4 {
			return false
		}
		typ, at = binary.BigEndian.Uint16(b[at+2:]), at+4
	}
	s.proto, s.pay = typ, s.hdr+at
	return true
}

func (s *step) parseIPv4(b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	hdr, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if hdr < 20 || total < hdr || total > len(b) {
		return false
	}
	frag := binary.BigEndian.Uint16(b[6:])
	s.proto, s.pay, s.end = uint16(b[9]), s.hdr+hdr, s.hdr+total
	s.later = frag&0x1fff != 0
	s.more = s.more || frag&0x2000 != 0
	return true
}

func (s *step) parseIPv6(b []byte) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	total := 40 + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return false
	}
	b = b[:total]
	proto, at := b[6], 40
	for i := 0; ; i++ {
		n := 0
		switch proto {
		case protoHopByHop, protoRouting, protoDestOpts, protoMobility, protoAH, protoFragment:
			if i == maxExtensions || len(b) < at+8 {
				return false
			}
		}
		switch proto {
		case protoHopByHop, protoRouting, protoDestOpts, protoMobility:
			n = 8 + 8*int(b[at+1])
		case protoAH:
			n = 8 + 4*int(b[at+1])
		case protoFragment:
			n = 8
			frag := binary.BigEndian.Uint16(b[at+2:])
			s.later = frag&0xfff8 != 0
			s.more = s.more || frag&1 != 0
		}
		if n == 0 {
			break
		}
		if at+n > len(b) {
			return false
		}
		proto, at = b[at], at+n
		if s.later {
			break
		}
	}
	s.proto, s.pay, s.end = uint16(proto), s.hdr+at, s.hdr+total
	return true
}

// lookup asks n's groups. d is n's place on the path.
func (n *node) lookup(w *path, data []byte, d int) (id uint32, ok bool) {
	var raw [maxLoads]uint64
	var have [maxLoads]int8 // bytes of raw that there are
	for i := range n.loads {
		raw[i&(maxLoads-1)], have[i&(maxLoads-1)] = w.load(&n.loads[i], data)
	}
	// First all filters are asked without a branch that depends on the answer, for which group it is differs from packet to packet, and the processor would
	// guess wrong and wait for the packet's bytes to find out.
	var maybe uint64
	for i := range n.probes {
		p := &n.probes[i]
		if p.slow {
			maybe |= 1 << (i & 63)
			continue
		}
		if have[p.load[0]&(maxLoads-1)] < p.need[0] || have[p.load[1]&(maxLoads-1)] < p.need[1] {
			continue
		}
		h := raw[p.load[0]&(maxLoads-1)]&p.mask[0]*hashMul[0] + raw[p.load[1]&(maxLoads-1)]&p.mask[1]*hashMul[1]
		f := h >> (p.fshift & 63)
		maybe |= p.filter[f/64] >> (f % 64) & 1 << (i & 63)
	}
	var age uint64
	var level int16
	for ; maybe != 0; maybe &= maybe - 1 {
		p := &n.probes[bits.TrailingZeros64(maybe)]
		if ok && p.bits != level {
			break
		}
		row, hit := 0, false
		t := &p.group.table
		if p.slow {
			row, hit = p.group.lookup(w, data, d)
		} else {
			key := [2]uint64{raw[p.load[0]&(maxLoads-1)] & p.mask[0], raw[p.load[1]&(maxLoads-1)] & p.mask[1]}
			row, hit = t.get(key[:p.words], key[0]*hashMul[0]+key[1]*hashMul[1])
		}
		if !hit {
			continue
		}
		if n, a := t.rule(row); !ok || a < age || a == age && n < id {
			id, age, level, ok = n, a, p.bits, true
		}
	}
	return id, ok
}

// load loads up to eight bytes and returns how many there are.
func (w *path) load(l *load, data []byte) (raw uint64, have int8) {
	s := &w.steps[l.depth]
	at := int(l.off)
	switch l.anchor {
	case atHeader:
		at += s.hdr
	case atPayload:
		if s.later {
			return 0, 0
		}
		at += s.pay
	case atProto:
		return uint64(s.proto) << 48, 8
	}
	if n := s.end - at; n < 8 {
		for j := range max(n, 0) {
			raw |= uint64(data[at+j]) << (56 - 8*j)
		}
		return raw, int8(max(n, 0))
	}
	return binary.BigEndian.Uint64(data[at:]), 8
}

// lookup is for groups whose words a node does not load for all.
func (g *group) lookup(w *path, data []byte, d int) (row int, ok bool) {
	if g.payload && w.steps[d].later {
		return 0, false
	}
	var words [maxWords]uint64
	if !g.extract(w, data, &words) {
		return 0, false
	}
	key := words[:len(g.shape)]
	h, t := hash(key), &g.table
	if f := h >> t.fshift; t.filter[f/64]>>(f%64)&1 == 0 {
		return 0, false
	}
	return t.get(key, h)
}

// extract fills key with the packet's masked words, or returns false when the packet is too short.
func (g *group) extract(w *path, data []byte, key *[maxWords]uint64) bool {
	for i := range g.shape {
		pc := &g.shape[i]
		s := &w.steps[pc.depth]
		at := int(pc.off)
		switch pc.anchor {
		case atHeader:
			at += s.hdr
		case atPayload:
			at += s.pay
		case atProto:
			key[i] = uint64(s.proto) << 48 & pc.mask
			continue
		}
		if at+int(pc.need) > s.end {
			return false
		}
		if at+8 <= len(data) {
			key[i] = binary.BigEndian.Uint64(data[at:]) & pc.mask
			continue
		}
		var v uint64
		for j := range int(pc.need) {
			v |= uint64(data[at+j]) << (56 - 8*j)
		}
		key[i] = v & pc.mask
	}
	return true
}

// place sets the offsets of the headers down to layer d and pulls p to d's payload.
func (w *path) place(p *packet.Packet, d, size int) {
	for i := 1; i <= d; i++ {
		s := &w.steps[i]
		switch s.layer {
		case Ether:
			p.SetMAC(s.hdr)
			if i == d {
				p.SetNetwork(s.pay)
			}
		case IPv4, IPv6:
			p.SetNetwork(s.hdr)
			if i == d && !s.later {
				p.SetTransport(s.pay)
			}
		case UDP, TCP:
			if s.pay > s.hdr {
				p.SetTransport(s.hdr)
			}
		}
	}
	s := &w.steps[d]
	p.Take(size - s.end)
	p.Pull(s.pay)
}
