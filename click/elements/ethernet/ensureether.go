package ethernet

import (
	"encoding/binary"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "EnsureEther", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &EnsureEther{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "puts an Ethernet header before IP packets that have none",
			Text: "An IP packet is one whose network header is marked. If an Ethernet header with the type of its IP version stands before it, the packet is left alone; if there was one that has been stripped, it is put back; " +
				"else a new one is made from the arguments. Other packets are left alone, and packets without room dropped.",
			Args:     []string{typeArg, "SRC: Source address; default 1:1:1:1:1:1.", "DST: Destination address; default 2:2:2:2:2:2."},
			Handlers: []string{"drops (r): Packets without room."}, Example: "... -> EnsureEther(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> ...;", See: []string{"EtherEncap", "EtherRewrite"},
		},
	})
}

const typeIP6 = 0x86dd

// EnsureEther adds missing Ethernet headers.
type EnsureEther struct {
	click.Base
	typ      int
	src, dst [6]byte
}

// Configure implements click.Element.
func (e *EnsureEther) Configure(a *click.Args) {
	e.typ, e.src, e.dst = typeIP, [6]byte{1, 1, 1, 1, 1, 1}, [6]byte{2, 2, 2, 2, 2, 2}
	a.Parse(click.May("ETHERTYPE", click.IntRange(&e.typ, 0, 0xffff)), click.May("SRC", click.Ether(&e.src)), click.May("DST", click.Ether(&e.dst)))
}

// isEther reports whether the 14 bytes of h may be the Ethernet header of the IP packet that begins with b.
func isEther(h []byte, b byte) bool {
	typ := binary.BigEndian.Uint16(h[12:])
	return typ == typeIP && b>>4 == 4 || typ == typeIP6 && b>>4 == 6
}

// Act implements click.Actor.
func (e *EnsureEther) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		n := p.Network()
		off, ok := p.NetworkOffset()
		if len(n) == 0 || !ok {
			return true
		}
		if d := p.Data(); off == 14 && isEther(d, n[0]) {
			return true
		}
		dst, src, typ := e.dst, e.src, uint16(e.typ)
		if at, ok := p.MACOffset(); ok && off == 0 && at == -14 && isEther(p.MAC(), n[0]) {
			h := p.MAC()
			dst, src, typ = [6]byte(h), [6]byte(h[6:]), binary.BigEndian.Uint16(h[12:])
		}
		if !c.Unshare(p) || !push(p, &dst, &src, typ) {
			e.DropOne(p)
			return false
		}
		return true
	})
}
