package click

import (
	"encoding/binary"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/packet"
)

// Places of annotations in packet.Anno.User that elements of several packages share. Bytes 14 and 15 belong to the elements for IP.
const (
	userAggregate    = 0
	userExtraPackets = 4
	userExtraLength  = 8
)

// Aggregate returns the number of the flow or group that an element has put the packet into.
func Aggregate(p *packet.Packet) uint32 {
	return binary.NativeEndian.Uint32(p.Anno.User[userAggregate:])
}

// SetAggregate sets what Aggregate returns.
func SetAggregate(p *packet.Packet, n uint32) {
	binary.NativeEndian.PutUint32(p.Anno.User[userAggregate:], n)
}

// ExtraPackets returns how many packets p stands for besides itself.
func ExtraPackets(p *packet.Packet) uint32 {
	return binary.NativeEndian.Uint32(p.Anno.User[userExtraPackets:])
}

// SetExtraPackets sets what ExtraPackets returns.
func SetExtraPackets(p *packet.Packet, n uint32) {
	binary.NativeEndian.PutUint32(p.Anno.User[userExtraPackets:], n)
}

// ExtraLength returns how many bytes the packet had on the wire that it has no more.
func ExtraLength(p *packet.Packet) uint32 {
	return binary.NativeEndian.Uint32(p.Anno.User[userExtraLength:])
}

// SetExtraLength sets what ExtraLength returns.
func SetExtraLength(p *packet.Packet, n uint32) {
	binary.NativeEndian.PutUint32(p.Anno.User[userExtraLength:], n)
}

// FirstTime returns when the first of the packets that p stands for was seen. It shares its place with packet.Anno.Flow.
func FirstTime(p *packet.Packet) clock.Time { return clock.Time(p.Anno.Flow) }

// SetFirstTime sets what FirstTime returns.
func SetFirstTime(p *packet.Packet, t clock.Time) { p.Anno.Flow = uint64(t) }

// maxLag is by how much calendar and clock may differ from what they were before conversions of times follow them.
const maxLag = 10 * time.Millisecond

// calendar returns the calendar time of instant 0. It stays the same until the calendar is set: the two clocks cannot be read at once, so that
// a time that is converted to and fro would differ otherwise.
func (r *Router) calendar() int64 {
	clk := r.domain.Node().Clock()
	at := clk.Wall().UnixNano() - int64(clk.Now())
	if d := at - r.instant0; d > int64(maxLag) || d < -int64(maxLag) {
		r.instant0 = at
	}
	return r.instant0
}

// WallOf returns the calendar time of an instant, as nanoseconds since 1970; 0 for no time. In Initialize and on the worker.
func (r *Router) WallOf(t clock.Time) int64 {
	if t == 0 {
		return 0
	}
	return r.calendar() + int64(t)
}

// TimeOf is the inverse of WallOf. Times that the clock cannot express are none.
func (r *Router) TimeOf(unix int64) clock.Time {
	if unix == 0 {
		return 0
	}
	return clock.Time(unix - r.calendar())
}

// AppendTime appends nanoseconds since 1970 as seconds with six decimals, or nine where they are needed.
func AppendTime(b []byte, unix int64) []byte {
	if unix < 0 {
		b, unix = append(b, '-'), -unix
	}
	t := time.Unix(0, unix)
	digits, frac := 9, t.Nanosecond()
	if frac%1000 == 0 {
		digits, frac = 6, frac/1000
	}
	b = appendPadded(b, t.Unix(), 1)
	return appendPadded(append(b, '.'), int64(frac), digits)
}

func appendPadded(b []byte, n int64, digits int) []byte {
	var d [20]byte
	i := len(d)
	for n > 0 || digits > 0 {
		i--
		d[i] = byte('0' + n%10)
		n /= 10
		digits--
	}
	return append(b, d[i:]...)
}
