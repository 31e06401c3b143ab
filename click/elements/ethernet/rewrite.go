package ethernet

import (
	"fmt"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

const offsetArg = "OFFSET: Where the address is: src, dst, or a number of bytes."

func init() {
	click.Register(click.Class{
		Name: "EtherMirror", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &EtherMirror{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "exchanges source and destination of Ethernet headers",
			Text: "Packets without both addresses are dropped.", Handlers: []string{"drops (r): Packets dropped."}, Example: "... -> EtherMirror -> ToDevice(eth0);", See: []string{"EtherRewrite"},
		},
	})
	click.Register(click.Class{
		Name: "EtherRewrite", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &EtherRewrite{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "writes both addresses of Ethernet headers",
			Text: "The type is left alone. Packets without both addresses are dropped.", Args: []string{srcArg, dstArg},
			Handlers: []string{"src (rw): The SRC argument.", "dst (rw): The DST argument.", "drops (r): Packets dropped."}, Example: "... -> EtherRewrite(2:0:0:0:0:1, 2:0:0:0:0:2) -> ToDevice(eth0);", See: []string{"EtherEncap", "StoreEtherAddress"},
		},
	})
	click.Register(click.Class{
		Name: "StoreEtherAddress", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &StoreEtherAddress{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "writes an Ethernet address into packets",
			Text: "Packets that are too short for it go to output 1 or are dropped.", Args: []string{"ADDR: The address.", offsetArg},
			Handlers: []string{"addr (rw): The ADDR argument.", "drops (r): Packets that were too short and had nowhere to go."}, Example: "... -> StoreEtherAddress(2:0:0:0:0:1, src) -> ...;", See: []string{"EtherRewrite"},
		},
	})
	click.Register(click.Class{
		Name: "MarkMACHeader", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &MarkMACHeader{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "marks the link header",
			Text:     "Packets that end before the places to be marked are dropped.",
			Args:     []string{"OFFSET: Where the header begins; default 0.", "LENGTH: The header's length: the network header is marked behind it; default 0, which marks none."},
			Handlers: []string{"drops (r): Packets that were too short."}, Example: "... -> MarkMACHeader(0, 14) -> ...;", See: []string{"MarkIPHeader"},
		},
	})
}

// EtherMirror exchanges addresses.
type EtherMirror struct{ click.Base }

// Configure implements click.Element.
func (e *EtherMirror) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *EtherMirror) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if p.Len() < 12 || !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		d := p.Data()
		dst := [6]byte(d)
		copy(d, d[6:12])
		copy(d[6:], dst[:])
		return true
	})
}

// EtherRewrite writes addresses.
type EtherRewrite struct {
	click.Base
	src, dst [6]byte
}

// Configure implements click.Element.
func (e *EtherRewrite) Configure(a *click.Args) {
	a.Parse(click.Must("SRC", click.Ether(&e.src)), click.Must("DST", click.Ether(&e.dst)))
}

// Act implements click.Actor.
func (e *EtherRewrite) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if p.Len() < 12 || !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		d := p.Data()
		copy(d, e.dst[:])
		copy(d[6:], e.src[:])
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *EtherRewrite) AddHandlers(h *click.Handlers) { addrHandlers(h, &e.src, &e.dst) }

// StoreEtherAddress writes one address.
type StoreEtherAddress struct {
	click.Base
	addr [6]byte
	at   int
}

// Configure implements click.Element.
func (e *StoreEtherAddress) Configure(a *click.Args) {
	a.Parse(click.Must("ADDR", click.Ether(&e.addr)), click.Must("OFFSET", func(s string, a *click.Args) error {
		switch lang.Unquote(s) {
		case "src":
			e.at = 6
		case "dst":
			e.at = 0
		default:
			if click.IntRange(&e.at, 0, 1<<16)(s, a) != nil {
				return fmt.Errorf("expected src, dst or a number of bytes, not '%s'", s)
			}
		}
		return nil
	}))
}

// Act implements click.Actor.
func (e *StoreEtherAddress) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		if p.Len() < e.at+6 {
			e.ForwardOne(1, p)
			return false
		}
		if !c.Unshare(p) {
			e.DropOne(p)
			return false
		}
		copy(p.Data()[e.at:], e.addr[:])
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *StoreEtherAddress) AddHandlers(h *click.Handlers) {
	h.Value("addr", func() string { return DashedEther(e.addr) }, click.Ether(&e.addr))
}

// MarkMACHeader marks link headers.
type MarkMACHeader struct {
	click.Base
	offset, length int
}

// Configure implements click.Element.
func (e *MarkMACHeader) Configure(a *click.Args) {
	a.Parse(click.May("OFFSET", click.IntRange(&e.offset, 0, 1<<16)), click.May("LENGTH", click.IntRange(&e.length, 0, 1<<16)))
}

// Act implements click.Actor.
func (e *MarkMACHeader) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if p.Len() < e.offset+e.length {
			e.DropOne(p)
			return false
		}
		p.SetMAC(e.offset)
		if e.length > 0 {
			p.SetNetwork(e.offset + e.length)
		}
		return true
	})
}
