package ip

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPMirror", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &IPMirror{} },
		Doc: click.Doc{
			Group: "ip", Title: "exchanges source and destination",
			Text: "In packets with a TCP or UDP header the ports are exchanged too, and with a TCP header the sequence and acknowledgement numbers; no checksum changes by that. Packets without a marked IP header are dropped.",
			Args: []string{"DST_ANNO: Whether to set the destination annotation to the new destination; default true."}, Handlers: []string{"drops (r): Packets dropped."},
			Example: "... -> IPMirror -> ...;", See: []string{"ICMPPingResponder"},
		},
	})
}

// IPMirror exchanges source and destination.
type IPMirror struct {
	click.Base
	anno bool
}

// Configure implements click.Element.
func (e *IPMirror) Configure(a *click.Args) {
	e.anno = true
	a.Parse(click.May("DST_ANNO", click.Bool(&e.anno)))
}

// Act implements click.Actor.
func (e *IPMirror) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if Header(p) == nil || !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		h := Header(p)
		swap32(h[12:], h[16:])
		if e.anno {
			annotate(p, [4]byte(h[16:20]))
		}
		t := h[HeaderLen(h):]
		if binary.BigEndian.Uint16(h[6:])&0x1fff != 0 || len(t) < 8 {
			return true
		}
		if h[9] == 6 || h[9] == 17 {
			t[0], t[1], t[2], t[3] = t[2], t[3], t[0], t[1]
		}
		if h[9] == 6 && len(t) >= 12 {
			swap32(t[4:], t[8:])
		}
		return true
	})
}

func swap32(a, b []byte) {
	x := binary.BigEndian.Uint32(a)
	copy(a[:4], b[:4])
	binary.BigEndian.PutUint32(b, x)
}
