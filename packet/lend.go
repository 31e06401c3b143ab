package packet

// A driver whose kernel ring lies in the pool's region lends frames to the kernel and takes them back filled:
//
//	free --Lend--> fill --Adopt--> held      the kernel wrote a packet into the frame
//	               fill --Reclaim--> free    it did not, and the ring is no more
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
