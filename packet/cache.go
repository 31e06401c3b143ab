package packet

import "sync/atomic"

// Cache is one worker's access to a pool. All methods belong to that worker's goroutine, and
// none of them allocates or waits.
type Cache struct {
	pool   *Pool
	worker int

	ownFrames, ownPackets span // by number, what is at home here

	freeFrames  []uint32
	freePackets []uint32
	pairs       []pair // free packets that have kept their frames, the last view of which they were

	// What others freed and we own arrives here: chains through frame.next and
	// Packet slots, pushed whole with one compare-and-swap and taken whole with one swap.
	inFrames  atomic.Uint32 // index+1 of the first frame
	inPackets atomic.Uint32
	nextPkt   []uint32 // link of packet chains, by packet number; index+1; shared by all caches
	out       []chain  // by home worker

	exhausted atomic.Uint64
	refused   atomic.Uint64
}

// span is n numbers from first on.
type span struct{ first, n uint32 }

// pair is a packet and the frame that it views.
type pair struct{ packet, frame uint32 }

// chain collects what is to go to another worker.
type chain struct {
	firstFrame, lastFrame uint32
	firstPkt, lastPkt     uint32
	n                     int
}

// homeBatch is how many frames and packets are collected before they are sent home.
const homeBatch = 64

func newCache(p *Pool, worker int) *Cache {
	c := &Cache{pool: p, worker: worker, out: make([]chain, p.spec.Workers)}
	c.freeFrames = make([]uint32, 0, p.spec.Frames)
	c.freePackets = make([]uint32, 0, p.spec.Packets)
	c.pairs = make([]pair, 0, p.spec.Frames)
	if worker == 0 {
		c.nextPkt = make([]uint32, p.spec.Packets)
	} else {
		c.nextPkt = p.caches[0].nextPkt
	}
	return c
}

// Worker returns the number of the worker that c belongs to.
func (c *Cache) Worker() int { return c.worker }

// Pool returns the pool.
func (c *Cache) Pool() *Pool { return c.pool }

// Exhausted returns how often an allocation failed because the pool was empty.
func (c *Cache) Exhausted() uint64 { return c.exhausted.Load() }

// Refused returns how often an owner could not pay.
func (c *Cache) Refused() uint64 { return c.refused.Load() }

// Alloc returns an empty packet with the pool's headroom, charged to o, or nil when o cannot pay or
// the pool is empty.
func (c *Cache) Alloc(o Owner) *Packet {
	if o != Node && !c.pool.payer(o, c.worker).TakeFrames(1) {
		c.refused.Add(1)
		return nil
	}
	p := c.allocFree(o)
	if p == nil && o != Node {
		c.pool.payer(o, c.worker).ReturnFrames(1)
	}
	return p
}

// AllocBatch appends up to n packets to b, each as from Alloc, and returns how many: fewer than n when b is full, the
// pool is empty or o cannot pay for all n at once. It debits o once.
func (c *Cache) AllocBatch(o Owner, b *Batch, n int) int {
	if n = min(n, b.Room()); n <= 0 {
		return 0
	}
	if o != Node && !c.pool.payer(o, c.worker).TakeFrames(n) {
		got := 0 // near the limit: as many as there are
		for got < n {
			p := c.Alloc(o)
			if p == nil {
				break
			}
			b.Append(p)
			got++
		}
		return got
	}
	got := c.reuse(o, b, n)
	for ; got < n; got++ {
		p := c.allocFree(o)
		if p == nil {
			break
		}
		b.Append(p)
	}
	if got < n && o != Node {
		c.pool.payer(o, c.worker).ReturnFrames(n - got)
	}
	return got
}

// reuse is allocFree for up to n packets as long as there are pairs; it appends them to b, which has the room.
func (c *Cache) reuse(o Owner, b *Batch, n int) int {
	n = min(n, len(c.pairs))
	pairs := c.pairs[len(c.pairs)-n:]
	frames, packets, head := c.pool.frames, c.pool.packets, int32(c.pool.spec.Headroom)
	word := uint64(o)<<ownerShift | uint64(Held)<<stateShift | 1
	to := b.pkts[b.n:]
	for i := len(pairs) - 1; i >= 0; i-- { // the one that was used last first
		x := pairs[i]
		p := &packets[x.packet]
		frames[x.frame].put(word)
		p.head, p.tail = head, head
		p.ClearHeaders()
		p.Anno = Anno{}
		to[len(pairs)-1-i] = p
	}
	c.pairs = c.pairs[:len(c.pairs)-n]
	b.n += n
	return n
}

// AllocFrom is Alloc with the packet's bytes set to a copy of data. It returns nil also when data is
// larger than a frame has room for behind the headroom.
func (c *Cache) AllocFrom(o Owner, data []byte) *Packet {
	if len(data) > c.pool.spec.FrameSize-c.pool.spec.Headroom {
		return nil
	}
	p := c.Alloc(o)
	if p != nil {
		p.tail = p.head + int32(copy(p.buf[p.head:], data))
	}
	return p
}

func (c *Cache) allocFree(o Owner) *Packet {
	if n := len(c.pairs); n > 0 {
		p := &c.pool.packets[c.pairs[n-1].packet]
		c.pairs = c.pairs[:n-1]
		c.pool.frames[p.fid].set(o, Held, 1)
		p.head, p.tail = int32(c.pool.spec.Headroom), int32(c.pool.spec.Headroom)
		p.ClearHeaders()
		p.Anno = Anno{}
		return p
	}
	f, ok := c.takeFrame()
	if !ok {
		c.exhausted.Add(1)
		return nil
	}
	p := c.takePacket()
	if p == nil {
		c.freeFrames = append(c.freeFrames, f)
		c.exhausted.Add(1)
		return nil
	}
	c.pool.frames[f].set(o, Held, 1)
	c.view(p, f)
	return p
}

// view makes p the first view of frame f.
func (c *Cache) view(p *Packet, f uint32) {
	s := &c.pool.spec
	off := int(f) * s.FrameSize
	p.buf = c.pool.region[off : off+s.FrameSize : off+s.FrameSize]
	p.head, p.tail = int32(s.Headroom), int32(s.Headroom)
	p.fid = FrameID(f)
	p.ClearHeaders()
	p.Anno = Anno{}
	c.pool.frames[f].view = p.id + 1
}

// part takes a pair apart. Nobody looks at what the two still say of each other: the packet is free, and the frame the node's.
func (c *Cache) part() pair {
	x := c.pairs[len(c.pairs)-1]
	c.pairs = c.pairs[:len(c.pairs)-1]
	return x
}

func (c *Cache) takeFrame() (uint32, bool) {
	if len(c.pairs) > 0 { // the one that was used last
		x := c.part()
		c.freePackets = append(c.freePackets, x.packet)
		return x.frame, true
	}
	if len(c.freeFrames) == 0 {
		for f := c.inFrames.Swap(0); f != 0; f = c.pool.frames[f-1].next {
			c.freeFrames = append(c.freeFrames, f-1)
		}
		if len(c.freeFrames) == 0 {
			return 0, false
		}
	}
	f := c.freeFrames[len(c.freeFrames)-1]
	c.freeFrames = c.freeFrames[:len(c.freeFrames)-1]
	return f, true
}

func (c *Cache) takePacket() *Packet {
	if len(c.freePackets) == 0 {
		for i := c.inPackets.Swap(0); i != 0; i = c.nextPkt[i-1] {
			c.freePackets = append(c.freePackets, i-1)
		}
		if len(c.freePackets) == 0 {
			if len(c.pairs) == 0 {
				return nil
			}
			x := c.part()
			c.freeFrames = append(c.freeFrames, x.frame)
			return &c.pool.packets[x.packet]
		}
	}
	i := c.freePackets[len(c.freePackets)-1]
	c.freePackets = c.freePackets[:len(c.freePackets)-1]
	return &c.pool.packets[i]
}

// Owner returns who is charged for p's frame.
func (c *Cache) Owner(p *Packet) Owner { return c.pool.frames[p.fid].owner() }

// Shared reports whether another packet views p's frame.
func (c *Cache) Shared(p *Packet) bool { return c.pool.frames[p.fid].refs() > 1 }

// Clone returns another view of p's frame with the same head, tail, headers and annotations, or nil
// when there are no views left. Neither may be written to until it is unshared.
func (c *Cache) Clone(p *Packet) *Packet {
	q := c.takePacket()
	if q == nil {
		c.exhausted.Add(1)
		return nil
	}
	c.pool.frames[p.fid].word.Add(1)
	q.view, q.Anno = p.view, p.Anno
	q.clone.Store(uint32(q.fid) + 1)
	return q
}

// Copy returns a packet of a frame of its own, charged to o, with the same contents, headers and
// annotations, or nil as Alloc does. p stays with the caller.
func (c *Cache) Copy(p *Packet, o Owner) *Packet {
	q := c.Alloc(o)
	if q == nil {
		return nil
	}
	q.head, q.tail = p.head, p.tail
	q.mac, q.network, q.transport = p.mac, p.network, p.transport
	q.Anno = p.Anno
	lo := p.head
	for _, h := range [...]int32{p.mac, p.network, p.transport} { // headers that were pulled are kept
		if h >= 0 && h < lo {
			lo = h
		}
	}
	copy(q.buf[lo:p.tail], p.buf[lo:p.tail])
	return q
}

// Unshare makes p writable: when its frame is shared, the bytes are copied to a frame that
// the same owner is charged for. It returns false, with p unchanged and still owned by the caller,
// when that owner cannot pay or the pool is empty.
func (c *Cache) Unshare(p *Packet) bool {
	return c.pool.frames[p.fid].word.Load()&refMask == 1 || c.unshare(p)
}

//go:noinline
func (c *Cache) unshare(p *Packet) bool { return c.moveTo(p, c.pool.frames[p.fid].owner()) }

// Sendable makes p ready to be sent from where it lies: unshared, and Sending. It returns false as Unshare does. FreeSent takes what was made so.
func (c *Cache) Sendable(p *Packet) bool {
	return c.pool.frames[p.fid].word.Load()&(0xff<<stateShift|refMask) == uint64(Sending)<<stateShift|1 || c.sendable(p)
}

//go:noinline
func (c *Cache) sendable(p *Packet) bool {
	if !c.Unshare(p) {
		return false
	}
	c.SetState(p, Sending)
	return true
}

// Charge makes o pay for p's frame instead of the present owner. A shared frame is copied, for
// references do not cross owners. It returns false, with nothing changed, when o
// cannot pay; the caller still owns p and will usually drop it.
func (c *Cache) Charge(p *Packet, o Owner) bool {
	f := &c.pool.frames[p.fid]
	from := f.owner()
	if from == o {
		return true
	}
	if f.refs() > 1 {
		return c.moveTo(p, o)
	}
	if o != Node && !c.pool.payer(o, c.worker).TakeFrames(1) {
		c.refused.Add(1)
		return false
	}
	if from != Node {
		c.pool.payer(from, c.worker).ReturnFrames(1)
	}
	f.change(o, f.state())
	return true
}

// ChargeAll is Charge for all packets of ps, debiting o once. It returns false, with nothing changed, also where Charge would have to copy
// something: Charge decides then, one by one.
func (c *Cache) ChargeAll(ps []*Packet, o Owner) bool {
	frames := c.pool.frames
	n := 0 // that o does not pay for yet
	for _, p := range ps {
		w := frames[p.fid].word.Load()
		if Owner(w>>ownerShift) == o {
			continue
		}
		if w&refMask != 1 {
			return false
		}
		n++
	}
	if n == 0 {
		return true
	}
	if o != Node && !c.pool.payer(o, c.worker).TakeFrames(n) {
		return false
	}
	payer, back := Node, 0 // who paid for the last ones
	for _, p := range ps {
		f := &frames[p.fid]
		w := f.word.Load()
		from := Owner(w >> ownerShift)
		if from == o {
			continue
		}
		if from != payer {
			c.refund(payer, back)
			payer, back = from, 0
		}
		back++
		f.put(uint64(o)<<ownerShift | w&(1<<ownerShift-1))
	}
	c.refund(payer, back)
	return true
}

// refund gives n frames back to o.
func (c *Cache) refund(o Owner, n int) {
	if o != Node && n > 0 {
		c.pool.payer(o, c.worker).ReturnFrames(n)
	}
}

// moveTo copies p into a frame of its own that o pays for.
func (c *Cache) moveTo(p *Packet, o Owner) bool {
	q := c.Copy(p, o)
	if q == nil {
		return false
	}
	// p takes over the new frame; q, a mere view, takes the reference on the old one and goes.
	p.buf, q.buf = q.buf, p.buf
	p.fid, q.fid = q.fid, p.fid
	c.pool.frames[p.fid].view = p.id + 1
	if p.clone.Load() != 0 {
		p.clone.Store(0)
		q.clone.Store(uint32(q.fid) + 1)
	} else {
		c.pool.frames[q.fid].view = q.id + 1
	}
	c.Free(q)
	return true
}

// SetState records where p's frame is. Links call it for what they keep beyond a Flush. A frame becomes Sending with one
// view only, or stays as it is, and is so until it is freed: Sweep leaves frames in that state to whoever sends them.
func (c *Cache) SetState(p *Packet, s State) {
	f := &c.pool.frames[p.fid]
	w := f.word.Load()
	if s == Sending {
		if w&refMask != 1 {
			return
		}
		if p.clone.Load() != 0 { // the only view becomes the first one, by which FreeSent finds it
			f.view = p.id + 1
			p.clone.Store(0)
		}
	}
	if now := State(w >> stateShift); now == s { // the node marks what it gives to a link, and links mark it again
		return
	} else if now != Sending && w&refMask == 1 {
		f.put(w&^(0xff<<stateShift) | uint64(s)<<stateShift)
		return
	}
	f.change(f.owner(), s)
}

// SetStates is SetState for all packets of ps.
func (c *Cache) SetStates(ps []*Packet, s State) {
	frames := c.pool.frames
	for _, p := range ps {
		f := &frames[p.fid]
		if w := f.word.Load(); State(w>>stateShift) != Sending && w&refMask == 1 && p.clone.Load() == 0 {
			f.put(w&^(0xff<<stateShift) | uint64(s)<<stateShift)
		} else {
			c.SetState(p, s)
		}
	}
}

// Free drops p. The last view of a frame gives the frame back and refunds its owner.
func (c *Cache) Free(p *Packet) {
	if o := c.release(p); o != Node {
		c.pool.payer(o, c.worker).ReturnFrames(1)
	}
}

// release drops p and returns who is to be refunded for its frame, Node for nobody.
func (c *Cache) release(p *Packet) Owner {
	fid := uint32(p.fid)
	f := &c.pool.frames[fid]
	w := f.word.Load()
	if w&refMask == 1 && p.clone.Load() == 0 && int(f.home) == c.worker && int(p.home) == c.worker {
		refund := Node
		if o := Owner(w >> ownerShift); o == Node || State(w>>stateShift) != Sending { // Sweep leaves it alone, or waits for us
			f.put(0)
			refund = o
		} else {
			// Sweep may be making a frame that is with a link the node's: who owns it in this instant is refunded.
			refund = Owner(f.word.Swap(0) >> ownerShift)
		}
		p.head, p.tail = 0, 0
		c.pairs = append(c.pairs, pair{p.id, fid})
		return refund
	}
	refund := Node
	if p.clone.Load() != 0 {
		p.clone.Store(0)
	} else {
		f.view = 0
	}
	if w&refMask != 1 {
		w = f.word.Add(^uint64(0)) + 1
	}
	if w&refMask == 1 {
		refund = Owner(f.word.Swap(0) >> ownerShift)
		c.giveFrame(fid)
	}
	p.buf = nil
	c.givePacket(p.id)
	return refund
}

// FreeBatch drops all packets of b and leaves it empty. The owner of a run of packets is refunded once.
func (c *Cache) FreeBatch(b *Batch) {
	c.FreeAll(b.Packets())
	b.Reset()
}

// FreeAll is FreeBatch for a slice, which stays as it is.
func (c *Cache) FreeAll(ps []*Packet) {
	payer, frames := Node, 0
	table, worker, pairs := c.pool.frames, uint16(c.worker), c.pairs
	for _, p := range ps {
		f := &table[p.fid]
		w := f.word.Load()
		o := Owner(w >> ownerShift)
		if w&(1<<ownerShift-1) == uint64(Held)<<stateShift|1 && p.clone.Load() == 0 && f.home == worker && p.home == worker { // as release does
			f.put(0)
			p.head, p.tail = 0, 0
			pairs = append(pairs, pair{p.id, uint32(p.fid)})
		} else {
			c.pairs = pairs
			o = c.release(p)
			pairs = c.pairs
		}
		if o != payer {
			c.refund(payer, frames)
			payer, frames = o, 0
		}
		frames++
	}
	c.pairs = pairs
	c.refund(payer, frames)
}

// FreeSent frees packets that were made Sendable, by the numbers of their frames. A frame that is not Sending is left alone.
func (c *Cache) FreeSent(ids []FrameID) {
	frames, packets := c.pool.frames, c.pool.packets
	payer, n := Node, 0
	for _, id := range ids {
		if uint64(id) >= uint64(len(frames)) {
			continue
		}
		f := &frames[id]
		w, view := f.word.Load(), f.view-1
		if State(w>>stateShift) != Sending || f.view == 0 {
			continue
		}
		o := Owner(w >> ownerShift)
		switch {
		case uint32(id)-c.ownFrames.first >= c.ownFrames.n || view-c.ownPackets.first >= c.ownPackets.n:
			o = c.release(&packets[view])
		case o == Node: // as release has it, without a look at the packet, which is far away by now
			f.put(0)
			c.pairs = append(c.pairs, pair{view, uint32(id)})
		default:
			o = Owner(f.word.Swap(0) >> ownerShift)
			c.pairs = append(c.pairs, pair{view, uint32(id)})
		}
		if o != payer {
			c.refund(payer, n)
			payer, n = o, 0
		}
		n++
	}
	c.refund(payer, n)
}

func (c *Cache) giveFrame(i uint32) {
	home := int(c.pool.frames[i].home)
	if home == c.worker {
		c.freeFrames = append(c.freeFrames, i)
		return
	}
	ch := &c.out[home]
	c.pool.frames[i].next = ch.firstFrame
	if ch.firstFrame == 0 {
		ch.lastFrame = i + 1
	}
	ch.firstFrame = i + 1
	if ch.n++; ch.n >= homeBatch {
		c.sendHome(home)
	}
}

func (c *Cache) givePacket(i uint32) {
	home := int(c.pool.packets[i].home)
	if home == c.worker {
		c.freePackets = append(c.freePackets, i)
		return
	}
	ch := &c.out[home]
	c.nextPkt[i] = ch.firstPkt
	if ch.firstPkt == 0 {
		ch.lastPkt = i + 1
	}
	ch.firstPkt = i + 1
	if ch.n++; ch.n >= homeBatch {
		c.sendHome(home)
	}
}

// sendHome hands a chain to its worker. The receiver takes the whole list at once,
// so the compare-and-swap cannot be fooled by an entry that left and came back.
func (c *Cache) sendHome(home int) {
	ch, to := &c.out[home], c.pool.caches[home]
	for ch.firstFrame != 0 {
		old := to.inFrames.Load()
		c.pool.frames[ch.lastFrame-1].next = old
		if to.inFrames.CompareAndSwap(old, ch.firstFrame) {
			break
		}
	}
	for ch.firstPkt != 0 {
		old := to.inPackets.Load()
		c.nextPkt[ch.lastPkt-1] = old
		if to.inPackets.CompareAndSwap(old, ch.firstPkt) {
			break
		}
	}
	*ch = chain{}
}

// Flush sends home what has been collected for other workers. A worker calls it once a turn.
func (c *Cache) Flush() {
	for w := range c.out {
		if c.out[w].n > 0 {
			c.sendHome(w)
		}
	}
}
