package ethernet

import (
	"encoding/binary"
	"strconv"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

const (
	typeArg = "ETHERTYPE: Such as 0x0800."
	srcArg  = "SRC: Source address."
	dstArg  = "DST: Destination address."
)

func init() {
	click.Register(click.Class{
		Name: "EtherEncap", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &EtherEncap{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "puts an Ethernet header before packets",
			Text: "Packets without room are dropped.", Args: []string{typeArg, srcArg, dstArg},
			Handlers: []string{"src (rw): The SRC argument.", "dst (rw): The DST argument.", "ethertype (rw): The ETHERTYPE argument, in hexadecimal.", "drops (r): Packets without room."},
			Example:  "... -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> ...;", See: []string{"ARPQuerier", "EtherVLANEncap", "EnsureEther", "EtherRewrite"},
		},
	})
}

// EtherEncap adds Ethernet headers.
type EtherEncap struct {
	click.Base
	typ      int
	src, dst [6]byte
}

// Configure implements click.Element.
func (e *EtherEncap) Configure(a *click.Args) {
	a.Parse(click.Must("ETHERTYPE", click.IntRange(&e.typ, 0, 0xffff)), click.Must("SRC", click.Ether(&e.src)), click.Must("DST", click.Ether(&e.dst)))
}

// Act implements click.Actor.
func (e *EtherEncap) Act(b *packet.Batch) {
	c := e.Cache()
	done := 0
	for _, p := range b.Packets() {
		if c.Shared(p) || !push(p, &e.dst, &e.src, uint16(e.typ)) {
			break
		}
		done++
	}
	if done == b.Len() {
		return
	}
	b.KeepFrom(done, func(p *packet.Packet) bool {
		if !c.Unshare(p) || !push(p, &e.dst, &e.src, uint16(e.typ)) {
			e.DropOne(p)
			return false
		}
		return true
	})
}

// AddHandlers implements click.HandlerAdder.
func (e *EtherEncap) AddHandlers(h *click.Handlers) {
	addrHandlers(h, &e.src, &e.dst)
	typeHandler(h, &e.typ)
}

// addrHandlers adds src and dst.
func addrHandlers(h *click.Handlers, src, dst *[6]byte) {
	h.Value("src", func() string { return DashedEther(*src) }, click.Ether(src))
	h.Value("dst", func() string { return DashedEther(*dst) }, click.Ether(dst))
}

// typeHandler adds ethertype.
func typeHandler(h *click.Handlers, typ *int) {
	h.Value("ethertype", func() string { return "0x" + strconv.FormatInt(int64(*typ), 16) }, click.IntRange(typ, 0, 0xffff))
}

// push writes an Ethernet header before an unshared packet.
func push(p *packet.Packet, dst, src *[6]byte, typ uint16) bool {
	d := p.Push(14)
	if d == nil {
		return false
	}
	copy(d, dst[:])
	copy(d[6:], src[:])
	binary.BigEndian.PutUint16(d[12:], typ)
	p.SetMAC(0)
	return true
}

// DashedEther prints an Ethernet address as 02-00-00-0A-00-01.
func DashedEther(m [6]byte) string { return string(appendEther(nil, m[:])) }

// appendEther appends the six bytes of an Ethernet address in the form of DashedEther.
func appendEther(o, m []byte) []byte {
	const digits = "0123456789ABCDEF"
	for i, x := range m[:6] {
		if i > 0 {
			o = append(o, '-')
		}
		o = append(o, digits[x>>4], digits[x&15])
	}
	return o
}
