package ip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "StoreIPAddress", Ports: "1/1-2", Processing: "a/ah", Merging: click.Merged, New: func() click.Element { return &StoreIPAddress{} },
		Doc: click.Doc{
			Group: "ip", Title: "writes an address into the packet",
			Text: "Without ADDR it is the destination annotation, and packets that have none stay as they are. At 'src' or 'dst' of a packet whose network header is marked, the checksums of IP, and of TCP or UDP in packets that have their header, are updated; " +
				"elsewhere no checksum is. Packets without room for the address at OFFSET go to output 1, or are dropped.",
			Args:     []string{"<ADDR>: The address to write; may be left away.", "OFFSET: Where to write it, in bytes from the packet's start, or src, or dst.", "ADDR: The address, as a keyword."},
			Handlers: []string{"drops (r): Packets dropped."},
			Example:  "... -> StoreIPAddress(10.0.0.1, src) -> ...;", See: []string{"SetIPAddress", "GetIPAddress", "SetIPChecksum"},
		},
	})
}

// StoreIPAddress writes addresses into packets.
type StoreIPAddress struct {
	click.Base
	addr   netip.Addr
	given  bool // addr, instead of the annotation
	header bool // offset counts from the IP header
	offset int
}

// Configure implements click.Element.
func (e *StoreIPAddress) Configure(a *click.Args) {
	e.addr = netip.IPv4Unspecified()
	addr := click.Key("ADDR", click.Addr4(&e.addr)).Given(&e.given)
	if len(a.List()) > 1 {
		addr = click.Must("ADDR", click.Addr4(&e.addr)).Given(&e.given)
	}
	a.Parse(addr, click.Must("OFFSET", func(s string, a *click.Args) error {
		switch strings.ToLower(lang.Unquote(s)) {
		case "src":
			e.header, e.offset = true, 12
		case "dst":
			e.header, e.offset = true, 16
		default:
			if click.IntRange(&e.offset, 0, 1<<16)(s, a) != nil {
				return fmt.Errorf("expected an offset from 0, src or dst, not '%s'", s)
			}
		}
		return nil
	}))
}

// Act implements click.Actor.
func (e *StoreIPAddress) Act(b *packet.Batch) {
	c := e.Cache()
	b.Keep(func(p *packet.Packet) bool {
		a := e.addr
		if !e.given {
			if a = p.Anno.Dst; !a.Is4() || a.IsUnspecified() {
				return true
			}
		}
		if e.header && len(p.Network()) < 20 || !e.header && p.Len()-4 < e.offset || !c.Unshare(p) {
			e.ForwardOne(1, p)
			return false
		}
		x := a.As4()
		if e.header {
			replaceAddr(p.Network(), e.offset, x)
		} else {
			copy(p.Data()[e.offset:], x[:])
		}
		return true
	})
}

// replaceAddr replaces the address at off of a header, with the checksums of IP, TCP and UDP.
func replaceAddr(h []byte, off int, a [4]byte) {
	old, now := binary.BigEndian.Uint32(h[off:]), binary.BigEndian.Uint32(a[:])
	setAddr(h, off, a)
	if binary.BigEndian.Uint16(h[6:])&0x1fff != 0 {
		return // no transport header here
	}
	at := HeaderLen(h)
	switch h[9] {
	case 6:
		at += 16
	case 17:
		at += 6
	default:
		return
	}
	if HeaderLen(h) < 20 || at+2 > len(h) {
		return
	}
	sum := binary.BigEndian.Uint16(h[at:])
	if h[9] == 17 && sum == 0 {
		return // none (RFC 768)
	}
	sum = demux.Update32(sum, old, now)
	if h[9] == 17 && sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(h[at:], sum)
}
