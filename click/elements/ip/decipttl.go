package ip

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "DecIPTTL", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &DecIPTTL{} },
		Doc: click.Doc{
			Group: "ip", Title: "decrements the time to live",
			Text:     "The checksum is updated. Packets whose time is over, with a TTL of 0 or 1, go to output 1 unchanged, or are dropped.",
			Handlers: []string{"drops (r): Expired packets that had nowhere to go.", "expired (r): Expired packets."},
			Example:  "... -> t :: DecIPTTL -> ...; t[1] -> ICMPError(10.0.0.1, timeexceeded) -> ...;",
		},
	})
	click.Register(click.Class{
		Name: "DropBroadcasts", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &DropBroadcasts{} },
		Doc: click.Doc{
			Group: "ip", Title: "drops packets that came as link-level broadcast or multicast",
			Handlers: []string{"drops (r): Packets dropped."}, Example: "... -> DropBroadcasts -> ...;",
		},
	})
	click.Register(click.Class{
		Name: "FixIPSrc", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &FixIPSrc{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the source address of packets that ask for it",
			Text: "ICMPError marks its packets so that they get the address of the interface by which they leave.",
			Args: []string{"IPADDR: The interface's address."}, Example: "... -> FixIPSrc(10.0.1.1) -> ...;", See: []string{"ICMPError"},
		},
	})
	click.Register(click.Class{
		Name: "GetIPAddress", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &GetIPAddress{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the destination annotation from the packet's bytes",
			Text: "Packets that are too short are dropped.", Args: []string{"OFFSET: Where the address is; 16 is the IP destination."}, Example: "... -> GetIPAddress(16) -> ARPQuerier(...);",
		},
	})
	click.Register(click.Class{
		Name: "SetIPChecksum", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &SetIPChecksum{} },
		Doc: click.Doc{Group: "ip", Title: "computes the IP header's checksum", Text: "Packets without a marked IP header are dropped.", Example: "... -> SetIPChecksum -> ...;"},
	})
	click.Register(click.Class{
		Name: "StripIPHeader", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &StripIPHeader{} },
		Doc: click.Doc{Group: "ip", Title: "removes everything up to the end of the IP header", Text: "Packets without a marked IP header are dropped.", Example: "... -> StripIPHeader -> ...;"},
	})
}

// filter keeps the packets for which keep holds; it says itself what becomes of the others.
func filter(b *packet.Batch, keep func(p *packet.Packet) bool) {
	n := 0
	for i, p := range b.Packets() {
		if !keep(p) {
			continue
		}
		if i != n {
			b.Set(n, p)
		}
		n++
	}
	b.Truncate(n)
}

// DecIPTTL decrements the time to live.
type DecIPTTL struct {
	click.Base
	expired uint64
}

// Configure implements click.Element.
func (e *DecIPTTL) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *DecIPTTL) Act(b *packet.Batch) {
	keep := 0
	c := e.Cache()
	for i, p := range b.Packets() {
		h := p.Network()
		if len(h) < 20 {
			e.DropOne(p)
			continue
		}
		if h[8] <= 1 {
			e.expired++
			e.ForwardOne(1, p)
			continue
		}
		if !c.Unshare(p) {
			e.DropOne(p)
			continue
		}
		h = p.Network()
		h[8]--
		// RFC 1624 with a change of -0x0100 in the word of TTL and protocol.
		sum := uint32(binary.BigEndian.Uint16(h[10:])) + 0x100
		binary.BigEndian.PutUint16(h[10:], uint16(sum+sum>>16))
		if i != keep {
			b.Set(keep, p)
		}
		keep++
	}
	b.Truncate(keep)
}

// AddHandlers implements click.HandlerAdder.
func (e *DecIPTTL) AddHandlers(h *click.Handlers) { h.Count("expired", &e.expired) }

// DropBroadcasts drops link-level broadcasts.
type DropBroadcasts struct{ click.Base }

// Configure implements click.Element.
func (e *DropBroadcasts) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *DropBroadcasts) Act(b *packet.Batch) {
	keep := 0
	for i, p := range b.Packets() {
		if p.Anno.Kind == packet.ToBroadcast || p.Anno.Kind == packet.ToMulticast {
			e.DropOne(p)
			continue
		}
		if i != keep {
			b.Set(keep, p)
		}
		keep++
	}
	b.Truncate(keep)
}

// FixIPSrc sets source addresses.
type FixIPSrc struct {
	click.Base
	addr [4]byte
}

// Configure implements click.Element.
func (e *FixIPSrc) Configure(a *click.Args) {
	x := netip.IPv4Unspecified()
	a.Parse(click.Must("IPADDR", click.Addr4(&x)))
	e.addr = x.As4()
}

// Act implements click.Actor.
func (e *FixIPSrc) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		if FixSrc(p) {
			SetFixSrc(p, false)
			if h := p.Network(); len(h) >= 20 && e.Cache().Unshare(p) {
				setAddr(p.Network(), 12, e.addr)
			}
		}
	}
}

// GetIPAddress sets the destination annotation.
type GetIPAddress struct {
	click.Base
	offset int
}

// Configure implements click.Element.
func (e *GetIPAddress) Configure(a *click.Args) {
	a.Parse(click.Must("OFFSET", click.IntRange(&e.offset, 0, 1<<11)))
}

// Act implements click.Actor.
func (e *GetIPAddress) Act(b *packet.Batch) {
	filter(b, func(p *packet.Packet) bool {
		d := p.Data()
		if len(d) < e.offset+4 {
			e.DropOne(p)
			return false
		}
		p.Anno.Dst = netip.AddrFrom4([4]byte(d[e.offset : e.offset+4]))
		return true
	})
}

// SetIPChecksum computes checksums.
type SetIPChecksum struct{ click.Base }

// Configure implements click.Element.
func (e *SetIPChecksum) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *SetIPChecksum) Act(b *packet.Batch) {
	filter(b, func(p *packet.Packet) bool {
		if Header(p) == nil || !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		SetChecksum(p.Network())
		return true
	})
}

// StripIPHeader removes IP headers.
type StripIPHeader struct{ click.Base }

// Configure implements click.Element.
func (e *StripIPHeader) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *StripIPHeader) Act(b *packet.Batch) {
	filter(b, func(p *packet.Packet) bool {
		h := Header(p)
		off, _ := p.NetworkOffset()
		if h == nil || off < 0 || !p.Pull(off+HeaderLen(h)) {
			e.DropOne(p)
			return false
		}
		return true
	})
}
