package xdp

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// slack is how many frames a queue has beyond its credit: those that the kernel has redirected but not yet shown in the ring, a poll's
// worth on each of two processors.
const slack = 128

// queue is one receive queue of the interface: a socket, the frames that the kernel has of it, and its credit.
type queue struct {
	number int
	sock   *sys.XSK
	ring   int // credit at most
	lent   int // frames in the fill ring, in the receive ring, or between them

	// The cell's words, as package comment and claim_linux.go have them.
	produced, full, long, consumed, credit *atomic.Uint64

	taken    uint64 // what was published as consumed
	given    uint64 // what was published as credit
	lost     uint64 // of taken, what was counted as produced but never arrived
	left     int    // packets to take until all have been taken that were in the ring at the last mark
	lastSeen uint64 // produced, when the ring was last found empty with something missing
	seen     byte   // of the last batch's headers; nobody asks for it
}

func (q *queue) bindCell(w *sys.SharedWords) {
	base := q.number * cellSize
	q.produced, q.full, q.long = w.At(base+cellProduced), w.At(base+cellFull), w.At(base+cellLong)
	q.consumed, q.credit = w.At(base+cellConsumed), w.At(base+cellCredit)
}

// target is how many frames the queue wants to have lent.
func (q *queue) target() int { return q.ring + slack }

// refill lends frames to the kernel until it has as many as it should, or the pool has no more, and publishes what was
// consumed and the credit that the frames allow.
func (q *queue) refill(p *port, c *packet.Cache) {
	shift, with := p.of.shift, p.with
	for want := q.target() - q.lent; want > 0; {
		addrs := q.sock.FillSpan(min(want, q.sock.FillRoom()))
		n := c.LendAll(addrs)
		if n == 0 {
			break
		}
		for _, addr := range addrs[:n] {
			with[addr>>shift] = lent
		}
		q.sock.FillPut(n)
		q.sock.PublishFill()
		q.lent += n
		want -= n
	}
	if q.sock.FillNeedsKick() {
		q.sock.KickRx()
	}
	q.publish()
}

func (q *queue) publish() {
	if q.consumed.Load() != q.taken {
		q.consumed.Store(q.taken)
	}
	// Never more than there are frames: what finds the fill ring empty is lost where nobody sees it soon.
	if credit := uint64(min(q.ring, q.lent)); credit != q.given {
		q.credit.Store(credit)
		q.given = credit
	}
}

// receive makes packets of what waits in the ring, as many as fit in b, and reports whether there were any.
func (q *queue) receive(p *port, c *packet.Cache, b *packet.Batch) bool {
	n := min(q.sock.RxReady(), b.Room())
	q.left = max(q.left-n, 0)
	if n == 0 {
		q.settle()
		return false
	}
	bytes, drops := 0, 0
	for rest := n; rest > 0; {
		places := q.sock.RxSpan(rest)
		more, bad := q.take(p, c, b, places)
		bytes, drops = bytes+more, drops+bad
		q.sock.ReleaseRx(len(places))
		rest -= len(places)
	}
	q.lent -= n
	q.taken += uint64(n)
	q.refill(p, c)
	p.counts.RxPackets.Add(uint64(n - drops))
	p.counts.RxBytes.Add(uint64(bytes))
	if drops > 0 {
		p.counts.RxDrops.Add(uint64(drops))
	}
	return true
}

// atOnce is how many frames take handles together. Their headers have the same place in different pages, of which the first cache has room for 16 to 24.
const atOnce = 16

// take makes packets of places, which b has room for, and returns how many bytes they have and for how many places there was none.
func (q *queue) take(p *port, c *packet.Cache, b *packet.Batch, places []sys.Place) (bytes, drops int) {
	region, with, shift, seen := c.Pool().Region(), p.with, p.of.shift, byte(0)
	first, short := b.Len(), 0
	for len(places) > 0 {
		some := places[:min(len(places), atOnce)]
		places = places[len(some):]
		// The headers come from far, for another processor or the kernel has written them. Asked for in a row, they come at the same time.
		for i := range some {
			if addr := some[i].Addr; addr < uint64(len(region)) {
				seen |= region[addr]
				with[addr>>shift] = ours
			}
		}
		before := b.Len()
		for len(some) > 0 {
			some = some[c.AdoptAll(some, b):]
			if len(some) > 0 {
				drops++
				c.Reclaim(packet.FrameID(some[0].Addr >> shift))
				some = some[1:]
			}
		}
		n, few := p.look(b.Packets()[before:])
		bytes, short = bytes+n, short+few
	}
	q.seen = seen
	if short == 0 {
		return bytes, drops
	}
	out := first
	for _, k := range b.Packets()[first:] { // nobody sends such frames
		if k.Len() < demux.EtherLen {
			c.Free(k)
			continue
		}
		b.Set(out, k)
		out++
	}
	b.Truncate(out)
	return bytes, drops + short
}

// look notes what the headers of received packets say, completes checksums, and returns how many bytes the packets have, without those that are shorter than a
// header, and how many of these there are.
func (p *port) look(ps []*packet.Packet) (bytes, short int) {
	unfinished, own := p.of.unfinished, p.own
	for _, k := range ps {
		d := k.Data()
		if len(d) < demux.EtherLen {
			short++
			continue
		}
		bytes += len(d)
		if binary.LittleEndian.Uint64(d)<<16 != own { // else it is packet.ToHost, as all fresh packets
			k.Anno.Kind = packet.KindOf([6]byte(d), p.of.info.HWAddr)
		}
		if d[12] == demux.EtherTypeIPv4>>8 && d[13] == demux.EtherTypeIPv4&0xff { // no tag
			if unfinished && (len(d) < demux.EtherLen+demux.IPv4Len+demux.UDPLen || !finished4(d[demux.EtherLen:])) {
				finishChecksum(d)
			}
			continue
		}
		linkio.NoteVLAN(k)
		if unfinished {
			finishChecksum(d)
		}
	}
	return bytes, short
}

// settle is for an empty ring. What the program has redirected and the kernel then could not deliver would use up the credit for good; so when something
// is missing, and nothing has come since the last look, it is taken for lost. If it comes after all, more was consumed than produced,
// and that is put right at once.
func (q *queue) settle() {
	produced := q.produced.Load()
	switch missing := int64(produced - q.taken); {
	case missing > 0 && produced == q.lastSeen:
		q.lost += uint64(missing)
		q.taken = produced
		q.publish()
	case missing > 0:
		q.lastSeen = produced
	case missing < 0:
		q.lost -= min(uint64(-missing), q.lost)
		q.taken = produced
		q.publish()
	}
}

// unblock settles a queue whose credit is used up while its ring is empty: nothing will come that Receive could see.
func (q *queue) unblock() {
	if q.produced.Load()-q.taken >= q.given && q.given > 0 && q.sock.RxReady() == 0 {
		q.settle()
	}
}

// starved reports whether the kernel has no frame to receive to, so that nothing will ever wake the link.
func (q *queue) starved() bool { return q.lent == 0 }
