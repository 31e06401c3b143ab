package analysis

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AnonymizeIPAddr", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &AnonymizeIPAddr{} },
		Doc: click.Doc{
			Group: "analysis", Title: "replaces the addresses of IPv4 packets, keeping which prefixes they share",
			Text: "Addresses that have so many first bits in common have as many in common afterwards. The replacement is a function of a secret that is drawn when the router is made. 0.0.0.0 and 255.255.255.255 stay. The IP checksum is " +
				"corrected; checksums of TCP and UDP are left as they are. Packets without a network header pass unchanged, and those that cannot be written to are dropped. Mind that who knows some of the traffic can find prefixes again.",
			Args:     []string{"CLASS: How many leading ones of an address are kept, 0 to 32: with 1 class A stays class A, with 4 classes A to D do. Default 0.", "PRESERVE_8: Prefixes of 8 bits, apart by spaces, that are kept."},
			Handlers: []string{}, Example: "FromDump(trace.pcap, FORCE_IP true, STOP true) -> AnonymizeIPAddr -> EraseIPPayload -> ToDump(out.pcap, ENCAP IP);", See: []string{"EraseIPPayload", "ToIPSummaryDump"},
		},
	})
	click.Register(click.Class{
		Name: "EraseIPPayload", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &EraseIPPayload{} },
		Doc: click.Doc{
			Group: "analysis", Title: "makes the payload of TCP and UDP zero",
			Text:    "Packets keep their lengths. What is behind the first fragment's header of TCP or UDP is erased, in later fragments and other protocols what is behind the IP header. Packets without a network header pass unchanged, and those that cannot be written to are dropped.",
			Example: "... -> EraseIPPayload -> ToDump(out.pcap, ENCAP IP);", See: []string{"AnonymizeIPAddr"},
		},
	})
}

// AnonymizeIPAddr replaces addresses.
type AnonymizeIPAddr struct {
	click.Base
	class int
	keep  []uint8
	keys  [32]uint64 // for each bit
}

// Configure implements click.Element.
func (e *AnonymizeIPAddr) Configure(a *click.Args) {
	a.Parse(click.Key("CLASS", click.IntRange(&e.class, 0, 32)), click.Key("PRESERVE_8", func(s string, _ *click.Args) error {
		for _, w := range strings.Fields(s) {
			n, err := strconv.ParseUint(w, 10, 8)
			if err != nil {
				return fmt.Errorf("'%s' is no number from 0 to 255", w)
			}
			e.keep = append(e.keep, uint8(n))
		}
		return nil
	}))
}

// Initialize implements click.Initializer.
func (e *AnonymizeIPAddr) Initialize() error {
	for i := range e.keys {
		e.keys[i] = e.Rand().Uint64()
	}
	return nil
}

// replace maps an address: bit i is turned if a function of the bits before it says so, as in tcpdpriv and Crypto-PAn (Xu, Fan, Ammar, Moon 2002).
func (e *AnonymizeIPAddr) replace(a uint32) uint32 {
	if a == 0 || a == 1<<32-1 {
		return a
	}
	out := uint32(0)
	ones := true // all bits so far
	for i := range 32 {
		bit := a >> (31 - i) & 1
		turn := uint32(0)
		if !(ones && i < e.class) && !e.preserved(a, i) {
			h := e.keys[i] ^ uint64(a>>1>>(31-i))*0x9e3779b97f4a7c15
			h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
			h = (h ^ h>>27) * 0x94d049bb133111eb
			turn = uint32(h >> 63)
		}
		out = out<<1 | bit ^ turn
		ones = ones && bit == 1
	}
	return out
}

// preserved reports whether bit i of an address must stay for a prefix to: when the bits before it are those of a prefix that is kept.
func (e *AnonymizeIPAddr) preserved(a uint32, i int) bool {
	if i >= 8 {
		return false
	}
	for _, k := range e.keep {
		if a>>24>>(8-i) == uint32(k)>>(8-i) {
			return true
		}
	}
	return false
}

// Act implements click.Actor.
func (e *AnonymizeIPAddr) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		if d := p.Network(); len(d) < 20 || d[0]>>4 != 4 {
			return true
		}
		if !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		d := p.Network()
		be := binary.BigEndian
		sum := uint32(^be.Uint16(d[10:]))
		for _, at := range [...]int{12, 16} {
			before := be.Uint32(d[at:])
			after := e.replace(before)
			sum += ^before>>16 + ^before&0xffff + after>>16 + after&0xffff
			be.PutUint32(d[at:], after)
		}
		for sum>>16 != 0 {
			sum = sum&0xffff + sum>>16
		}
		be.PutUint16(d[10:], ^uint16(sum))
		return true
	})
}

// EraseIPPayload erases payload.
type EraseIPPayload struct{ click.Base }

// Configure implements click.Element.
func (e *EraseIPPayload) Configure(a *click.Args) { a.Parse() }

// Act implements click.Actor.
func (e *EraseIPPayload) Act(b *packet.Batch) {
	b.Keep(func(p *packet.Packet) bool {
		var h header
		if !h.read(p.Network()) {
			return true
		}
		if !e.Cache().Unshare(p) {
			e.DropOne(p)
			return false
		}
		h.read(p.Network())
		at := min(h.hl, len(h.d))
		if _, _, ok := h.ports(); ok {
			at += 8
			if h.frag.proto == protoTCP && len(h.d) >= h.hl+13 {
				at = h.hl + max(int(h.d[h.hl+12]>>4)*4, 20)
			}
		}
		if at < len(h.d) {
			clear(h.d[at:])
		}
		return true
	})
}
