package mem

import (
	"sync/atomic"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Link is one end of a segment; it implements nodeos.Link.
type Link struct {
	net     *Net
	seg     *segment
	info    nodeos.LinkInfo
	promisc bool
	queue   *queue
	rx      atomic.Pointer[nodeos.Task] // nil while detached

	counts linkio.Counters
}

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo { return l.info }

// Attach implements nodeos.Link.
func (l *Link) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	l.rx.Store(rx)
	return nil
}

// Send implements nodeos.Link: it copies each frame to every other end.
func (l *Link) Send(c *packet.Cache, b *packet.Batch) {
	ends := *l.seg.ends.Load()
	limit := l.info.MTU + demux.EtherLen + demux.VLANLen
	for _, p := range b.Packets() {
		data := p.Data()
		if len(data) < demux.EtherLen || len(data) > limit {
			l.counts.TxDrops.Add(1)
			continue
		}
		l.counts.TxPackets.Add(1)
		l.counts.TxBytes.Add(uint64(len(data)))
		for _, e := range ends {
			if e != l {
				e.arrive(data)
			}
		}
	}
	c.FreeBatch(b)
	for _, e := range ends {
		if e != l {
			if rx := e.rx.Load(); rx != nil {
				rx.Wake()
			}
		}
	}
}

// arrive queues a frame, on the sender's goroutine.
func (l *Link) arrive(data []byte) {
	if l.rx.Load() == nil || !l.promisc && l.kind(data) == packet.ToOther {
		return
	}
	if !l.queue.put(data) {
		l.counts.RxDrops.Add(1)
	}
}

func (l *Link) kind(data []byte) packet.LinkKind { return packet.KindOf([6]byte(data), l.info.HWAddr) }

// Receive implements nodeos.Link.
func (l *Link) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for b.Room() > 0 {
		f := l.queue.peek()
		if f == nil {
			return false
		}
		p := c.AllocFrom(packet.Node, f)
		if p == nil {
			l.counts.RxDrops.Add(1)
			l.queue.pop()
			continue
		}
		p.Anno.Kind = l.kind(f)
		linkio.NoteVLAN(p)
		l.counts.Received(len(f))
		l.queue.pop()
		b.Append(p)
	}
	return l.queue.peek() != nil
}

// Flush implements nodeos.Link; Send puts nothing off.
func (l *Link) Flush(*packet.Cache) {}

// Claim implements nodeos.Link: there is no host stack on a segment.
func (l *Link) Claim(nodeos.Claims) error { return nil }

// Stats implements nodeos.Link.
func (l *Link) Stats() nodeos.LinkStats {
	return l.counts.Stats()
}

// Detach implements nodeos.Link. Frames in the queue are lost.
func (l *Link) Detach(*packet.Cache) {
	l.rx.Store(nil)
	for l.queue.peek() != nil {
		l.queue.pop()
	}
}

// Close implements nodeos.Link.
func (l *Link) Close() error {
	l.net.leave(l)
	return nil
}
