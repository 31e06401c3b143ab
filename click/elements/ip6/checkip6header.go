package ip6

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elements/ip"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "CheckIP6Header", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &CheckIP6Header{} },
		Doc: click.Doc{
			Group: "ip6", Title: "checks IPv6 headers",
			Text: "A good packet has version 6, a length that fits the packet, extension headers that fit the length, and a source that is neither a multicast address nor one of BADADDRS. " +
				"Its network and transport headers are marked, its destination annotation is set, and bytes behind the length of the header are cut off. Other packets go to output 1 if that is connected.",
			Args:     append([]string{"BADADDRS: Addresses that may not be sources, apart by spaces.", "OFFSET: Where the header begins, in bytes; default 0."}, ip.FaultArgs...),
			Handlers: append([]string{"count (r): Good packets."}, ip.FaultHandlers...),
			Example:  "... -> Strip(14) -> CheckIP6Header(::0) -> ...;", See: []string{"MarkIP6Header", "CheckIPHeader"},
		},
	})
	click.Register(click.Class{
		Name: "MarkIP6Header", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &MarkIP6Header{} },
		Doc: click.Doc{
			Group: "ip6", Title: "marks the IPv6 header without checking it",
			Text: "The network header annotation is set, and the transport header behind the extension headers, as far as they can be followed.",
			Args: []string{"OFFSET: Where the header begins; default 0."}, Example: "... -> MarkIP6Header(14) -> ...;", See: []string{"CheckIP6Header"},
		},
	})
}

// CheckIP6Header checks IPv6 headers.
type CheckIP6Header struct {
	click.Base
	offset int
	bad    map[[16]byte]bool
	count  uint64
	faults ip.Faults
	who    string
}

const (
	tooShort = iota
	badVersion
	badLength
	badExtension
	badSource
)

// Configure implements click.Element.
func (e *CheckIP6Header) Configure(a *click.Args) {
	e.faults.Init("IP6", "tiny packet", "bad IP version", "bad IP length", "bad extension header", "bad source address")
	e.who = e.Name() + " :: " + e.Class().Name
	e.bad = map[[16]byte]bool{}
	bad := func(s string, a *click.Args) error {
		for _, w := range lang.SplitWords(lang.Unquote(s)) {
			var x netip.Addr
			if click.Addr6(&x)(w, a) != nil {
				return fmt.Errorf("expected an IPv6 address, not '%s'", w)
			}
			e.bad[x.As16()] = true
		}
		return nil
	}
	a.Parse(e.faults.Params(click.May("BADADDRS", bad), click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))...)
}

// check returns the reason against p, or -1 after marking it.
func (e *CheckIP6Header) check(p *packet.Packet) int {
	d := p.Data()
	if len(d) < e.offset+headerLen {
		return tooShort
	}
	h := d[e.offset:]
	if h[0]>>4 != 6 {
		return badVersion
	}
	total := headerLen + int(binary.BigEndian.Uint16(h[4:]))
	if total > len(h) {
		return badLength
	}
	_, at, _, ok := upper(h[:total])
	if !ok {
		return badExtension
	}
	if h[8] == 0xff || len(e.bad) > 0 && e.bad[[16]byte(h[8:24])] {
		return badSource
	}
	p.Take(len(h) - total)
	p.SetNetwork(e.offset)
	p.SetTransport(e.offset + at)
	p.Anno.Dst = dst(h)
	return -1
}

// Act implements click.Actor.
func (e *CheckIP6Header) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if why := e.check(p); why >= 0 {
			e.faults.Note(&e.Base, e.who, why)
			e.ForwardOne(1, p)
			return false
		}
		return true
	})
	e.count += uint64(b.Len())
}

// Inherit implements click.Inheritor.
func (e *CheckIP6Header) Inherit(old click.Element) error {
	if o, ok := old.(*CheckIP6Header); ok {
		e.count = o.count
		e.faults.Inherit(&o.faults)
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *CheckIP6Header) AddHandlers(h *click.Handlers) {
	h.Count("count", &e.count)
	e.faults.AddHandlers(h)
}

// MarkIP6Header marks IPv6 headers.
type MarkIP6Header struct {
	click.Base
	offset int
}

// Configure implements click.Element.
func (e *MarkIP6Header) Configure(a *click.Args) {
	a.Parse(click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))
}

// Act implements click.Actor.
func (e *MarkIP6Header) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		mark(p, e.offset)
	}
}
