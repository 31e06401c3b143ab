package xdp

// The way of a frame, in the order of this file and of queue_linux.go:
//
//  1. Receive  takes the port's queues in turn; each frame of a ring becomes a packet where it lies, and another frame of the pool
//     takes its place with the kernel
//  2. Send     puts the place of each packet into the transmit ring of the first queue
//  3. Flush    at the end of the worker's turn: one system call has the kernel send them; frames that were sent go back to the pool
//
// All belong to the port's worker and take no lock. The link's mutex guards what the control side does: claims, statistics, closing.

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// port is what one worker runs of a link: some of the interface's queues. It implements nodeos.Port and nodeos.Credited.
type port struct {
	of     *Link
	queues []*queue
	next   int                             // queue that Receive begins with
	tx     *sys.XSK                        // of the first queue
	with   []whose                         // by frame
	flying int                             // how many those are
	most   int                             // as many as the completion ring holds
	done   [packet.MaxBatch]packet.FrameID // of reap
	own    uint64                          // the interface's hardware address, as the last six bytes of a number with the first one lowest

	rx  *nodeos.Task
	fds []*nodeos.FD

	counts linkio.Counters

	// Under the link's mu.
	lender   lender
	reserved int    // frames, of the lender
	detached bool   // the sockets are closed
	unseen   uint64 // packets dropped before they reached the rings, when that was last asked
}

// whose says what the kernel has of a frame on behalf of a port.
type whose uint8

const (
	ours    whose = iota
	lent          // to be received to
	sending       // to be sent from
)

// Attach implements nodeos.Port. From here on claimed packets come to the node.
func (p *port) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	p.rx = rx
	mac := p.of.info.HWAddr
	p.own = binary.LittleEndian.Uint64([]byte{0, 0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]})
	for _, q := range p.queues {
		fd, err := rx.NewFD(q.sock.FD(), false)
		if err != nil {
			p.Detach(w.Cache())
			return err
		}
		p.fds = append(p.fds, fd)
	}
	if err := p.start(w.Cache()); err != nil {
		p.Detach(w.Cache())
		return err
	}
	return nil
}

// start lends frames to all queues and lets the program redirect to their sockets.
func (p *port) start(c *packet.Cache) error {
	for _, q := range p.queues {
		q.refill(p, c)
		if q.starved() {
			return errs.New(errs.NoMemory, "link %s: no free packet frame for queue %d; give the node more frames, or the link a smaller ring", p.of.info.Name, q.number)
		}
		if err := p.of.programs.sockets.Put(uint32(q.number), uint32(q.sock.FD())); err != nil {
			return fmt.Errorf("link %s: entering the socket of queue %d: %w", p.of.info.Name, q.number, err)
		}
	}
	return nil
}

// Receive implements nodeos.Port.
func (p *port) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for some := true; some && b.Room() > 0; {
		some = false
		for range p.queues {
			q := p.queues[p.next]
			if p.next++; p.next == len(p.queues) {
				p.next = 0
			}
			if q.receive(p, c, b) {
				some = true
			}
			if b.Room() == 0 {
				return true
			}
		}
	}
	for _, q := range p.queues {
		if q.starved() {
			q.refill(p, c)
			more = more || q.starved()
		}
	}
	return more
}

// Mark implements nodeos.Credited.
func (p *port) Mark() {
	for _, q := range p.queues {
		q.left = q.sock.RxWaiting()
	}
}

// Passed implements nodeos.Credited.
func (p *port) Passed() bool {
	for _, q := range p.queues {
		if q.left > 0 {
			return false
		}
	}
	return true
}

// Send implements nodeos.Port. A frame that others view too is copied; all others are sent from where they lie. As many as the kernel sends in one call are
// sent at once: it takes no call more than at the end of the turn, and they come back while they are in the processor's caches.
func (p *port) Send(c *packet.Cache, b *packet.Batch) {
	shift, limit, room := p.of.shift, p.of.limit, p.room()
	tx, with := p.tx, p.with
	for _, k := range b.Packets() {
		n := k.Len()
		if n < demux.EtherLen || n > limit || !c.Sendable(k) || room <= 0 && !p.space(c, &room) {
			p.counts.TxDrops.Add(1)
			c.Free(k)
			continue
		}
		id := k.Frame()
		with[id] = sending
		p.flying++
		room--
		tx.PutTx(uint64(id)<<shift+uint64(k.Headroom()), n)
	}
	b.Reset()
	if p.flying >= sys.TxBudget {
		p.Flush(c)
	}
}

// room returns how many packets fit in the transmit ring and, when they were sent, in the completion ring.
func (p *port) room() int { return min(p.most-p.flying, p.tx.TxRoom()) }

// space makes room for one packet at least, or returns false.
func (p *port) space(c *packet.Cache, room *int) bool {
	p.Flush(c)
	*room = p.room()
	return *room > 0
}

// reap frees what has been sent.
func (p *port) reap(c *packet.Cache) {
	shift, with := p.of.shift, p.with
	for n := p.tx.CompReady(); n > 0; n = p.tx.CompReady() {
		addrs := p.tx.CompSpan(min(n, len(p.done)))
		done := p.done[:0]
		for _, addr := range addrs {
			if id := addr >> shift; id < uint64(len(with)) && with[id] == sending {
				with[id] = ours
				done = append(done, packet.FrameID(id))
			}
		}
		p.tx.ReleaseComp(len(addrs))
		p.flying -= len(done)
		c.FreeSent(done)
	}
}

// Flush implements nodeos.Port. What an interface that is down does not take is dropped.
func (p *port) Flush(c *packet.Cache) {
	for _, q := range p.queues {
		q.unblock()
	}
	if p.flying == 0 {
		return
	}
	p.tx.PublishTx()
	p.count(nil)
	for stuck, waiting := 0, p.tx.TxWaiting(); waiting > 0 && p.tx.TxNeedsKick(); {
		err := p.tx.KickTx()
		if err == nil && p.of.fault.Load() != nil {
			p.recovered() // before the count: who sees the packet counted shall not see the old fault
		}
		p.count(err)
		switch err {
		case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.EBADF:
			p.of.setFault(p.of.gone(err))
			p.withdraw(c)
			p.reap(c)
			return
		case unix.EBUSY:
			p.of.setFault(errs.New(errs.Unreachable, "link %s: the interface is up and drops what it is to send (has it a carrier?): %w", p.of.info.Name, err))
		}
		left := p.tx.TxWaiting()
		if left == waiting {
			// No buffers, or a queue in front of the interface is full. The completions that have come since may help.
			if stuck++; stuck > 4 {
				if p.rx != nil {
					p.rx.Wake() // to try again in the next turn
				}
				break
			}
		}
		waiting = left
		p.reap(c)
	}
	p.reap(c)
}

// recovered clears the fault. The sockets may still hold the error of the time when the interface was down, which look would take for a new one.
func (p *port) recovered() {
	l := p.of
	l.mu.Lock() // nobody closes the sockets of other ports meanwhile
	defer l.mu.Unlock()
	for _, o := range l.ports {
		for _, q := range o.queues {
			if !o.detached {
				_ = q.sock.Error() // reading it forgets it
			}
		}
	}
	l.setFault(nil)
}

// count counts what the kernel has taken from the transmit ring. With unix.EBUSY the interface has dropped the last of it.
func (p *port) count(err error) {
	packets, bytes, last := p.tx.TxTaken()
	if err == unix.EBUSY && packets > 0 {
		packets, bytes = packets-1, bytes-last
		p.counts.TxDrops.Add(1)
	}
	p.counts.TxPackets.Add(uint64(packets))
	p.counts.TxBytes.Add(uint64(bytes))
}

// withdraw drops what waits in the transmit ring. With zero copy it stays there.
func (p *port) withdraw(c *packet.Cache) {
	for {
		addr, ok := p.tx.WithdrawTx()
		if !ok {
			return
		}
		if id := packet.FrameID(addr >> p.of.shift); p.with[id] == sending {
			p.with[id] = ours
			p.flying--
			p.counts.TxDrops.Add(1)
			c.FreeSent([]packet.FrameID{id})
		}
	}
}

// Detach implements nodeos.Port. It closes the sockets, for only then the kernel leaves their frames alone; each takes a few
// milliseconds.
func (p *port) Detach(c *packet.Cache) {
	p.Flush(c)
	for _, fd := range p.fds {
		fd.Close()
	}
	p.fds = nil
	p.of.mu.Lock()
	p.closeSockets()
	p.of.mu.Unlock()
	for id, w := range p.with {
		p.with[id] = ours
		switch w {
		case lent:
			c.Reclaim(packet.FrameID(id))
		case sending:
			c.FreeSent([]packet.FrameID{packet.FrameID(id)})
		}
	}
	p.flying = 0
}

// closeSockets is called with the link's mu held.
func (p *port) closeSockets() (first error) {
	if p.detached {
		return nil
	}
	p.detached = true
	for _, q := range p.queues {
		// Not there, if the link was never started.
		_ = p.of.programs.sockets.Delete(uint32(q.number))
	}
	p.unseen = p.kernelDrops()
	for _, q := range p.queues {
		if err := p.of.mem.close(q.sock); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// kernelDrops sums up what was dropped before it reached the rings. The link's mu is held and the sockets are open.
func (p *port) kernelDrops() (n uint64) {
	for _, q := range p.queues {
		n += q.full.Load() + q.long.Load()
		if st, err := q.sock.Statistics(); err == nil {
			n += st.RxDropped + st.RxRingFull
		}
	}
	return n
}
