package demux

import (
	"encoding/binary"
	"net/netip"
)

// naive is the reference: each rule is tried by itself with the plainest code, and the best is
// kept. It shares nothing with the compiled form but the types.
type naive struct {
	base  Layer
	link  string
	rules []Rule
}

type naiveHit struct {
	layers, bits int
	age          uint64
	id           uint32
	pay, end     int
}

func (n *naive) match(b []byte) (naiveHit, bool) {
	var best naiveHit
	found := false
	for i := range n.rules {
		r := &n.rules[i]
		if r.Protocol.Link != n.link && r.Protocol.Link != AnyLink {
			continue
		}
		h, ok := naiveRule(r, b)
		if !ok {
			continue
		}
		better := !found || h.layers > best.layers ||
			h.layers == best.layers && (h.bits > best.bits ||
				h.bits == best.bits && (h.age < best.age || h.age == best.age && h.id < best.id))
		if better {
			best, found = h, true
		}
	}
	return best, found
}

func naiveRule(r *Rule, frame []byte) (naiveHit, bool) {
	no := naiveHit{}
	start, end := 0, len(frame)
	next := -1
	frag, more := false, false
	hdrs := []int{0}
	bitsSeen := map[[2]int]byte{} // position and depth to mask, as bits named twice count once
	for _, l := range r.Protocol.Layers {
		if frag {
			return no, false
		}
		b := frame[start:end]
		hdrs = append(hdrs, start)
		switch l {
		case Ether:
			if len(b) < 14 {
				return no, false
			}
			at := 12
			for tags := 0; tags < 2; tags++ {
				v := int(b[at])<<8 | int(b[at+1])
				if v != 0x8100 && v != 0x88a8 {
					break
				}
				if len(b) < at+6 {
					return no, false
				}
				at += 4
			}
			next = int(b[at])<<8 | int(b[at+1])
			start += at + 2
		case IPv4:
			want := 4
			if hdrs[len(hdrs)-2] == 0 && r.Protocol.Layers[0] == Ether && len(hdrs) == 3 {
				want = 0x0800
			}
			if next != want || len(b) < 20 || b[0]>>4 != 4 {
				return no, false
			}
			hl, tl := int(b[0]&0xf)<<2, int(b[2])<<8+int(b[3])
			if hl < 20 || hl > tl || tl > len(b) {
				return no, false
			}
			off := (int(b[6])<<8 + int(b[7])) & 0x1fff
			frag = off > 0
			if b[6]&0x20 != 0 {
				more = true
			}
			next = int(b[9])
			end = start + tl
			start += hl
		case IPv6:
			want := 41
			if len(hdrs) == 3 {
				want = 0x86dd
			}
			if next != want || len(b) < 40 || b[0]>>4 != 6 {
				return no, false
			}
			pl := int(b[4])<<8 + int(b[5])
			if 40+pl > len(b) {
				return no, false
			}
			end = start + 40 + pl
			next = int(b[6])
			at := 40
			for count := 0; !frag; count++ {
				isExt := next == 0 || next == 43 || next == 60 || next == 135 || next == 51 || next == 44
				if !isExt {
					break
				}
				if count == 6 || at+8 > 40+pl {
					return no, false
				}
				size := 8 + 8*int(b[at+1])
				if next == 51 {
					size = 8 + 4*int(b[at+1])
				}
				if next == 44 {
					size = 8
					frag = b[at+2] != 0 || b[at+3]&0xf8 != 0
					if b[at+3]&1 == 1 {
						more = true
					}
				}
				if at+size > 40+pl {
					return no, false
				}
				next = int(b[at])
				at += size
			}
			start += at
		case UDP:
			if next != 17 || len(b) < 8 {
				return no, false
			}
			ul := int(b[4])<<8 + int(b[5])
			if ul < 8 {
				return no, false
			}
			if ul > len(b) {
				if !more {
					return no, false
				}
				ul = len(b)
			}
			end = start + ul
			start += 8
			next = -1
		case TCP:
			if next != 6 || len(b) < 20 {
				return no, false
			}
			hl := int(b[12]>>4) << 2
			if hl < 20 || hl > len(b) {
				return no, false
			}
			start += hl
			next = -1
		case ANEP:
			if len(b) < 8 || b[0] != 1 {
				return no, false
			}
			hl, al := (int(b[4])<<8+int(b[5]))*4, int(b[6])<<8+int(b[7])
			if hl < 8 || hl > al || hl > len(b) {
				return no, false
			}
			if al > len(b) {
				if !more {
					return no, false
				}
				al = len(b)
			}
			end = start + al
			start += hl
		}
	}
	depth := len(r.Protocol.Layers)
	h := naiveHit{layers: depth, age: r.Age, id: r.ID, pay: start, end: end}
	a := r.Local
	ipMatches := func(at int, p netip.Prefix, v6 bool) bool {
		if !p.IsValid() {
			return true
		}
		h.bits += p.Bits()
		if v6 {
			ip, _ := netip.AddrFromSlice(frame[at+24 : at+40])
			return p.Contains(ip)
		}
		ip, _ := netip.AddrFromSlice(frame[at+16 : at+20])
		return p.Contains(ip)
	}
	switch r.Protocol.Top() {
	case Ether:
		if a.MAC != ([6]byte{}) {
			h.bits += 48
			if [6]byte(frame[0:6]) != a.MAC {
				return no, false
			}
		}
		if a.EtherType != 0 {
			h.bits += 16
			if next != int(a.EtherType) {
				return no, false
			}
		}
	case IPv4, IPv6:
		if a.Proto != 0 {
			h.bits += 16
			if next != int(a.Proto) {
				return no, false
			}
		}
		if !ipMatches(hdrs[depth], a.Prefix, r.Protocol.Top() == IPv6) {
			return no, false
		}
	case UDP, TCP:
		if a.Port != 0 {
			h.bits += 16
			if binary.BigEndian.Uint16(frame[hdrs[depth]+2:]) != a.Port {
				return no, false
			}
		}
		if !ipMatches(hdrs[depth-1], a.Prefix, r.Protocol.Layers[depth-2] == IPv6) {
			return no, false
		}
	case ANEP:
		if a.Type != 0 {
			h.bits += 16
			if binary.BigEndian.Uint16(frame[hdrs[depth]+2:]) != a.Type {
				return no, false
			}
		}
	}
	for _, t := range r.Key {
		for i := range t.Value {
			m := byte(0xff)
			if t.Mask != nil {
				m = t.Mask[i]
			}
			if m == 0 {
				continue
			}
			at := start + t.Offset + i
			if frag || at >= end || frame[at]&m != t.Value[i]&m {
				return no, false
			}
			bitsSeen[[2]int{at, 0}] |= m
		}
	}
	for _, m := range bitsSeen {
		for ; m != 0; m &= m - 1 {
			h.bits++
		}
	}
	return h, true
}
