package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

const annoArg = "ANNO: The annotation to use; there is one for addresses, DST_IP or 0, which is the default."

// dstAnno parses the name of the only annotation that holds an IPv4 address.
func dstAnno(s string, _ *click.Args) error {
	switch t := strings.ToUpper(lang.Unquote(s)); t {
	case "0", "DST_IP", "0/4":
		return nil
	default:
		return fmt.Errorf("expected DST_IP, the annotation for addresses, not '%s'", t)
	}
}

func init() {
	click.Register(click.Class{
		Name: "SetIPAddress", Ports: "1/1", Processing: "a/a", Merging: click.Merged, New: func() click.Element { return &SetIPAddress{} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the destination annotation to an address",
			Args: []string{"ADDR: The address; 0.0.0.0 removes the annotation.", annoArg}, Handlers: []string{"addr (rw): The ADDR argument."},
			Example: "... -> SetIPAddress(10.0.0.1) -> ARPQuerier(...);", See: []string{"GetIPAddress", "StoreIPAddress", "SetRandIPAddress"},
		},
	})
	click.Register(click.Class{
		Name: "SetRandIPAddress", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &SetRandIPAddress{limit: -1} },
		Doc: click.Doc{
			Group: "ip", Title: "sets the destination annotation to random addresses of a network",
			Args:    []string{"PREFIX: The network, ADDR/LEN.", "LIMIT: Most different addresses; -1, the default, is no limit, and 0 leaves packets as they are."},
			Example: "... -> SetRandIPAddress(10.0.0.0/8, 100) -> StoreIPAddress(dst) -> ...;", See: []string{"SetIPAddress", "StoreIPAddress"},
		},
	})
}

// annotate sets the destination annotation; an address of zero is none.
func annotate(p *packet.Packet, a [4]byte) {
	p.Anno.Dst = netip.Addr{}
	if a != [4]byte{} {
		p.Anno.Dst = netip.AddrFrom4(a)
	}
}

// SetIPAddress sets the destination annotation.
type SetIPAddress struct {
	click.Base
	addr netip.Addr
}

// Configure implements click.Element.
func (e *SetIPAddress) Configure(a *click.Args) {
	e.addr = netip.IPv4Unspecified()
	a.Parse(click.Must("ADDR", click.Addr4(&e.addr)), click.May("ANNO", dstAnno))
}

// Act implements click.Actor.
func (e *SetIPAddress) Act(b *packet.Batch) {
	for _, p := range b.Packets() {
		annotate(p, e.addr.As4())
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *SetIPAddress) AddHandlers(h *click.Handlers) {
	h.Value("addr", func() string { return e.addr.String() }, click.Addr4(&e.addr))
}

// SetRandIPAddress sets the destination annotation to random addresses.
type SetRandIPAddress struct {
	click.Base
	first, size uint32 // of the network; a size of 0 is 1<<32
	limit       int
	drawn       [][4]byte
}

// maxDrawn bounds the memory for addresses that are drawn again.
const maxDrawn = 1 << 20

// Configure implements click.Element.
func (e *SetRandIPAddress) Configure(a *click.Args) {
	var px netip.Prefix
	if a.Parse(click.Must("PREFIX", click.Prefix(&px)), click.May("LIMIT", click.IntRange(&e.limit, -1, maxDrawn))) {
		if !px.Addr().Is4() {
			a.Errorf("PREFIX: expected an IPv4 network, not '%v'", px)
			return
		}
		x := px.Masked().Addr().As4()
		e.first, e.size = binary.BigEndian.Uint32(x[:]), uint32(uint64(1)<<(32-px.Bits()))
		e.drawn = make([][4]byte, 0, max(e.limit, 0))
	}
}

// draw returns an address.
func (e *SetRandIPAddress) draw() [4]byte {
	if e.limit >= 0 && len(e.drawn) == e.limit {
		return e.drawn[e.RandomBelow(uint32(e.limit))]
	}
	var a [4]byte
	n := e.RandomBelow(1<<16)<<16 | e.RandomBelow(1<<16)
	if e.size != 0 {
		n %= e.size
	}
	binary.BigEndian.PutUint32(a[:], e.first+n)
	if e.limit >= 0 {
		e.drawn = append(e.drawn, a)
	}
	return a
}

// Act implements click.Actor.
func (e *SetRandIPAddress) Act(b *packet.Batch) {
	if e.limit == 0 {
		return
	}
	for _, p := range b.Packets() {
		annotate(p, e.draw())
	}
}
