package mem

import (
	"sync/atomic"

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

	rxPackets, rxBytes, rxDrops atomic.Uint64
	txPackets, txBytes, txDrops atomic.Uint64
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
			l.txDrops.Add(1)
			continue
		}
		l.txPackets.Add(1)
		l.txBytes.Add(uint64(len(data)))
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
		l.rxDrops.Add(1)
	}
}

func (l *Link) kind(data []byte) packet.LinkKind {
	switch dst := [6]byte(data); {
	case dst == l.info.HWAddr:
		return packet.ToHost
	case dst == [6]byte{255, 255, 255, 255, 255, 255}:
		return packet.ToBroadcast
	case dst[0]&1 != 0:
		return packet.ToMulticast
	}
	return packet.ToOther
}

// Receive implements nodeos.Link.
func (l *Link) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for b.Room() > 0 {
		f := l.queue.peek()
		if f == nil {
			return false
		}
		p := c.AllocFrom(packet.Node, f)
		if p == nil {
			l.rxDrops.Add(1)
			l.queue.pop()
			continue
		}
		p.Anno.Kind = l.kind(f)
		if len(f) >= demux.EtherLen+demux.VLANLen {
			if t := uint16(f[12])<<8 | uint16(f[13]); t == demux.EtherTypeVLAN || t == demux.EtherTypeSVLAN {
				p.Anno.VLAN, p.Anno.HasVLAN = uint16(f[14])<<8|uint16(f[15]), true
			}
		}
		l.rxPackets.Add(1)
		l.rxBytes.Add(uint64(len(f)))
		l.queue.pop()
		b.Append(p)
	}
	return l.queue.peek() != nil
}

// Flush implements nodeos.Link; Send puts nothing off.
func (l *Link) Flush(*packet.Cache) {}

// Claim implements nodeos.Link: there is no host stack on a segment.
func (l *Link) Claim([]demux.Rule) error { return nil }

// Stats implements nodeos.Link.
func (l *Link) Stats() nodeos.LinkStats {
	return nodeos.LinkStats{
		RxPackets: l.rxPackets.Load(), RxBytes: l.rxBytes.Load(), RxDrops: l.rxDrops.Load(),
		TxPackets: l.txPackets.Load(), TxBytes: l.txBytes.Load(), TxDrops: l.txDrops.Load(),
	}
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
