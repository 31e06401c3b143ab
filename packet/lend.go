package packet

import (
	"math/bits"

	"github.com/janos-os/janos/internal/sys"
)

// A driver whose kernel ring lies in the pool's region lends frames to the kernel and takes them back filled:
//
//	free --Lend--> fill --Adopt--> held      the kernel wrote a packet into the frame
//	               fill --Reclaim--> free    it did not, and the ring is no more
//
// LendAll and AdoptAll do that for many. On the way out the kernel reads from where a packet lies, and tells the frame when it is done:
//
//	held --Sendable--> sending --FreeSent--> free
//
// Lent frames are the node's. They have no packet, so Sweep does not see them.

// Lend takes free frames out of the pool for the kernel to write to, fills ids from its beginning with their numbers and returns how
// many there were. Who lends a frame gives it back, once, with Adopt or Reclaim.
func (c *Cache) Lend(ids []FrameID) int {
	for i := range ids {
		f, ok := c.takeFrame()
		if !ok {
			c.exhausted.Add(1)
			return i
		}
		c.pool.frames[f].set(Node, Fill, 0)
		ids[i] = FrameID(f)
	}
	return len(ids)
}

// Adopt makes a packet, owned by Node, of n bytes at offset head of a lent frame: what the kernel has written stays where it is. It returns nil,
// and the frame stays lent, when there are no views left, when the frame is not lent, or when the bytes are not within it.
func (c *Cache) Adopt(id FrameID, head, n int) *Packet {
	if uint64(id) >= uint64(len(c.pool.frames)) || head < 0 || n < 0 || n > c.pool.spec.FrameSize || head > c.pool.spec.FrameSize-n {
		return nil
	}
	f := &c.pool.frames[id]
	if f.state() != Fill {
		return nil
	}
	p := c.takePacket()
	if p == nil {
		c.exhausted.Add(1)
		return nil
	}
	f.set(Node, Held, 1)
	c.view(p, uint32(id))
	p.head, p.tail = int32(head), int32(head+n)
	return p
}

// AdoptAll is Adopt for places of the region, all of whose frames were lent: it appends a packet to b for each, in their order, up to the first of which Adopt would
// make none or for which b has no room, and returns how many.
func (c *Cache) AdoptAll(places []sys.Place, b *Batch) int {
	s := &c.pool.spec
	frames, packets, region := c.pool.frames, c.pool.packets, c.pool.region
	size := uint64(s.FrameSize)
	shift := uint(bits.TrailingZeros64(size))
	if len(places) > b.Room() {
		places = places[:b.Room()]
	}
	out := b.pkts[b.n : b.n+len(places)]
	for i := range places {
		addr, n := places[i].Addr, uint64(places[i].Len)
		id, head := addr>>shift, addr&(size-1)
		if id >= uint64(len(frames)) || head+n > size {
			b.n += i
			return i
		}
		f := &frames[id]
		if f.word.Load() != uint64(Fill)<<stateShift {
			b.n += i
			return i
		}
		var p *Packet
		if k := len(c.freePackets) - 1; k >= 0 {
			number := c.freePackets[k]
			c.freePackets = c.freePackets[:k]
			p = &packets[number] // which is only written to: it need not come from afar first
			f.view = number + 1
		} else if p = c.takePacket(); p != nil {
			f.view = p.id + 1
		} else {
			c.exhausted.Add(1)
			b.n += i
			return i
		}
		f.put(uint64(Held)<<stateShift | 1)
		at := id << shift
		p.buf = region[at : at+size : at+size] // field by field: a view made on the stack and copied whole costs 5 ns more
		p.head, p.tail = int32(head), int32(head+n)
		p.mac, p.network, p.transport = -1, -1, -1
		p.fid = FrameID(id)
		p.Anno = Anno{}
		out[i] = p
	}
	b.n += len(places)
	return len(places)
}

// LendAll is Lend with the addresses of the frames in the region instead of their numbers. Frames that were freed one after the other are lent in that order, where it can be:
// those who write to them and read them go through memory in one direction then.
func (c *Cache) LendAll(addrs []uint64) int {
	frames, shift := c.pool.frames, uint(bits.TrailingZeros(uint(c.pool.spec.FrameSize)))
	n := min(len(addrs), len(c.pairs))
	last := c.pairs[len(c.pairs)-n:]
	for i, x := range last {
		frames[x.frame].put(uint64(Fill) << stateShift)
		c.freePackets = append(c.freePackets, x.packet)
		addrs[i] = uint64(x.frame) << shift
	}
	c.pairs = c.pairs[:len(c.pairs)-n]
	for ; n < len(addrs); n++ {
		f, ok := c.takeFrame()
		if !ok {
			c.exhausted.Add(1)
			break
		}
		frames[f].put(uint64(Fill) << stateShift)
		addrs[n] = uint64(f) << shift
	}
	return n
}

// Reclaim makes a lent frame free again. Nobody may write to it any more. A frame that is not lent is left alone.
func (c *Cache) Reclaim(id FrameID) {
	if uint64(id) >= uint64(len(c.pool.frames)) {
		return
	}
	if f := &c.pool.frames[id]; f.state() == Fill {
		f.set(Node, Free, 0)
		c.giveFrame(uint32(id))
	}
}
