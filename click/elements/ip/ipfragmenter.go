package ip

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPFragmenter", Ports: "1/1-2", Processing: "h", Merging: click.Merged, New: func() click.Element { return &IPFragmenter{} },
		Doc: click.Doc{
			Group: "ip", Title: "fragments IP packets that are too long",
			Text: "Packets that are too long and may not be fragmented go to output 1, or are dropped. Options with the copy bit are in every fragment (RFC 791). " +
				"What precedes the IP header, and where the link header is, is kept for the first fragment only. Packets without a marked IP header are dropped.",
			Args: []string{
				"MTU: Most bytes of a packet that leaves; at least 8. Packets whose header leaves no room for eight bytes of payload count as such that may not be fragmented.", "HONOR_DF: Whether to heed the don't-fragment bit; default true. Without it, packets that had the bit get an identification of ours.",
				"VERBOSE: Whether to print a message about every packet with that bit that is too long, and not only about the first five; default false.", "HEADROOM: Bytes to leave free before a fragment, if more than usual.",
			},
			Handlers: []string{"fragments (r): Fragments made.", "drops (r): Packets that could not be fragmented, wherever they went."},
			Example:  "... -> f :: IPFragmenter(1500) -> ...; f[1] -> ICMPError(10.0.1.1, unreachable, needfrag, PMTU 1500) -> ...;",
		},
	})
}

// IPFragmenter fragments packets.
type IPFragmenter struct {
	click.Base
	mtu       int
	honor     bool
	verbose   bool
	headroom  int
	fragments uint64
	refused   uint64
	id        uint16
	buf       []byte
}

// Configure implements click.Element.
func (e *IPFragmenter) Configure(a *click.Args) {
	e.honor = true
	a.Parse(click.Must("MTU", click.IntRange(&e.mtu, 8, 65535)), click.May("HONOR_DF", click.Bool(&e.honor)), click.Key("VERBOSE", click.Bool(&e.verbose)),
		click.Key("HEADROOM", click.IntRange(&e.headroom, 0, 1024)))
}

// Push implements click.Pusher.
func (e *IPFragmenter) Push(_ int, b *packet.Batch) {
	long := 0
	for _, p := range b.Packets() {
		if off, ok := p.NetworkOffset(); !ok || p.Len()-off > e.mtu {
			long++
		}
	}
	if long == 0 {
		e.Out(0).Push(b)
		return
	}
	out := e.Thread().Scratch()
	for _, p := range b.Packets() {
		if out.Room() == 0 {
			e.Out(0).Push(out)
		}
		off, ok := p.NetworkOffset()
		switch h := Header(p); {
		case !ok || h == nil || off < 0:
			e.refused++
			e.DropOne(p)
		case len(h) <= e.mtu:
			out.Append(p)
		case h[6]&0x40 != 0 && e.honor || HeaderLen(h)+8 > e.mtu:
			e.tell(h)
			e.refused++
			e.ForwardOne(1, p)
		default:
			e.split(p, h, off, out)
		}
	}
	b.Reset()
	e.Out(0).Push(out)
	e.Thread().Release(out)
}

// tell prints a message about a packet that may not be fragmented.
func (e *IPFragmenter) tell(h []byte) {
	if e.refused >= 5 && !e.verbose {
		return
	}
	o := number(append(append(e.buf[:0], e.Class().Name...), '('), e.mtu)
	o = address(append(o, ") DF "...), h[12:])
	o = address(append(o, ' '), h[16:])
	e.buf = append(number(append(o, " len="...), len(h)), '\n')
	_, _ = e.Output().Write(e.buf)
}

// alloc returns an empty packet with room before it, or nil.
func (e *IPFragmenter) alloc() *packet.Packet {
	q := e.Cache().Alloc(e.Owner())
	if q != nil && q.Headroom() < e.headroom {
		if n := e.headroom - q.Headroom(); q.Put(n) == nil || !q.Pull(n) {
			e.Cache().Free(q)
			return nil
		}
	}
	return q
}

// split makes fragments of p, which it takes. off is where its IP header h begins.
func (e *IPFragmenter) split(p *packet.Packet, h []byte, off int, out *packet.Batch) {
	n := HeaderLen(h)
	total := min(int(binary.BigEndian.Uint16(h[2:])), len(h))
	field := binary.BigEndian.Uint16(h[6:])
	var opts [40]byte
	copied := copyOptions(opts[:0], h[20:n])
	id := binary.BigEndian.Uint16(h[4:])
	if field&0x4000 != 0 { // whoever sends packets that may not be fragmented need not give them identifications (RFC 6864)
		e.id++
		id = e.id
	}
	for at := n; at < total; {
		head := n
		if at > n {
			head, off = 20+len(copied), 0
		}
		size := min((e.mtu-head)&^7, total-at)
		if rest := total - at; rest <= e.mtu-head {
			size = rest
		}
		q := e.alloc()
		if q == nil || q.Put(off+head+size) == nil {
			if q != nil {
				e.Cache().Free(q)
			}
			e.refused++
			e.CountDrops(1)
			break
		}
		d := q.Data()
		copy(d, p.Data()[:off])
		f := d[off:]
		copy(f, h[:head])
		if at > n {
			copy(f, h[:20])
			copy(f[20:], copied)
			f[0] = 0x40 | byte(head/4)
		}
		copy(f[head:], h[at:at+size])
		binary.BigEndian.PutUint16(f[2:], uint16(head+size))
		binary.BigEndian.PutUint16(f[4:], id)
		more := uint16(0x2000)
		if at+size >= total {
			more = field & 0x2000
		}
		binary.BigEndian.PutUint16(f[6:], field&0x1fff+uint16((at-n)/8)|more)
		SetChecksum(f)
		q.SetNetwork(off)
		q.SetTransport(off + head)
		if m, ok := p.MACOffset(); ok && at == n {
			q.SetMAC(m)
		}
		q.Anno = p.Anno
		if out.Room() == 0 {
			e.Out(0).Push(out)
		}
		out.Append(q)
		e.fragments++
		at += size
	}
	e.Cache().Free(p)
}

// copyOptions appends the options that belong in every fragment, padded to whole words.
func copyOptions(dst, o []byte) []byte {
	for len(o) > 0 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			break
		}
		if o[0]&0x80 != 0 {
			dst = append(dst, o[:o[1]]...)
		}
		o = o[o[1]:]
	}
	for len(dst)%4 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// AddHandlers implements click.HandlerAdder.
func (e *IPFragmenter) AddHandlers(h *click.Handlers) {
	h.Count("fragments", &e.fragments)
	h.Count("drops", &e.refused)
}

// Inherit implements click.Inheritor.
func (e *IPFragmenter) Inherit(old click.Element) error {
	if o, ok := old.(*IPFragmenter); ok {
		e.fragments, e.refused, e.id = o.fragments, o.refused, o.id
	}
	return nil
}
