package ip6

import (
	"net/netip"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DecIP6HLIM", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &DecIP6HLIM{} },
		Doc: click.Doc{
			Group: "ip6", Title: "decrements the hop limit",
			Text:     "Packets with a hop limit of 0 or 1 go to output 1 unchanged, or are dropped. Packets without a marked IPv6 header are dropped.",
			Handlers: []string{"expired (r): Packets at the end of their way.", "drops (r): Expired packets, wherever they went, and packets dropped."},
			Example:  "... -> h :: DecIP6HLIM -> ...; h[1] -> ICMP6Error(2001:db8::1, timeexceeded) -> ...;", See: []string{"ICMP6Error", "DecIPTTL"},
		},
	})
	click.Register(click.Class{
		Name: "IP6Mirror", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &IP6Mirror{} },
		Doc: click.Doc{
			Group: "ip6", Title: "exchanges source and destination",
			Text: "Addresses, and with TCP and UDP ports, change places, which leaves checksums right. Packets without a marked IPv6 header are dropped.", Handlers: []string{"drops (r): Packets dropped."},
			Example: "... -> IP6Mirror -> ...;", See: []string{"IPMirror"},
		},
	})
	click.Register(click.Class{
		Name: "SetIP6DSCP", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetIP6DSCP{} },
		Doc: click.Doc{
			Group: "ip6", Title: "sets the differentiated services codepoint", Text: "Packets without a marked IPv6 header are dropped.",
			Args: []string{"VAL: 0 to 63, the upper bits of the traffic class."}, Handlers: []string{"dscp (rw): The VAL argument.", "drops (r): Packets dropped."},
			Example: "... -> SetIP6DSCP(46) -> ...;", See: []string{"SetIPDSCP"},
		},
	})
	click.Register(click.Class{
		Name: "GetIP6Address", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &GetIP6Address{} },
		Doc: click.Doc{
			Group: "ip6", Title: "copies an address of the packet to the destination annotation", Text: "Packets that are too short are dropped.",
			Args: []string{"OFFSET: Where the address is, in bytes; 24 is the destination of a packet that begins with its IPv6 header."}, Handlers: []string{"drops (r): Packets dropped."},
			Example: "... -> GetIP6Address(24) -> LookupIP6Route(::0/0 0) -> ...;", See: []string{"SetIP6Address", "LookupIP6Route"},
		},
	})
	click.Register(click.Class{
		Name: "SetIP6Address", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetIP6Address{} },
		Doc: click.Doc{
			Group: "ip6", Title: "sets the destination annotation to an IPv6 address",
			Args: []string{"IP6: The address; :: removes the annotation."}, Handlers: []string{"addr (rw): The IP6 argument."},
			Example: "... -> SetIP6Address(2001:db8::2) -> [0] nds; nds :: IP6NDSolicitor(2001:db8::1, 2:0:0:0:0:1); Idle -> [1] nds;", See: []string{"GetIP6Address", "SetIPAddress"},
		},
	})
}

// change calls fn with the header of each packet that may be written, and drops the others.
func change(e *click.Base, b *packet.Batch, fn func(h []byte)) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if header(p) == nil || !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		fn(p.Network())
		return true
	})
}

// DecIP6HLIM decrements the hop limit.
type DecIP6HLIM struct {
	click.Base
	expired  uint64
	headless uint64
}

// Configure implements click.Element.
func (e *DecIP6HLIM) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *DecIP6HLIM) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		h := header(p)
		if h != nil && h[7] <= 1 {
			e.expired++
			e.ForwardOne(1, p)
			return false
		}
		if h == nil || !c.Unshare(p) {
			e.headless++
			e.DropOne(p)
			return false
		}
		p.Network()[7]--
		return true
	})
}

// Inherit implements click.Inheritor.
func (e *DecIP6HLIM) Inherit(old click.Element) error {
	if o, ok := old.(*DecIP6HLIM); ok {
		e.expired, e.headless = o.expired, o.headless
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *DecIP6HLIM) AddHandlers(h *click.Handlers) {
	h.Count("expired", &e.expired)
	h.Read("drops", func() string { return strconv.FormatUint(e.expired+e.headless, 10) })
}

// IP6Mirror exchanges source and destination.
type IP6Mirror struct{ click.Base }

// Configure implements click.Element.
func (e *IP6Mirror) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *IP6Mirror) Act(b *packet.Batch) {
	change(&e.Base, b, func(h []byte) {
		s := [16]byte(h[8:24])
		copy(h[8:], h[24:40])
		copy(h[24:], s[:])
		proto, at, there, ok := upper(h)
		if ok && there && (proto == protoTCP || proto == protoUDP) && len(h) >= at+4 {
			t := h[at:]
			t[0], t[1], t[2], t[3] = t[2], t[3], t[0], t[1]
		}
	})
}

// SetIP6DSCP sets codepoints.
type SetIP6DSCP struct {
	click.Base
	dscp int
}

// Configure implements click.Element.
func (e *SetIP6DSCP) Configure(a *click.Args) {
	a.Parse(click.Must("VAL", click.IntRange(&e.dscp, 0, 63)))
}

// Act implements click.Actor.
func (e *SetIP6DSCP) Act(b *packet.Batch) {
	change(&e.Base, b, func(h []byte) {
		h[0] = h[0]&0xf0 | byte(e.dscp>>2)
		h[1] = h[1]&0x3f | byte(e.dscp<<6)
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *SetIP6DSCP) AddHandlers(h *click.Handlers) {
	h.Value("dscp", func() string { return strconv.Itoa(e.dscp) }, click.IntRange(&e.dscp, 0, 63))
}

// GetIP6Address copies addresses.
type GetIP6Address struct {
	click.Base
	offset int
}

// Configure implements click.Element.
func (e *GetIP6Address) Configure(a *click.Args) {
	a.Parse(click.Must("OFFSET", click.IntRange(&e.offset, 0, 1<<16)))
}

// Act implements click.Actor.
func (e *GetIP6Address) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		d := p.Data()
		if len(d) < e.offset+16 {
			e.DropOne(p)
			return false
		}
		annotate(p, netip.AddrFrom16([16]byte(d[e.offset:])))
		return true
	})
}

// annotate sets the destination annotation; an address of zero is none.
func annotate(p *packet.Packet, a netip.Addr) {
	p.Anno.Dst = netip.Addr{}
	if !a.IsUnspecified() {
		p.Anno.Dst = a
	}
}

// SetIP6Address sets the destination annotation.
type SetIP6Address struct {
	click.Base
	addr netip.Addr
}

// Configure implements click.Element.
func (e *SetIP6Address) Configure(a *click.Args) {
	e.addr = netip.IPv6Unspecified()
	a.Parse(click.Must("IP6", click.Addr6(&e.addr)))
}

// Act implements click.Actor.
func (e *SetIP6Address) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		annotate(p, e.addr)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *SetIP6Address) AddHandlers(h *click.Handlers) {
	h.Value("addr", func() string { return e.addr.String() }, click.Addr6(&e.addr))
}
