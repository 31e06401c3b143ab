package packet

// The way of a frame, in the order of this file:
//
//  1. Receive  takes frames from the ring, copies each to a packet, puts its tag back and completes its
//     checksum; super-frames are cut into packets
//  2. Send     collects packets; 64 of them, or Flush at the end of the worker's turn, go out in
//     one system call
//
// Both belong to the worker and take no lock. The mutex guards what the control side does: claims,
// statistics, closing.

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
	info    nodeos.LinkInfo
	ring    *sys.PacketRing
	tx      int
	promisc bool
	room    int // bytes of a frame that a packet of the pool can hold

	rx    *nodeos.Task
	fd    *nodeos.FD
	frame sys.RxFrame
	seg   segmenter
	segRx sys.RxFrame // what seg cuts, a copy of frame

	out    *linkio.Outbox
	counts linkio.Counters

	mu     sync.Mutex
	claims *claims // nil: the host sees claimed packets too
	closed bool
	fault  atomic.Pointer[error] // why nothing goes, nil while all is well
}

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo { return l.info }

// Err returns why the interface does not carry anything, such as that it is down or gone; nil if it does.
// It follows the last attempt to send, and Stats.
func (l *Link) Err() error {
	if e := l.fault.Load(); e != nil {
		return *e
	}
	return nil
}

func (l *Link) setFault(err error) {
	if err == nil {
		if l.fault.Load() != nil {
			l.fault.Store(nil)
		}
		return
	}
	e := error(errs.New(errs.Unreachable, "link %s: interface is down or gone: %w", l.info.Name, err))
	l.fault.Store(&e)
}

// Attach implements nodeos.Link.
func (l *Link) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	fd, err := rx.NewFD(l.ring.FD(), false)
	if err != nil {
		return err
	}
	l.rx, l.fd = rx, fd
	return nil
}

// Receive implements nodeos.Link.
func (l *Link) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for b.Room() > 0 {
		if l.seg.frame != nil {
			l.cut(c, b)
			continue
		}
		f := &l.frame
		if !l.ring.Next(f) {
			return false
		}
		if f.Kind == unix.PACKET_OUTGOING || f.Kind == unix.PACKET_OTHERHOST && !l.promisc {
			continue
		}
		if f.VNet.GSOType != sys.VNetGSONone {
			if f.Len > len(f.Data) || !l.seg.start(f.Data, f.VNet.GSOType, int(f.VNet.GSOSize), int(f.VNet.CsumStart)) {
				l.counts.RxDrops.Add(1)
				continue
			}
			l.segRx = *f
			continue
		}
		l.take(c, b, f)
	}
	return true
}

// take makes a packet of a whole frame.
func (l *Link) take(c *packet.Cache, b *packet.Batch, f *sys.RxFrame) {
	if f.Len > len(f.Data) || len(f.Data) < demux.EtherLen || len(f.Data) > l.room {
		l.counts.RxDrops.Add(1)
		return
	}
	p := c.Alloc(packet.Node)
	if p == nil {
		l.counts.RxDrops.Add(1)
		return
	}
	data := p.Put(len(f.Data))
	copy(data, f.Data)
	if f.VNet.Flags&sys.VNetNeedsCsum != 0 && !complete(data, int(f.VNet.CsumStart), int(f.VNet.CsumOffset)) {
		l.counts.RxDrops.Add(1)
		c.Free(p)
		return
	}
	l.finish(b, p, f)
}

// cut makes packets of the super-frame that is being cut, as many as fit in b.
func (l *Link) cut(c *packet.Cache, b *packet.Batch) {
	for b.Room() > 0 {
		p := c.Alloc(packet.Node)
		if p == nil {
			l.counts.RxDrops.Add(1)
			l.seg.frame = nil
			return
		}
		// The tag needs four bytes in front, which the headroom has.
		n := l.seg.next(p.Put(l.room))
		if n <= 0 {
			if n < 0 {
				l.counts.RxDrops.Add(1)
			}
			c.Free(p)
			return
		}
		p.Take(l.room - n)
		l.finish(b, p, &l.segRx)
	}
}

// finish puts the tag back, sets the annotations and appends p.
func (l *Link) finish(b *packet.Batch, p *packet.Packet, f *sys.RxFrame) {
	if f.HasVLAN {
		demux.PushVLAN(p, f.VLAN)
		d := p.Data()
		d[12], d[13] = byte(f.TPID>>8), byte(f.TPID)
	}
	p.ClearHeaders()
	linkio.NoteVLAN(p)
	p.Anno.Kind = packet.LinkKind(f.Kind) // the numbers are the kernel's
	l.counts.Received(p.Len())
	b.Append(p)
}

// Send implements nodeos.Link.
func (l *Link) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		if p.Len() < demux.EtherLen {
			l.counts.TxDrops.Add(1)
			c.Free(p)
			continue
		}
		if l.out.Put(p) {
			l.Flush(c)
		}
	}
	b.Reset()
}

// Flush implements nodeos.Link. A frame that the kernel refuses is dropped and the rest tried again, but for
// an interface that is down: then all are dropped.
func (l *Link) Flush(c *packet.Cache) {
	if l.out.Flush(c, l.tx, &l.counts, l.refused) > 0 {
		l.setFault(nil)
	}
}

// refused says how to go on after an error of sending.
func (l *Link) refused(err error, before int) linkio.Next {
	if err == unix.ENETDOWN || err == unix.ENXIO || err == unix.ENODEV {
		l.setFault(err)
		return linkio.Stop
	}
	if before >= 4 { // no buffers: trying each frame would only take time
		return linkio.Stop
	}
	return linkio.Skip
}

// Claim implements nodeos.Link: it makes a filter of the rules and swaps it in.
func (l *Link) Claim(c nodeos.Claims) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errs.New(errs.Dead, "link %s is closed", l.info.Name)
	}
	if l.claims == nil {
		return nil // no BPF here: the ring takes everything, as the notes say
	}
	f, err := newFilter(c.Program, l.claims.cell, l.promisc)
	if err != nil {
		return fmt.Errorf("link %s: %w", l.info.Name, err)
	}
	if err := l.ring.AttachBPF(f.FD()); err != nil {
		f.Close()
		return fmt.Errorf("link %s: attaching the socket filter: %w", l.info.Name, err)
	}
	if l.claims.filter != nil {
		l.claims.filter.Close()
	}
	l.claims.filter = f
	return nil
}

// Stats implements nodeos.Link.
func (l *Link) Stats() nodeos.LinkStats {
	l.mu.Lock()
	if !l.closed {
		if n, err := l.ring.Drops(); err == nil {
			l.counts.RxDrops.Add(n)
		}
		if err := l.ring.SocketError(); err != nil {
			l.setFault(err)
		}
	}
	l.mu.Unlock()
	return l.counts.Stats()
}

// Detach implements nodeos.Link. Frames in the ring stay there and are lost with it.
func (l *Link) Detach(c *packet.Cache) {
	l.Flush(c)
	l.seg.frame = nil
	if l.fd != nil {
		l.fd.Close()
		l.fd = nil
	}
}

// Close implements nodeos.Link.
func (l *Link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var first error
	if l.claims != nil {
		first = l.claims.close()
	}
	if err := l.ring.Close(); err != nil && first == nil {
		first = err
	}
	if err := sys.CloseFD(l.tx); err != nil && first == nil {
		first = err
	}
	return first
}
