package rewrite

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "ICMPRewriter", Ports: "1/1-2", Processing: "h", New: func() click.Element { return &ICMPRewriter{} },
		Doc: click.Doc{
			Group: "rewrite", Title: "translates ICMP errors about packets that rewriters have changed",
			Text: "An error quotes the packet that it is about, as it was behind a rewriter. If one of the rewriters in MAPS made it look so, the quoted packet and the error's addresses become those that the original sender knows, and the error goes to output 0. " +
				"The types are destination unreachable, source quench, redirect, time exceeded and parameter problem. All other packets go to output 1, or are dropped. Flows do not live longer by errors.",
			Args:     []string{"MAPS: Names of rewriters, apart by spaces; the first that has a mapping decides.", dstAnnoArg, "REPLY_ANNO: As for IPRewriter: the annotation that errors of the reply direction get from their flow, whose rewriter must keep one."},
			Handlers: []string{"drops (r): Packets dropped."},
			Example:  "rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); icmp -> ICMPRewriter(rw) -> home;", See: []string{"IPRewriter", "ICMPPingRewriter"},
		},
	})
}

// ICMPRewriter translates ICMP errors.
type ICMPRewriter struct {
	click.Base
	maps    []*rewriter
	dstAnno bool
	anno    annotation
}

// Configure implements click.Element.
func (e *ICMPRewriter) Configure(a *click.Args) {
	e.dstAnno = true
	maps := func(s string, a *click.Args) error {
		for _, w := range lang.SplitWords(s) {
			var m sharer
			if err := click.Ref(&m, "rewriter")(w, a); err != nil {
				return err
			}
			e.maps = append(e.maps, m.core())
		}
		return nil
	}
	if a.Parse(click.Must("MAPS", maps), click.Key("DST_ANNO", click.Bool(&e.dstAnno)), click.Key("REPLY_ANNO", e.anno.value())) && len(e.maps) == 0 {
		a.Errorf("MAPS: no rewriter is named")
	}
}

// Push implements click.Pusher.
func (e *ICMPRewriter) Push(_ int, b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if e.translate(p) {
			return true
		}
		e.ForwardOne(1, p)
		return false
	})
	e.Out(0).Push(b)
}

// quoteAt is where the quoted packet begins in an ICMP message.
const quoteAt = 8

// translate changes p and reports whether it is an error about a packet of a known flow.
func (e *ICMPRewriter) translate(p *packet.Packet) bool {
	h := ip.Header(p)
	if h == nil || h[9] != 1 || binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return false
	}
	hl := ip.HeaderLen(h)
	m := h[hl:min(len(h), max(hl, int(binary.BigEndian.Uint16(h[2:]))))]
	if len(m) < quoteAt+20+8 {
		return false
	}
	switch m[0] {
	case 3, 4, 5, 11, 12:
	default:
		return false
	}
	q := m[quoteAt:]
	ql := ip.HeaderLen(q)
	if q[0]>>4 != 4 || ql < 20 || len(q) < ql+8 || binary.BigEndian.Uint16(q[6:])&0x1fff != 0 {
		return false
	}
	for _, rw := range e.maps {
		i, dir, ok := rw.quoted(q, ql)
		if !ok {
			continue
		}
		if !e.Cache().Unshare(p) {
			return false
		}
		h = p.Network()
		e.change(h, h[hl:hl+len(m)], rw, i, dir)
		if e.dstAnno {
			p.Anno.Dst = ip.Dst(h)
		}
		if dir == 1 {
			e.anno.set(p, rw.table.flow(i).anno)
		}
		return true
	}
	return false
}

// quoted returns the flow of a packet that an error quotes, and the direction in which the error travels. ql is the length of the quoted IP header, behind
// which there are eight bytes.
func (e *rewriter) quoted(q []byte, ql int) (i uint32, dir int, ok bool) {
	src, dst := binary.BigEndian.Uint32(q[12:]), binary.BigEndian.Uint32(q[16:])
	switch e.kind {
	case addrs:
		if i, dir, ok = e.table.find(newKey(0, src, 0, 0, tagReply)); ok {
			return i, dir, ok
		}
		return e.table.find(newKey(dst, 0, 0, 0, 0))
	case pairs:
		return e.table.find(newKey(dst, src, 0, 0, 0))
	}
	k, ok := e.identify4(src, dst, q[9], q[ql:], true)
	if !ok {
		return 0, 0, false
	}
	// A packet on its way back would have the quoted one's key reversed.
	return e.table.find(k.reverse(e.table.flip))
}

// change rewrites the error m in the packet h, which travels in direction dir of flow i.
func (e *ICMPRewriter) change(h, m []byte, rw *rewriter, i uint32, dir int) {
	t := rw.table
	f := t.flow(i)
	q := m[quoteAt:]
	ql := ip.HeaderLen(q)
	n := min(len(q), ql+20) // what may change
	before := demux.Sum(0, q[:n&^1])

	// The quoted packet was rewritten in the other direction; that is undone.
	was := f.key[1-dir] // as its sender sent it
	quotedDst := binary.BigEndian.Uint32(q[16:])
	src, dst := was.src(), was.dst()
	if rw.kind == addrs {
		src, dst = binary.BigEndian.Uint32(q[12:]), quotedDst
		if dir == 1 {
			src = was.src()
		} else {
			dst = was.dst()
		}
	}
	binary.BigEndian.PutUint32(q[12:], src)
	binary.BigEndian.PutUint32(q[16:], dst)
	undo := func(growth uint16) uint64 { return uint64(^growth) }
	binary.BigEndian.PutUint16(q[10:], adjust(binary.BigEndian.Uint16(q[10:]), undo(f.ip[1-dir])))
	b := q[ql:]
	switch rw.kind {
	case pings:
		binary.BigEndian.PutUint16(b[4:], was.sport())
		binary.BigEndian.PutUint16(b[2:], adjust(binary.BigEndian.Uint16(b[2:]), undo(f.l4[1-dir])))
	case flows, tcpFlows, anyFlows:
		binary.BigEndian.PutUint16(b, was.sport())
		binary.BigEndian.PutUint16(b[2:], was.dport())
		if s := t.seqs[i]; s != nil {
			seq := binary.BigEndian.Uint32(b[4:])
			back := s[1-dir].back(seq)
			binary.BigEndian.PutUint32(b[4:], back)
			adjustL4(tagTCP, b, change32(seq, back))
		}
		adjustL4(q[9], b, undo(f.l4[1-dir]))
	default:
		adjustL4(q[9], b, undo(f.l4[1-dir]))
	}
	binary.BigEndian.PutUint16(m[2:], adjust(binary.BigEndian.Uint16(m[2:]), uint64(^fold(before))+demux.Sum(0, q[:n&^1])))

	// The error goes to the quoted packet's sender; it comes from its receiver, or from a router on the way.
	outerSrc := binary.BigEndian.Uint32(h[12:])
	newSrc := outerSrc
	if outerSrc == quotedDst {
		newSrc = dst
	}
	grow := change32(outerSrc, newSrc) + change32(binary.BigEndian.Uint32(h[16:]), src)
	binary.BigEndian.PutUint32(h[12:], newSrc)
	binary.BigEndian.PutUint32(h[16:], src)
	binary.BigEndian.PutUint16(h[10:], adjust(binary.BigEndian.Uint16(h[10:]), grow))
}
