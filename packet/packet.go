package packet

import (
	"net/netip"
	"sync/atomic"

	"github.com/janos-os/janos/clock"
)

// Anno is what travels with a packet beside its bytes. A fresh packet's Anno is zero.
type Anno struct {
	Time     clock.Time // when the packet was received, or zero
	Flow     uint64     // a hash or number that a classifier gave the flow
	DstPort  uint16     // destination port that encapsulation should use; zero: the channel's
	SrcPort  uint16
	LinkAddr [6]byte // next hop's hardware address, if HasLink
	HasLink  bool
	Paint    uint8
	Link     uint16 // number of the link it came in by, counted from 1; zero: none
	VLAN     uint16 // tag control information of an outer 802.1Q tag, if HasVLAN
	HasVLAN  bool
	Kind     LinkKind
	User     [16]byte   // for elements that need a few bytes of their own
	NextHop  netip.Addr // next hop on the link that it will leave by; zero: look it up
	Dst      netip.Addr // destination that a lookup should use
	Src      netip.Addr // source that encapsulation should use; zero: the link's own
}

// LinkKind says how the link layer addressed a received packet.
type LinkKind uint8

// The kinds, as Linux's packet(7) has them.
const (
	ToHost LinkKind = iota
	ToBroadcast
	ToMulticast
	ToOther
)

// Packet is a view of a frame. It is made by a Cache and is owned by one party at a time. The
// zero Packet is of no use. It fills three cache lines, the first of which has all but Anno; a test keeps it so.
type Packet struct {
	view
	id    uint32        // of this packet in the pool
	clone atomic.Uint32 // frame number plus one, if the packet is not the frame's first view; else 0
	home  uint16        // worker whose cache it belongs to

	// Anno may be read and written freely by the packet's owner.
	Anno Anno
}

// view is what a clone copies.
type view struct {
	buf        []byte // the whole frame
	head, tail int32  // in buf
	mac        int32  // offsets in buf of the headers, -1 where unknown
	network    int32
	transport  int32
	fid        FrameID
}

// Data returns the bytes of the packet. The slice is valid while the caller owns the packet.
// It must not be written to unless the packet is unshared.
func (p *Packet) Data() []byte { return p.buf[p.head:p.tail:p.tail] }

// Layout returns the whole frame, where in it the packet's bytes begin and end, and where its headers begin, below zero where that is unknown.
// It is for code that looks at many bytes of many packets.
func (p *Packet) Layout() (frame []byte, head, tail, mac, network, transport int) {
	return p.buf, int(p.head), int(p.tail), int(p.mac), int(p.network), int(p.transport)
}

// Len returns the number of bytes.
func (p *Packet) Len() int { return int(p.tail - p.head) }

// Headroom returns how many bytes Push can give.
func (p *Packet) Headroom() int { return int(p.head) }

// Tailroom returns how many bytes Put can give.
func (p *Packet) Tailroom() int { return len(p.buf) - int(p.tail) }

// Frame returns the number of the frame that p views.
func (p *Packet) Frame() FrameID { return p.fid }

// Push makes the packet n bytes longer at its front and returns all its bytes, or nil if the
// headroom is too small. The new bytes are undefined. The packet must be unshared.
func (p *Packet) Push(n int) []byte {
	if n < 0 || n > int(p.head) {
		return nil
	}
	p.head -= int32(n)
	return p.Data()
}

// Pull removes n bytes from the front; it returns false, and changes nothing, when
// there are fewer.
func (p *Packet) Pull(n int) bool {
	if n < 0 || n > int(p.tail-p.head) {
		return false
	}
	p.head += int32(n)
	return true
}

// Put makes the packet n bytes longer at its end and returns all its bytes, or nil if the
// tailroom is too small. The new bytes are undefined. The packet must be unshared.
func (p *Packet) Put(n int) []byte {
	if n < 0 || n > len(p.buf)-int(p.tail) {
		return nil
	}
	p.tail += int32(n)
	return p.Data()
}

// Take removes n bytes from the end; false, and no change, when there are fewer.
func (p *Packet) Take(n int) bool {
	if n < 0 || n > int(p.tail-p.head) {
		return false
	}
	p.tail -= int32(n)
	return true
}

// SetMAC says that the link header begins off bytes after the start of the data (off may be negative).
func (p *Packet) SetMAC(off int) { p.mac = p.head + int32(off) }

// SetNetwork says where the network header begins, like SetMAC.
func (p *Packet) SetNetwork(off int) { p.network = p.head + int32(off) }

// SetTransport says where the transport header begins, like SetMAC.
func (p *Packet) SetTransport(off int) { p.transport = p.head + int32(off) }

// MAC returns the bytes from the link header to the end, or nil if it is unknown.
func (p *Packet) MAC() []byte { return p.from(p.mac) }

// Network returns the bytes from the network header to the end, or nil if it is unknown.
func (p *Packet) Network() []byte { return p.from(p.network) }

// Transport returns the bytes from the transport header to the end, or nil if it is unknown.
func (p *Packet) Transport() []byte { return p.from(p.transport) }

// NetworkOffset returns the distance from the data's start to the network header; it is negative when
// the header has been pulled. ok is false where the header is unknown.
func (p *Packet) NetworkOffset() (off int, ok bool) { return int(p.network - p.head), p.network >= 0 }

// TransportOffset is NetworkOffset for the transport header.
func (p *Packet) TransportOffset() (off int, ok bool) {
	return int(p.transport - p.head), p.transport >= 0
}

// MACOffset is NetworkOffset for the link header.
func (p *Packet) MACOffset() (off int, ok bool) { return int(p.mac - p.head), p.mac >= 0 }

// ClearHeaders forgets where the headers are.
func (p *Packet) ClearHeaders() { p.mac, p.network, p.transport = -1, -1, -1 }

func (p *Packet) from(off int32) []byte {
	if off < 0 || off > p.tail {
		return nil
	}
	return p.buf[off:p.tail:p.tail]
}
