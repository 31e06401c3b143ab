package xdp

// The way of a frame, in the order of this file and of queue_linux.go:
//
//  1. Receive  takes the queues in turn; each frame of a ring becomes a packet where it lies, and another frame of the pool
//     takes its place with the kernel
//  2. Send     puts the place of each packet into the transmit ring of the first queue
//  3. Flush    at the end of the worker's turn: one system call has the kernel send them; frames that were sent go back to the pool
//
// All belong to the worker and take no lock. The mutex guards what the control side does: claims, statistics, closing.

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Link is an interface of the host; it implements nodeos.Link.
type Link struct {
	info       nodeos.LinkInfo
	device     string
	mode       string // native or generic
	frameSize  uint64
	limit      int  // longest frame that is sent
	unfinished bool // checksums may be unfinished

	queues []*queue
	next   int // queue that Receive begins with
	lent   []bool
	tx     *sys.XSK         // of the first queue
	sent   []*packet.Packet // by frame, while the kernel has them
	flying int              // how many those are
	most   int              // as many as the completion ring holds

	rx  *nodeos.Task
	fds []*nodeos.FD

	counts linkio.Counters

	mu       sync.Mutex
	mem      memory
	lender   lender
	reserved int // frames, of the lender
	programs *programs
	chans    *cells // of the node
	detached bool   // the sockets are closed
	closed   bool
	promisc  int // socket that keeps the interface promiscuous, or -1
	channels int // queues of the interface when it was opened
	ctl      int // socket to ask for them
	fault    atomic.Pointer[error]
	unseen   uint64 // packets dropped before they reached the rings, when that was last asked
}

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo { return l.info }

// Mode returns how the kernel runs the program: native, in the interface's driver, or generic.
func (l *Link) Mode() string { return l.mode }

// ZeroCopy reports whether the interface itself reads and writes the node's packet memory.
func (l *Link) ZeroCopy() bool { return l.mem.zeroCopy }

// Err returns why the interface does not carry everything that it should, such as that it is down or gone, or has other queues
// now; nil if it does. It follows the last attempt to send, and Stats.
func (l *Link) Err() error {
	if e := l.fault.Load(); e != nil {
		return *e
	}
	return nil
}

func (l *Link) setFault(err error) {
	if err != nil {
		e := err // so that err need not be on the heap when it is nil
		l.fault.Store(&e)
	} else if l.fault.Load() != nil {
		l.fault.Store(nil)
	}
}

func (l *Link) gone(err error) error {
	return errs.New(errs.Unreachable, "link %s: interface is down or gone: %w", l.info.Name, err)
}

// Attach implements nodeos.Link. From here on claimed packets come to the node.
func (l *Link) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	l.rx = rx
	for _, q := range l.queues {
		fd, err := rx.NewFD(q.sock.FD(), false)
		if err != nil {
			l.Detach(w.Cache())
			return err
		}
		l.fds = append(l.fds, fd)
	}
	if err := l.start(w.Cache()); err != nil {
		l.Detach(w.Cache())
		return err
	}
	return nil
}

// start lends frames to all queues and lets the program redirect to their sockets.
func (l *Link) start(c *packet.Cache) error {
	for _, q := range l.queues {
		q.refill(l, c)
		if q.starved() {
			return errs.New(errs.NoMemory, "link %s: no free packet frame for queue %d; give the node more frames, or the link a smaller ring", l.info.Name, q.number)
		}
		if err := l.programs.sockets.Put(uint32(q.number), uint32(q.sock.FD())); err != nil {
			return fmt.Errorf("link %s: entering the socket of queue %d: %w", l.info.Name, q.number, err)
		}
	}
	return nil
}

// Receive implements nodeos.Link.
func (l *Link) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for some := true; some && b.Room() > 0; {
		some = false
		for range l.queues {
			q := l.queues[l.next]
			if l.next++; l.next == len(l.queues) {
				l.next = 0
			}
			if q.receive(l, c, b) {
				some = true
			}
			if b.Room() == 0 {
				return true
			}
		}
	}
	for _, q := range l.queues {
		if q.starved() {
			q.refill(l, c)
			more = more || q.starved()
		}
	}
	return more
}

// annotate sets what the frame itself says.
func (l *Link) annotate(p *packet.Packet) {
	d := p.Data()
	if l.unfinished {
		finishChecksum(d)
	}
	p.Anno.Kind = packet.KindOf([6]byte(d), l.info.HWAddr)
	linkio.NoteVLAN(p)
}

// Send implements nodeos.Link. A frame that others view too is copied; all others are sent from where they lie.
func (l *Link) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		if n := p.Len(); n < demux.EtherLen || n > l.limit || !c.Unshare(p) || !l.space(c) {
			l.counts.TxDrops.Add(1)
			c.Free(p)
			continue
		}
		c.SetState(p, packet.Sending)
		id := p.Frame()
		l.sent[id] = p
		l.flying++
		l.tx.PutTx(uint64(id)*l.frameSize+uint64(p.Headroom()), p.Len())
	}
	b.Reset()
}

// space makes sure that one more packet fits in the transmit ring and, when it was sent, in the completion ring.
func (l *Link) space(c *packet.Cache) bool {
	if l.flying < l.most && l.tx.TxRoom() > 0 {
		return true
	}
	l.Flush(c)
	return l.flying < l.most && l.tx.TxRoom() > 0
}

// reap frees what has been sent.
func (l *Link) reap(c *packet.Cache) {
	for n := l.tx.CompReady(); n > 0; n = l.tx.CompReady() {
		for i := range n {
			id := l.tx.Comp(i) / l.frameSize
			if p := l.sent[id]; p != nil {
				l.sent[id] = nil
				l.flying--
				c.Free(p)
			}
		}
		l.tx.ReleaseComp(n)
	}
}

// Flush implements nodeos.Link. What an interface that is down does not take is dropped.
func (l *Link) Flush(c *packet.Cache) {
	for _, q := range l.queues {
		q.unblock()
	}
	if l.flying == 0 {
		return
	}
	l.tx.PublishTx()
	l.count(nil)
	for stuck, waiting := 0, l.tx.TxWaiting(); waiting > 0 && l.tx.TxNeedsKick(); {
		err := l.tx.KickTx()
		if err == nil && l.fault.Load() != nil {
			l.recovered() // before the count: who sees the packet counted shall not see the old fault
		}
		l.count(err)
		switch err {
		case unix.ENETDOWN, unix.ENXIO, unix.ENODEV, unix.EBADF:
			l.setFault(l.gone(err))
			l.withdraw(c)
			l.reap(c)
			return
		case unix.EBUSY:
			l.setFault(errs.New(errs.Unreachable, "link %s: the interface is up and drops what it is to send (has it a carrier?): %w", l.info.Name, err))
		}
		left := l.tx.TxWaiting()
		if left == waiting {
			// No buffers, or a queue in front of the interface is full. The completions that have come since may help.
			if stuck++; stuck > 4 {
				if l.rx != nil {
					l.rx.Wake() // to try again in the next turn
				}
				break
			}
		}
		waiting = left
		l.reap(c)
	}
	l.reap(c)
}

// recovered clears the fault. The sockets may still hold the error of the time when the interface was down, which look would take for a new one.
func (l *Link) recovered() {
	for _, q := range l.queues {
		_ = q.sock.Error() // reading it forgets it
	}
	l.setFault(nil)
}

// count counts what the kernel has taken from the transmit ring. With unix.EBUSY the interface has dropped the last of it.
func (l *Link) count(err error) {
	packets, bytes, last := l.tx.TxTaken()
	if err == unix.EBUSY && packets > 0 {
		packets, bytes = packets-1, bytes-last
		l.counts.TxDrops.Add(1)
	}
	l.counts.TxPackets.Add(uint64(packets))
	l.counts.TxBytes.Add(uint64(bytes))
}

// withdraw drops what waits in the transmit ring. With zero copy it stays there.
func (l *Link) withdraw(c *packet.Cache) {
	for {
		addr, ok := l.tx.WithdrawTx()
		if !ok {
			return
		}
		id := addr / l.frameSize
		if p := l.sent[id]; p != nil {
			l.sent[id] = nil
			l.flying--
			l.counts.TxDrops.Add(1)
			c.Free(p)
		}
	}
}

// Claim implements nodeos.Link: it makes a program of the rules and puts it in the place of the one before.
func (l *Link) Claim(c nodeos.Claims) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errs.New(errs.Dead, "link %s is closed", l.info.Name)
	}
	if err := l.programs.decide(c.Program); err != nil {
		return fmt.Errorf("link %s: %w", l.info.Name, err)
	}
	return nil
}

// Stats implements nodeos.Link. RxDrops has what the program dropped because the worker was behind, and what the kernel could not
// deliver.
func (l *Link) Stats() nodeos.LinkStats {
	l.mu.Lock()
	if !l.detached {
		l.unseen = l.kernelDrops()
		l.look()
	}
	st := l.counts.Stats()
	st.RxDrops += l.unseen
	l.mu.Unlock()
	return st
}

// kernelDrops sums up what was dropped before it reached the rings. l.mu is held and the sockets are open.
func (l *Link) kernelDrops() (n uint64) {
	for _, q := range l.queues {
		n += q.full.Load() + q.long.Load()
		if st, err := q.sock.Statistics(); err == nil {
			n += st.RxDropped + st.RxRingFull
		}
	}
	return n
}

// look sees to what may have happened to the interface. l.mu is held and the sockets are open.
func (l *Link) look() {
	for _, q := range l.queues {
		if err := q.sock.Error(); err != nil {
			l.setFault(l.gone(err))
			return
		}
	}
	if n, err := sys.RxQueues(l.ctl, l.device); err == nil && n != l.channels {
		l.setFault(errs.New(errs.Invalid, "link %s: interface %s had %d receive queues when it was opened and has %d now: claimed packets of others go to the host; close the link and open it again",
			l.info.Name, l.device, l.channels, n))
	}
}

// Detach implements nodeos.Link. It closes the sockets, for only then the kernel leaves their frames alone; each takes a few
// milliseconds.
func (l *Link) Detach(c *packet.Cache) {
	l.Flush(c)
	for _, fd := range l.fds {
		fd.Close()
	}
	l.fds = nil
	l.mu.Lock()
	l.closeSockets()
	l.mu.Unlock()
	for id, lent := range l.lent {
		if lent {
			l.lent[id] = false
			c.Reclaim(packet.FrameID(id))
		}
	}
	for id, p := range l.sent {
		if p != nil {
			l.sent[id] = nil
			c.Free(p)
		}
	}
	l.flying = 0
}

// closeSockets is called with l.mu held.
func (l *Link) closeSockets() (first error) {
	if l.detached {
		return nil
	}
	l.detached = true
	for _, q := range l.queues {
		// Not there, if the link was never started.
		_ = l.programs.sockets.Delete(uint32(q.number))
	}
	l.unseen = l.kernelDrops()
	for _, q := range l.queues {
		if err := l.mem.close(q.sock); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Close implements nodeos.Link.
func (l *Link) Close() error {
	l.mu.Lock()
	done := l.closed
	l.closed = true
	var err error
	if !done {
		err = l.close()
	}
	l.mu.Unlock()
	if !done && l.chans != nil { // this takes the node's locks, under which the node calls Claim
		l.chans.release()
	}
	return err
}

// close is called with l.mu held.
func (l *Link) close() error {
	first := l.closeSockets()
	if l.reserved > 0 {
		l.lender.release(l.reserved)
	}
	if l.programs != nil {
		if err := l.programs.close(); err != nil && first == nil {
			first = err
		}
	}
	for _, fd := range [...]int{l.promisc, l.ctl} {
		if fd >= 0 {
			if err := sys.CloseFD(fd); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
