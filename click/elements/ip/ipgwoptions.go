package ip

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPGWOptions", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &IPGWOptions{} },
		Doc: click.Doc{
			Group: "ip", Title: "processes IP options as a router does",
			Text: "Record route and timestamp options are filled in (RFC 791, RFC 1812 section 4.2.2.2). Packets with malformed options go to output 1 with the place of the error noted for ICMPError, or are dropped.",
			Args: []string{"MYADDR: The address to record.", "OTHERADDRS: Further own addresses, apart by spaces."}, Handlers: []string{"drops (r): Malformed packets that had nowhere to go."},
			Example: "... -> g :: IPGWOptions(10.0.1.1) -> ...; g[1] -> ICMPError(10.0.1.1, parameterproblem) -> ...;", See: []string{"ICMPError"},
		},
	})
}

// IPGWOptions processes IP options.
type IPGWOptions struct {
	click.Base
	options options
}

// options is the part of a router in IP options.
type options struct {
	addr [4]byte // to record
	own  map[[4]byte]bool
}

func (o *options) init(addr [4]byte) {
	o.addr = addr
	if o.own == nil {
		o.own = map[[4]byte]bool{}
	}
	o.own[addr] = true
}

// Configure implements click.Element.
func (e *IPGWOptions) Configure(a *click.Args) {
	addr := netip.IPv4Unspecified()
	e.options.own = map[[4]byte]bool{}
	a.Parse(click.Must("MYADDR", click.Addr4(&addr)), click.May("OTHERADDRS", func(s string, a *click.Args) error {
		for _, w := range lang.SplitWords(s) {
			var x netip.Addr
			if err := click.Addr4(&x)(w, a); err != nil {
				return err
			}
			e.options.own[x.As4()] = true
		}
		return nil
	}))
	e.options.init(addr.As4())
}

// Act implements click.Actor.
func (e *IPGWOptions) Act(b *packet.Batch) {
	plain := 0
	for _, p := range b.Packets() {
		if h := p.Network(); len(h) < 20 || h[0]&15 > 5 {
			break
		}
		plain++
	}
	if plain == b.Len() {
		return
	}
	b.KeepFrom(plain, func(p *packet.Packet) bool {
		if h := p.Network(); len(h) < 20 || h[0]&15 > 5 {
			if Header(p) == nil || !e.Cache().Unshare(p) {
				SetParam(p, 0)
				e.ForwardOne(1, p)
				return false
			}
			if bad := e.options.process(p, e.Router()); bad >= 0 {
				SetParam(p, bad)
				e.ForwardOne(1, p)
				return false
			}
		}
		return true
	})
}

// process does the work on a header with options, whose packet must be unshared; it returns the offset of an error, or -1.
func (e *options) process(p *packet.Packet, r *click.Router) int {
	h := Header(p)
	if h == nil {
		return 0
	}
	n := HeaderLen(h)
	changed := false
	for i := 20; i < n; {
		switch h[i] {
		case 0: // end
			i = n
			continue
		case 1: // no operation
			i++
			continue
		}
		if i+1 >= n || h[i+1] < 2 || i+int(h[i+1]) > n {
			return i + 1
		}
		o := h[i : i+int(h[i+1])]
		switch o[0] {
		case 7: // record route
			if len(o) < 3 || o[2] < 4 {
				return i + 2
			}
			at := int(o[2]) - 1
			if at < len(o) {
				if at+4 > len(o) {
					return i + 2
				}
				copy(o[at:], e.addr[:])
				o[2] += 4
				changed = true
			}
		case 68: // timestamp
			if bad, done := e.timestamp(o, r); bad >= 0 {
				return i + bad
			} else if done {
				changed = true
			}
		}
		i += len(o)
	}
	if changed {
		SetChecksum(h)
	}
	return -1
}

// timestamp fills in a timestamp option; bad is the offset of an error in it, or -1.
func (e *options) timestamp(o []byte, r *click.Router) (bad int, done bool) {
	if len(o) < 4 || o[2] < 5 {
		return 2, false
	}
	at, kind := int(o[2])-1, o[3]&15
	size := 4
	switch kind {
	case 0:
	case 1, 3:
		size = 8
	default:
		return 3, false
	}
	if at >= len(o) { // full: count the overflow
		if o[3]>>4 == 15 {
			return 2, false
		}
		o[3] += 16
		return -1, true
	}
	if at+size > len(o) {
		return 2, false
	}
	if kind == 3 && !e.own[[4]byte(o[at:at+4])] {
		return -1, false // not asked of us
	}
	if kind == 1 {
		copy(o[at:], e.addr[:])
	}
	// Milliseconds since midnight UTC of the node's calendar (RFC 791).
	w := r.Domain().Node().Clock().Wall().UTC()
	ms := ((w.Hour()*60+w.Minute())*60+w.Second())*1000 + w.Nanosecond()/1e6
	binary.BigEndian.PutUint32(o[at+size-4:], uint32(ms))
	o[2] += byte(size)
	return -1, true
}
