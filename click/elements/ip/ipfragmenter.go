package ip

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPFragmenter", Ports: "1/1-2", Processing: "h", New: func() click.Element { return &IPFragmenter{} },
		Doc: click.Doc{
			Group: "ip", Title: "fragments IP packets that are too long",
			Text:     "Packets that may not be fragmented go to output 1, or are dropped. Options with the copy bit are in every fragment (RFC 791).",
			Args:     []string{"MTU: Most bytes of a packet that leaves; at least 68.", "HONOR_DF: Whether to heed the don't-fragment bit; default true."},
			Handlers: []string{"fragments (r): Fragments made.", "drops (r): Packets dropped."},
			Example:  "... -> f :: IPFragmenter(1500) -> ...; f[1] -> ICMPError(10.0.1.1, unreachable, needfrag, MTU 1500) -> ...;",
		},
	})
}

// IPFragmenter fragments packets.
type IPFragmenter struct {
	click.Base
	mtu       int
	honor     bool
	fragments uint64
}

// Configure implements click.Element.
func (e *IPFragmenter) Configure(a *click.Args) {
	e.honor = true
	a.Parse(click.Must("MTU", click.IntRange(&e.mtu, 68, 65535)), click.May("HONOR_DF", click.Bool(&e.honor)))
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
			e.DropOne(p)
		case len(h) <= e.mtu:
			out.Append(p)
		case h[6]&0x40 != 0 && e.honor:
			e.ForwardOne(1, p)
		default:
			e.split(p, h, off, out)
		}
	}
	b.Reset()
	e.Out(0).Push(out)
	e.Thread().Release(out)
}

// split makes fragments of p, which it takes. What precedes the IP header goes before every fragment.
func (e *IPFragmenter) split(p *packet.Packet, h []byte, off int, out *packet.Batch) {
	n := HeaderLen(h)
	total := min(int(binary.BigEndian.Uint16(h[2:])), len(h))
	field := binary.BigEndian.Uint16(h[6:])
	var opts [40]byte
	copied := copyOptions(opts[:0], h[20:n])
	for at := n; at < total; {
		head := n
		if at > n {
			head = 20 + len(copied)
		}
		size := min((e.mtu-head)&^7, total-at)
		if rest := total - at; rest <= e.mtu-head {
			size = rest
		}
		q := e.Cache().Alloc(e.Owner())
		if q == nil || q.Put(off+head+size) == nil {
			if q != nil {
				e.Cache().Free(q)
			}
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
		more := uint16(0x2000)
		if at+size >= total {
			more = field & 0x2000
		}
		binary.BigEndian.PutUint16(f[6:], field&0x1fff+uint16((at-n)/8)|more)
		SetChecksum(f)
		q.SetNetwork(off)
		q.SetTransport(off + head)
		if m, ok := p.MACOffset(); ok {
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
func (e *IPFragmenter) AddHandlers(h *click.Handlers) { h.Count("fragments", &e.fragments) }
