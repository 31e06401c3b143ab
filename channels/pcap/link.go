package pcap

// The way of a frame:
//
//  1. Receive  copies the frames that are due from the file into packets; a timer of the worker's wakes it for the next one. From a pipe
//     a goroutine reads ahead, and wakes it when there is more
//  2. Send     writes frames to a buffer; Flush, at the end of the worker's turn, writes the buffer to the file
//
// Both belong to the worker and take no lock, but for the one of the Go channel that leads from the goroutine.

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Link is up to two capture files; it implements nodeos.Link.
type Link struct {
	info   nodeos.LinkInfo
	clk    clock.Clock
	room   int
	real   bool
	filter bool // by the destination's hardware address
	delay  time.Duration
	src    *source // nil without one
	dst    *record // nil without one

	w     *nodeos.Worker
	timer *nodeos.Timer
	rx    atomic.Pointer[nodeos.Task] // nil while detached
	begun bool
	start clock.Time // of the first frame

	claimed atomic.Bool // there was a channel
	closed  atomic.Bool
	counts  linkio.Counters
}

// Info implements nodeos.Link. The notes say how files have ended.
func (l *Link) Info() nodeos.LinkInfo {
	info := l.info
	info.Notes = slices.Clip(info.Notes)
	if l.src != nil {
		if n := l.src.note.Load(); n != nil {
			info.Notes = append(info.Notes, *n)
		}
	}
	if l.dst != nil {
		if n := l.dst.note.Load(); n != nil {
			info.Notes = append(info.Notes, *n)
		}
	}
	return info
}

// Attach implements nodeos.Link.
func (l *Link) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	l.w, l.timer = w, rx.Domain().NewTimer(w.ID(), func(clock.Time) { rx.Wake() })
	l.rx.Store(rx)
	return nil
}

// wake makes Receive look again; from any goroutine.
func (l *Link) wake() {
	if rx := l.rx.Load(); rx != nil {
		rx.Wake()
	}
}

// Claim implements nodeos.Link: there is no host stack, but reading begins with the first channel.
func (l *Link) Claim(c nodeos.Claims) error {
	if c.Program.Rules() > 0 && !l.claimed.Swap(true) {
		l.wake()
	}
	return nil
}

// Receive implements nodeos.Link.
func (l *Link) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	s := l.src
	if s == nil || !l.claimed.Load() || !s.ready() {
		return false
	}
	now := l.w.Now()
	if !l.begun {
		l.begun, l.start = true, now.Add(l.delay)
	}
	if now < l.start {
		l.timer.Set(l.start)
		return false
	}
	for b.Room() > 0 {
		if !s.ready() {
			return false
		}
		at := l.start.Add(max(s.frame.At-s.first, 0))
		if l.real && at > now {
			l.timer.Set(at)
			return false
		}
		if !l.take(c, b, at) { // no packet memory: the file waits
			return true
		}
		s.taken()
	}
	return true
}

// take makes the source's frame a packet of b, or drops it; it reports false if there is no memory for it.
func (l *Link) take(c *packet.Cache, b *packet.Batch, at clock.Time) bool {
	data := l.src.frame.Data
	if len(data) < demux.EtherLen || len(data) > l.room || l.src.frame.Link != ethernet {
		l.counts.RxDrops.Add(1)
		return true
	}
	kind := packet.KindOf([6]byte(data), l.info.HWAddr)
	if kind == packet.ToOther {
		if l.filter {
			return true
		}
		kind = packet.ToHost
	}
	p := c.AllocFrom(packet.Node, data)
	if p == nil {
		return false
	}
	p.Anno.Time, p.Anno.Kind = at, kind
	linkio.NoteVLAN(p)
	l.counts.Received(len(data))
	b.Append(p)
	return true
}

// Send implements nodeos.Link. Without a file to write all frames are dropped.
func (l *Link) Send(c *packet.Cache, b *packet.Batch) {
	at := l.clk.Wall()
	if at.IsZero() { // the writer would ask the host instead
		at = time.Unix(0, 0)
	}
	limit := l.info.MTU + demux.EtherLen + 2*demux.VLANLen
	for _, p := range b.Packets() {
		data := p.Data()
		if l.dst == nil || len(data) < demux.EtherLen || len(data) > limit || !l.dst.write(data, at) {
			l.counts.TxDrops.Add(1)
			continue
		}
		l.counts.TxPackets.Add(1)
		l.counts.TxBytes.Add(uint64(len(data)))
	}
	c.FreeBatch(b)
}

// Flush implements nodeos.Link.
func (l *Link) Flush(*packet.Cache) {
	if l.dst != nil {
		_ = l.dst.flush() // an error is in the notes
	}
}

// Stats implements nodeos.Link.
func (l *Link) Stats() nodeos.LinkStats { return l.counts.Stats() }

// Detach implements nodeos.Link.
func (l *Link) Detach(c *packet.Cache) {
	l.Flush(c)
	l.rx.Store(nil)
	if l.timer != nil {
		l.timer.Stop()
	}
}

// Close implements nodeos.Link. It returns what went wrong with the file that was written, at any time.
func (l *Link) Close() (err error) {
	if l.closed.Swap(true) {
		return nil
	}
	if l.src != nil {
		err = l.src.close()
	}
	if l.dst != nil {
		err = errors.Join(err, l.dst.flush(), l.dst.file.Close())
	}
	return err
}
