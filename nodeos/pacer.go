package nodeos

// The way of a packet through a pacer, in the order of this file:
//
//  1. send, on any worker: if nobody waits and the buckets allow it, to the link at once; else into the channel's queue, or dropped
//  2. Run, on the pacer's worker: of the channels that wait and whose bucket allows it, those with a reserve that they have not had come first, then
//     the one with the smallest pass; until the link's bucket is empty
//  3. the link
//
// A channel without a bit rate on a link without one never comes here.

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// What out-channels have whose Spec does not say.
const (
	DefaultOutQueue = 256                  // packets
	DefaultBurst    = 5 * time.Millisecond // at the bit rate
)

// Bounds of what a Spec may say.
const (
	MaxBitRate  = 1 << 40 // bits per second
	MaxOutBurst = time.Minute
)

// debt is how far ahead of a rate somebody is. It may be filled by a packet more than it holds, which is waited for afterwards.
type debt struct {
	until clock.Time // when what was sent is paid for
	rest  uint64     // of the last packet, in bits times 1e9: less than the rate
}

// at returns when the next packet may go.
func (b *debt) at(burst time.Duration) clock.Time { return b.until - clock.Time(burst) + 1 }

func (b *debt) spend(now clock.Time, bits, rate uint64) {
	if b.until < now {
		b.until, b.rest = now, 0
	}
	x := bits*1e9 + b.rest
	b.until += clock.Time(x / rate)
	b.rest = x % rate
}

// pacer divides the rate of a link among out-channels, and holds each to its own.
type pacer struct {
	link   *linkState
	worker *Worker
	task   *Task

	rate     atomic.Uint64           // of the link; 0: as fast as it is
	incoming atomic.Pointer[OutChan] // that have begun to wait, the last one first

	active []*OutChan // what follows is the worker's: those that wait
	out    packet.Batch
	bucket debt
	vtime  uint64 // smallest pass at the last choice

	mu       sync.Mutex // what follows
	reserved uint64     // by channels
}

// paced is an out-channel's side of a pacer.
type paced struct {
	bitRate atomic.Uint64
	reserve atomic.Uint64
	share   atomic.Uint32
	burst   time.Duration // at the bit rate
	queue   int
	ring    atomic.Pointer[ring]
	held    atomic.Int64
	listed  atomic.Bool // waits
	next    *OutChan    // in incoming

	limit, part debt // the worker's: of bitRate and of reserve
	pass, rest  uint64

	full atomic.Uint64
}

// frameRoom is what a link's frame may have beyond its MTU: an Ethernet header and two tags.
const frameRoom = demux.EtherLen + 2*demux.VLANLen

// pacer returns the pacer of a link, which is made when it is first asked for.
func (s *linkState) pace() (*pacer, error) {
	s.node.feeding.Lock()
	defer s.node.feeding.Unlock()
	if pc := s.pacer.Load(); pc != nil {
		return pc, nil
	}
	pc := &pacer{link: s, worker: s.ports[0].worker}
	t, err := s.node.root.newTask(TaskSpec{Name: "pace " + s.info.Name, Worker: pc.worker.id, Run: pc})
	if err != nil {
		return nil, err
	}
	pc.task = t
	s.pacer.Store(pc)
	return pc, nil
}

// longest returns how long two of the link's longest frames take at a rate, which a burst is at least.
func (pc *pacer) longest(rate uint64) time.Duration {
	return time.Duration(2 * 8 * uint64(pc.link.info.MTU+frameRoom) * 1e9 / rate)
}

// send takes the frames of b, as linkState.send does.
func (pc *pacer) send(w *Worker, c *OutChan, b *packet.Batch) {
	if w == pc.worker && len(pc.active) == 0 && pc.incoming.Load() == nil && c.held.Load() == 0 {
		n := 0 // that need not wait
		for n < b.Len() && pc.ready(c, w.now) <= w.now {
			pc.spend(c, w.now, b.At(n).Len())
			n++
		}
		if n == b.Len() {
			pc.link.send(w, b)
			return
		}
		for _, p := range b.Packets()[:n] {
			pc.out.Append(p)
		}
		b.Drop1st(n)
		if n > 0 {
			pc.link.send(w, &pc.out)
		}
	}
	c.needRing()
	r := c.ring.Load()
	for _, p := range b.Packets() {
		w.cache.SetState(p, packet.Sending) // as on a link: the end of its owner's domain makes it the node's, and does not free it here
		if c.held.Add(1) <= int64(c.queue) && r.put(p) {
			continue
		}
		c.held.Add(-1)
		c.full.Add(1)
		w.cache.Free(p)
	}
	b.Reset()
	if !c.listed.Swap(true) {
		for {
			first := pc.incoming.Load()
			if c.next = first; pc.incoming.CompareAndSwap(first, c) {
				break
			}
		}
	}
	pc.task.Wake()
}

// ready returns when channel and link allow the next packet.
func (pc *pacer) ready(c *OutChan, now clock.Time) clock.Time {
	at := now
	if rate := pc.rate.Load(); rate != 0 {
		at = max(at, pc.bucket.at(pc.longest(rate)))
	}
	return max(at, pc.allowed(c))
}

// allowed returns when the channel's own rate allows the next packet.
func (pc *pacer) allowed(c *OutChan) clock.Time {
	if rate := c.bitRate.Load(); rate != 0 {
		return c.limit.at(max(c.burst, pc.longest(rate)))
	}
	return 0
}

// spend accounts for a frame of n bytes.
func (pc *pacer) spend(c *OutChan, now clock.Time, n int) {
	bits := uint64(n) * 8
	if rate := pc.rate.Load(); rate != 0 {
		pc.bucket.spend(now, bits, rate)
	}
	if rate := c.bitRate.Load(); rate != 0 {
		c.limit.spend(now, bits, rate)
	}
	if rate := c.reserve.Load(); rate != 0 {
		c.part.spend(now, bits, rate)
	}
	share := uint64(c.share.Load())
	t := bits<<16 + c.rest
	c.pass += t / share
	c.rest = t % share
}

// Run implements Runnable.
func (pc *pacer) Run(b Budget) Used {
	w := b.Worker
	var inOrder *OutChan
	for c := pc.incoming.Swap(nil); c != nil; { // last in, first out: turn it round
		next := c.next
		c.next, inOrder = inOrder, c
		c = next
	}
	for c := inOrder; c != nil; c = c.next {
		c.pass = max(c.pass, pc.vtime) // no credit for having been silent
		pc.active = append(pc.active, c)
	}
	u := Used{}
	for u.Packets < b.Packets {
		c, at := pc.choose(b.Now)
		if c == nil {
			if at != clock.Never {
				u.Next, u.Until = IdleUntil, at
			}
			break
		}
		p := c.ring.Load().take()
		if p == nil { // who has counted it is about to put it
			u.Next = More
			break
		}
		c.held.Add(-1)
		pc.spend(c, b.Now, p.Len())
		w.Bill(c.domain, 1)
		u.Packets++
		if pc.out.Append(p); pc.out.Room() == 0 {
			pc.link.send(w, &pc.out)
		}
	}
	if u.Packets == b.Packets {
		u.Next = More
	}
	if pc.out.Len() > 0 {
		pc.link.send(w, &pc.out)
	}
	return u
}

// choose returns the channel that sends next, or when there will be one.
func (pc *pacer) choose(now clock.Time) (*OutChan, clock.Time) {
	if rate := pc.rate.Load(); rate != 0 && !pc.link.closed.Load() {
		if at := pc.bucket.at(pc.longest(rate)); at > now && len(pc.active) > 0 {
			return nil, at
		}
	}
	var first, owed *OutChan
	next, least := clock.Never, ^uint64(0)
	for i := 0; i < len(pc.active); i++ {
		c := pc.active[i]
		if c.held.Load() == 0 || c.closed.Load() || c.domain.State() != Active {
			pc.quit(c)
			i--
			continue
		}
		least = min(least, c.pass)
		if at := pc.allowed(c); at > now && !pc.link.closed.Load() {
			next = min(next, at)
			continue
		}
		if first == nil || c.pass < first.pass {
			first = c
		}
		if rate := c.reserve.Load(); rate != 0 && c.part.at(pc.longest(rate)) <= now && (owed == nil || c.part.until < owed.part.until) {
			owed = c
		}
	}
	if first == nil {
		return nil, next
	}
	pc.vtime = max(pc.vtime, least)
	if owed != nil {
		first = owed
	}
	return first, now
}

// quit takes c out of those that wait, unless packets have come for it meanwhile. What a channel that has ended still holds, its end frees.
func (pc *pacer) quit(c *OutChan) {
	for i, x := range pc.active {
		if x == c {
			pc.active[i] = pc.active[len(pc.active)-1]
			pc.active[len(pc.active)-1] = nil
			pc.active = pc.active[:len(pc.active)-1]
			break
		}
	}
	c.listed.Store(false)
	if c.held.Load() > 0 && !c.closed.Load() && c.domain.State() == Active && !c.listed.Swap(true) {
		pc.active = append(pc.active, c)
	}
}

// endPacer frees what waits for a link that is closed, when no worker sends on it any more.
func (s *linkState) endPacer() {
	pc := s.pacer.Load()
	if pc == nil {
		return
	}
	pc.worker.Call(func() {
		for c := pc.incoming.Swap(nil); c != nil; c = c.next {
			pc.active = append(pc.active, c)
		}
		for _, c := range pc.active {
			s.txDrops.Add(uint64(max(c.held.Load(), 0)))
			c.drain(pc.worker.cache)
		}
		pc.active = nil
		pc.task.Close()
	})
}

// drain frees what waits, when the channel has ended.
func (c *OutChan) drain(cache *packet.Cache) {
	r := c.ring.Load()
	if r == nil {
		return
	}
	for p := r.take(); p != nil; p = r.take() {
		c.held.Add(-1)
		cache.Free(p)
	}
}

// newPaced checks what a Spec says of rates and makes the channel's side, without an entry at the pacer.
func (c *OutChan) newPaced(spec *OutChanSpec) error {
	if spec.Burst == 0 {
		spec.Burst = DefaultBurst
	}
	if spec.Queue == 0 {
		spec.Queue = DefaultOutQueue
	}
	if spec.Share == 0 {
		spec.Share = resctl.DefaultShare
	}
	switch {
	case spec.BitRate > MaxBitRate || spec.Reserve > MaxBitRate:
		return errs.New(errs.Invalid, "out-channel %s: %d and %d bits per second, want at most %d", spec.Protocol, spec.BitRate, spec.Reserve, uint64(MaxBitRate))
	case spec.BitRate != 0 && spec.Reserve > spec.BitRate:
		return errs.New(errs.Invalid, "out-channel %s: a reserve of %d bits per second is above its rate of %d", spec.Protocol, spec.Reserve, spec.BitRate)
	case spec.Burst < 0 || spec.Burst > MaxOutBurst:
		return errs.New(errs.Invalid, "out-channel %s: burst of %v, want 0 (%v) to %v", spec.Protocol, spec.Burst, DefaultBurst, MaxOutBurst)
	case spec.Queue < 1 || spec.Queue > MaxQuota:
		return errs.New(errs.Invalid, "out-channel %s: %d packets may wait, want 1 to %d", spec.Protocol, spec.Queue, MaxQuota)
	}
	c.burst, c.queue = spec.Burst, spec.Queue
	c.share.Store(uint32(spec.Share))
	if spec.BitRate == 0 && spec.Reserve == 0 {
		return nil
	}
	if err := c.setReserve(spec.Reserve); err != nil {
		return err
	}
	return c.setBitRate(spec.BitRate)
}

func (c *OutChan) setBitRate(rate uint64) error {
	pc, err := c.link.pace()
	if err != nil {
		return err
	}
	pc.mu.Lock()
	defer pc.mu.Unlock()
	if r := c.reserve.Load(); rate > MaxBitRate || rate != 0 && r > rate {
		return errs.New(errs.Invalid, "out-channel %s: %d bits per second, want at least its reserve of %d and at most %d", c.spec.Protocol, rate, r, uint64(MaxBitRate))
	}
	c.needRing()
	c.bitRate.Store(rate)
	pc.task.Wake()
	return nil
}

func (c *OutChan) setReserve(rate uint64) error {
	pc, err := c.link.pace()
	if err != nil {
		return err
	}
	pc.mu.Lock()
	defer pc.mu.Unlock()
	have, old, most := pc.rate.Load(), c.reserve.Load(), c.bitRate.Load()
	switch {
	case c.closed.Load():
		return errs.New(errs.Dead, "out-channel %s is closed", c.spec.Protocol)
	case rate > MaxBitRate || most != 0 && rate > most:
		return errs.New(errs.Invalid, "out-channel %s: a reserve of %d bits per second is above its rate of %d, or above %d", c.spec.Protocol, rate, most, uint64(MaxBitRate))
	case rate > old && pc.reserved-old+rate > have:
		return errs.New(errs.Limit, "out-channel %s: reserves on link %s would be %d bits per second, it has %d: set its rate with Node.SetLinkRate", c.spec.Protocol, pc.link.info.Name, pc.reserved-old+rate, have)
	}
	c.needRing()
	pc.reserved += rate - old
	c.reserve.Store(rate)
	pc.task.Wake()
	return nil
}

// needRing makes the channel's queue if it has none, and tells the domain, which empties it at its end. It is called on a worker at most once.
func (c *OutChan) needRing() {
	if c.ring.Load() != nil {
		return
	}
	d := c.domain
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.ring.CompareAndSwap(nil, newRing(c.queue)) {
		d.paced = append(d.paced, c)
	}
}

// unreserve gives the channel's reserve back.
func (c *OutChan) unreserve() {
	if pc := c.link.pacer.Load(); pc != nil {
		pc.mu.Lock()
		defer pc.mu.Unlock()
		pc.reserved -= c.reserve.Swap(0)
	}
}

// BitRate returns how many bits per second the channel may send, and how long a burst at that rate may be; 0: as many as it likes.
func (c *OutChan) BitRate() (rate uint64, burst time.Duration) { return c.bitRate.Load(), c.burst }

// Reserve returns how many bits per second the link has set aside for the channel.
func (c *OutChan) Reserve() uint64 { return c.reserve.Load() }

// SetBitRate changes OutChanSpec.BitRate, for packets that leave later; 0: any.
func (c *OutChan) SetBitRate(rate uint64) error {
	if err := c.domain.may(OpSetOutChan, c.spec.Protocol, false); err != nil {
		return err
	}
	if c.ofCut {
		defer c.domain.node.recut(c.link)
	}
	return c.setBitRate(rate)
}

// SetReserve changes OutChanSpec.Reserve, or refuses with errs.Limit where the link has no room for it.
func (c *OutChan) SetReserve(rate uint64) error {
	if err := c.domain.may(OpSetOutChan, c.spec.Protocol, false); err != nil {
		return err
	}
	if c.ofCut {
		defer c.domain.node.recut(c.link)
	}
	return c.setReserve(rate)
}

// SetShare changes OutChanSpec.Share; 0: resctl.DefaultShare.
func (c *OutChan) SetShare(s resctl.Share) error {
	if err := c.domain.may(OpSetOutChan, c.spec.Protocol, false); err != nil {
		return err
	}
	if s == 0 {
		s = resctl.DefaultShare
	}
	c.share.Store(uint32(s))
	return nil
}

// SetLinkRate sets how many bits per second out-channels send on a link together, which their shares and reserves divide; 0: as many as the link takes,
// which leaves nothing to be divided. Bits are those of the frames as the link gets them. It is refused with errs.Limit below what is reserved. What
// others than out-channels send is not counted; cut-through channels that leave by a link with a rate are done in user space.
func (n *Node) SetLinkRate(name string, rate uint64) error {
	if err := n.root.may(OpSetLink, name, false); err != nil {
		return err
	}
	n.mu.Lock()
	s := n.links[name]
	n.mu.Unlock()
	if s == nil {
		return errs.New(errs.NotFound, "link %s is not open", name)
	}
	if rate > MaxBitRate {
		return errs.New(errs.Invalid, "link %s: %d bits per second, want at most %d", name, rate, uint64(MaxBitRate))
	}
	pc, err := s.pace()
	if err != nil {
		return err
	}
	defer n.recut(s)
	pc.mu.Lock()
	defer pc.mu.Unlock()
	if rate < pc.reserved {
		return errs.New(errs.Limit, "link %s: channels have %d bits per second reserved, it cannot have %d: lower reserves first", name, pc.reserved, rate)
	}
	pc.rate.Store(rate)
	pc.task.Wake()
	return nil
}
