package xdp

import (
	"encoding/binary"
	"math/bits"
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
	ids    [64]packet.FrameID

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
	for want := q.target() - q.lent; want > 0; {
		n := c.Lend(q.ids[:min(want, len(q.ids), q.sock.FillRoom())])
		if n == 0 {
			break
		}
		for _, id := range q.ids[:n] {
			q.sock.PutFill(uint64(id) * p.of.frameSize)
			p.lent[id] = true
		}
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
	// The headers come from far, for another processor or the kernel has written them. Asked for in a row, they come at the same time.
	region, seen := c.Pool().Region(), byte(0)
	for i := range n {
		if addr, _ := q.sock.Rx(i); addr < uint64(len(region)) {
			seen |= region[addr]
		}
	}
	q.seen = seen
	bytes, drops := 0, 0
	size, ids := p.of.frameSize, uint64(len(p.lent))
	shift, unfinished, own := uint(bits.TrailingZeros64(size)), p.of.unfinished, p.own
	for i := range n {
		addr, length := q.sock.Rx(i)
		id := addr >> shift
		if id < ids {
			p.lent[id] = false
		}
		k := c.Adopt(packet.FrameID(id), int(addr&(size-1)), length)
		if k == nil || length < demux.EtherLen {
			drops++
			if k == nil {
				c.Reclaim(packet.FrameID(id))
			} else {
				c.Free(k)
			}
			continue
		}
		d := k.Data()
		if unfinished {
			finishChecksum(d)
		}
		if binary.LittleEndian.Uint64(d)<<16 != own { // else it is packet.ToHost, as all fresh packets
			k.Anno.Kind = packet.KindOf([6]byte(d), p.of.info.HWAddr)
		}
		linkio.NoteVLAN(k)
		bytes += length
		b.Append(k)
	}
	q.sock.ReleaseRx(n)
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
