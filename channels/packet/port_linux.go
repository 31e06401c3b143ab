package packet

// The way of a frame, in the order of this file:
//
//  1. Receive  takes frames from the ring, copies each to a packet, puts its tag back and completes its
//     checksum; super-frames are cut into packets
//  2. Send     collects packets; 64 of them, or Flush at the end of the worker's turn, go out in
//     one system call
//
// All belongs to the port's worker and takes no lock.

import (
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// port is what one worker has of a link: a ring, a socket to send by, and counters.
type port struct {
	of   *Link
	ring *sys.PacketRing
	tx   int // -1: none yet

	rx    *nodeos.Task
	fd    *nodeos.FD
	frame sys.RxFrame
	bytes int // received and not counted yet
	seg   segmenter
	segRx sys.RxFrame // what seg cuts, a copy of frame

	out    *linkio.Outbox
	counts linkio.Counters
}

// Attach implements nodeos.Port.
func (l *port) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	fd, err := rx.NewFD(l.ring.FD(), false)
	if err != nil {
		return err
	}
	l.rx, l.fd = rx, fd
	return nil
}

// Rated implements nodeos.Rated.
func (l *port) Rated() bool { return l.of.chans != nil }

// Receive implements nodeos.Port.
func (l *port) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	before := b.Len()
	more = l.receive(c, b)
	if n := b.Len() - before; n > 0 { // once a batch: each is an operation on memory that others read
		l.counts.ReceivedAll(n, l.bytes)
		l.bytes = 0
	}
	return more
}

// receive is Receive without the counts of what came.
func (l *port) receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for b.Room() > 0 {
		if l.seg.frame != nil {
			l.cut(c, b)
			continue
		}
		f := &l.frame
		if !l.ring.Next(f) {
			return false
		}
		if f.Kind == unix.PACKET_OUTGOING || f.Kind == unix.PACKET_OTHERHOST && !l.of.promisc {
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
func (l *port) take(c *packet.Cache, b *packet.Batch, f *sys.RxFrame) {
	if f.Len > len(f.Data) || len(f.Data) < demux.EtherLen || len(f.Data) > l.of.room {
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
func (l *port) cut(c *packet.Cache, b *packet.Batch) {
	for b.Room() > 0 {
		p := c.Alloc(packet.Node)
		if p == nil {
			l.counts.RxDrops.Add(1)
			l.seg.frame = nil
			return
		}
		// The tag needs four bytes in front, which the headroom has.
		n := l.seg.next(p.Put(l.of.room))
		if n <= 0 {
			if n < 0 {
				l.counts.RxDrops.Add(1)
			}
			c.Free(p)
			return
		}
		p.Take(l.of.room - n)
		l.finish(b, p, &l.segRx)
	}
}

// finish puts the tag back, sets the annotations and appends p.
func (l *port) finish(b *packet.Batch, p *packet.Packet, f *sys.RxFrame) {
	if f.HasVLAN {
		demux.PushVLAN(p, f.VLAN)
		d := p.Data()
		d[12], d[13] = byte(f.TPID>>8), byte(f.TPID)
	}
	p.ClearHeaders()
	linkio.NoteVLAN(p)
	p.Anno.Kind = packet.LinkKind(f.Kind) // the numbers are the kernel's
	l.bytes += p.Len()
	b.Append(p)
}

// Send implements nodeos.Port.
func (l *port) Send(c *packet.Cache, b *packet.Batch) {
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

// Flush implements nodeos.Port. A frame that the kernel refuses is dropped and the rest tried again, but for
// an interface that is down: then all are dropped.
func (l *port) Flush(c *packet.Cache) {
	if l.out.Flush(c, l.tx, &l.counts, l.refused) > 0 {
		l.of.setFault(nil)
	}
}

// refused says how to go on after an error of sending.
func (l *port) refused(err error, before int) linkio.Next {
	if err == unix.ENETDOWN || err == unix.ENXIO || err == unix.ENODEV {
		l.of.setFault(err)
		return linkio.Stop
	}
	if before >= 4 { // no buffers: trying each frame would only take time
		return linkio.Stop
	}
	return linkio.Skip
}

// Detach implements nodeos.Port. Frames in the ring stay there and are lost with it.
func (l *port) Detach(c *packet.Cache) {
	l.Flush(c)
	l.seg.frame = nil
	if l.fd != nil {
		l.fd.Close()
		l.fd = nil
	}
}

// close gives the sockets back.
func (l *port) close() (first error) {
	if l.ring != nil {
		first = l.ring.Close()
	}
	if l.tx >= 0 {
		if err := sys.CloseFD(l.tx); err != nil && first == nil {
			first = err
		}
	}
	return first
}
