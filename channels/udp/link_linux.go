package udp

// The way of a datagram:
//
//  1. Receive  offers packets of the pool to the kernel, up to 64 at a time, and keeps those that are filled; where the kernel joins
//     datagrams, a packet is followed by a long buffer
//  2. take     makes a received message one packet, or split several, which may wait for room in the next batch
//  3. Send     collects packets; 64 of them, or Flush at the end of the worker's turn, go out in one system call, as runs
//
// All belong to the worker and take no lock; the mutex guards the control side.

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/internal/linkio"
	"github.com/janos-os/janos/channels/internal/opts"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

func init() { nodeos.RegisterDriver("udp", Rank, Open) }

// DefaultRing is the socket's receive buffer in full-sized datagrams where LinkSpec.Ring is 0.
const DefaultRing = 1024

// Link is a UDP socket; it implements nodeos.Link.
type Link struct {
	info  nodeos.LinkInfo
	sock  int
	local netip.AddrPort
	v6    bool

	fd     *nodeos.FD
	room   int // of a packet
	want   int // how many messages to offer next
	rxq    *sys.MsgQueue
	offer  [sys.MaxMsgs]*packet.Packet // with the receive queue's buffers; nil from the first that there is not
	long   [][]byte                    // what does not fit those, after room bytes for what does; nil if the kernel joins nothing
	got    int                         // messages received
	at     int                         // of these, the first that is not delivered
	from   int                         // bytes of it that are
	out    *linkio.Outbox
	noRuns atomic.Pointer[string] // why there are none, though the socket would take them
	counts linkio.Counters

	mu     sync.Mutex
	lost   uint32 // drops of the socket that are counted already
	closed bool
}

// Open binds a socket to the address that spec.Device names. It is a nodeos.OpenFunc.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	o := opts.New(spec.Opts)
	mtu := o.Int("mtu", DefaultMTU, 1, 65507)
	runs, join := o.Bool("gso", true), o.Bool("gro", true)
	if err := o.Done("udp"); err != nil {
		return nil, err
	}
	ring, err := linkio.Ring(&spec, DefaultRing, "datagrams")
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(spec.Device)
	if err != nil || addr.Addr().Zone() != "" {
		return nil, errs.New(errs.Invalid, "link %s: driver udp wants a local address such as 0.0.0.0:3322 as device, not %q", spec.Name, spec.Device)
	}
	pool := n.Pool().Spec()
	l := &Link{room: pool.FrameSize - pool.Headroom, rxq: sys.NewMsgQueue(), out: linkio.NewOutbox(), want: 8}
	if mtu > l.room {
		return nil, errs.New(errs.TooBig, "link %s: MTU %d, the node's packet frames hold %d; use larger frames or a smaller MTU", spec.Name, mtu, l.room)
	}
	// The kernel counts a datagram's bookkeeping too, about as much again.
	l.sock, l.local, err = sys.OpenUDP(addr, ring*2*(mtu+512))
	if err != nil {
		kind := errs.NotSupported
		switch err {
		case unix.EADDRINUSE:
			kind = errs.Exists
		case unix.EADDRNOTAVAIL:
			kind = errs.NotFound
		case unix.EACCES:
			kind = errs.Permission
		}
		return nil, errs.New(kind, "link %s: UDP socket at %s: %w", spec.Name, addr, err)
	}
	l.v6 = l.local.Addr().Is6()
	l.info = nodeos.LinkInfo{Name: spec.Name, Driver: "udp", Number: number, Base: demux.UDP, MTU: mtu}
	if a := l.local.Addr(); !a.IsUnspecified() {
		l.info.Prefixes = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
	}
	if runs {
		if err := sys.UDPSegments(l.sock); err != nil {
			l.info.Notes = append(l.info.Notes, fmt.Sprintf("each datagram goes through the kernel alone: UDP_SEGMENT was refused: %v", err))
		} else {
			l.out.Runs(true)
		}
	}
	if join {
		if err := sys.JoinUDP(l.sock); err != nil {
			l.info.Notes = append(l.info.Notes, fmt.Sprintf("each datagram is received alone: UDP_GRO was refused: %v", err))
		} else {
			l.long = make([][]byte, sys.MaxLongMsgs)
			size := l.room + maxMessage
			all := make([]byte, len(l.long)*size) // memory of the host's only where it is written
			for i := range l.long {
				l.long[i] = all[i*size : (i+1)*size]
			}
		}
	}
	return l, nil
}

// maxMessage is longer than what the kernel joins.
const maxMessage = 1 << 16

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo {
	info := l.info
	if why := l.noRuns.Load(); why != nil {
		info.Notes = append(slices.Clip(info.Notes), *why)
	}
	return info
}

// Local returns the address that the socket is bound to.
func (l *Link) Local() netip.AddrPort { return l.local }

// Attach implements nodeos.Link.
func (l *Link) Attach(w *nodeos.Worker, rx *nodeos.Task) error {
	fd, err := rx.NewFD(l.sock, false)
	if err != nil {
		return err
	}
	l.fd = fd
	return nil
}

// Receive implements nodeos.Link.
func (l *Link) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	for {
		for ; l.at < l.got; l.at++ {
			if !l.take(c, b) {
				return true
			}
		}
		if b.Room() == 0 {
			return true
		}
		offered := l.offerTo(c, min(b.Room(), l.want))
		if offered == 0 { // the pool is empty; the socket's buffer keeps the datagrams for now
			return true
		}
		var err error
		l.at = 0
		if l.got, err = l.rxq.Receive(l.sock, offered); err != nil {
			l.got, l.want = 0, 8
			l.withdraw(c)
			return err == unix.ENOMEM || err == unix.ENOBUFS
		}
		if l.got == offered {
			l.want = sys.MaxMsgs
			continue
		}
		l.want = 8
		for i := l.got; i < offered; i++ { // an idle link holds no packets
			c.Free(l.offer[i])
			l.offer[i] = nil
		}
		for ; l.at < l.got; l.at++ {
			if !l.take(c, b) {
				return true
			}
		}
		// An edge-triggered descriptor reports again only what comes after the queue was empty, which a
		// short count shows.
		return false
	}
}

// offerTo makes the receive queue's first n messages, or fewer, buffers of packets. It returns how many.
func (l *Link) offerTo(c *packet.Cache, n int) int {
	if l.long != nil {
		n = min(n, len(l.long))
	}
	for i := range n {
		p := c.Alloc(packet.Node)
		if p == nil {
			return i
		}
		l.offer[i] = p
		if l.long != nil {
			l.rxq.SetFromLong(i, p.Put(l.room), l.long[i][l.room:])
		} else {
			l.rxq.SetFrom(i, p.Put(l.room))
		}
	}
	return n
}

// withdraw frees the packets that are offered or not delivered.
func (l *Link) withdraw(c *packet.Cache) {
	for i, p := range l.offer {
		if p != nil {
			c.Free(p)
			l.offer[i] = nil
		}
	}
	l.got, l.at, l.from = 0, 0, 0
}

// take makes the next received message packets of b. It reports whether it is done with it; if not, there was no room for all of
// them or no memory, and it goes on where it was.
func (l *Link) take(c *packet.Cache, b *packet.Batch) bool {
	if b.Room() == 0 {
		return false
	}
	n, cut := l.rxq.Len(l.at)
	segment := l.rxq.Segment(l.at)
	if segment <= 0 || segment >= n {
		segment = n
	}
	if p := l.offer[l.at]; p == nil {
		// The first datagrams are delivered or dropped.
	} else if cut || segment > l.room {
		l.offer[l.at] = nil
		c.Free(p)
		whole := n / segment
		l.counts.RxDrops.Add(uint64(whole))
		if l.from = whole * segment; n-l.from > l.room {
			l.counts.RxDrops.Add(1)
			l.from = n
		}
	} else { // the first datagram is in its place
		if segment < n {
			// The rest of what is in the packet joins what is in the buffer behind.
			copy(l.long[l.at][segment:l.room], p.Data()[segment:])
		}
		p.Take(l.room - segment)
		l.offer[l.at] = nil
		sender := l.rxq.From(l.at)
		p.Anno.Src, p.Anno.SrcPort = sender.Addr(), sender.Port()
		l.counts.Received(segment)
		b.Append(p)
		l.from = segment
	}
	if l.from < n && !l.split(c, b, n, segment) {
		return false
	}
	l.from = 0
	return true
}

// split makes what is left of a message of n bytes packets. It reports whether that was all.
func (l *Link) split(c *packet.Cache, b *packet.Batch, n, segment int) bool {
	sender := l.rxq.From(l.at)
	addr, port := sender.Addr(), sender.Port()
	from, packets := l.from, 0
	for l.from < n && b.Room() > 0 {
		end := min(l.from+segment, n)
		p := c.AllocFrom(packet.Node, l.long[l.at][l.from:end])
		if p == nil {
			break
		}
		p.Anno.Src, p.Anno.SrcPort = addr, port
		b.Append(p)
		l.from = end
		packets++
	}
	l.counts.RxPackets.Add(uint64(packets))
	l.counts.RxBytes.Add(uint64(l.from - from))
	return l.from == n
}

// Send implements nodeos.Link.
func (l *Link) Send(c *packet.Cache, b *packet.Batch) {
	for _, p := range b.Packets() {
		to := netip.AddrPortFrom(p.Anno.Dst, p.Anno.DstPort)
		if !to.IsValid() || to.Port() == 0 || p.Len() > l.info.MTU || !l.v6 && !to.Addr().Unmap().Is4() {
			l.counts.TxDrops.Add(1)
			c.Free(p)
			continue
		}
		if l.out.PutTo(p, to, l.v6) {
			l.Flush(c)
		}
	}
	b.Reset()
}

// Flush implements nodeos.Link. A datagram that the kernel refuses is dropped and the rest tried again.
func (l *Link) Flush(c *packet.Cache) {
	eio := false
	l.out.Flush(c, l.sock, &l.counts, func(err error, _ int) linkio.Next {
		eio = eio || err == unix.EIO
		return refused(err)
	})
	if eio && l.noRuns.Load() == nil {
		l.endRuns()
	}
}

// endRuns makes the link send each datagram as a message. A kernel refuses runs with EIO where IPsec is on
// the way out, and before 6.11 also where the interface does not compute checksums.
func (l *Link) endRuns() {
	l.out.Runs(false)
	why := fmt.Sprintf("each datagram goes through the kernel alone: a run was refused: %v", unix.EIO)
	l.noRuns.Store(&why)
}

// refused says how to go on after an error of sending.
func refused(err error) linkio.Next {
	switch err {
	case unix.EAGAIN, unix.ENOBUFS: // no room: the rest would not fit either
		return linkio.Stop
	case unix.ECONNREFUSED: // about an earlier datagram, and reported once
		return linkio.Again
	}
	return linkio.Skip
}

// Claim implements nodeos.Link: the socket's port is the node's alone.
func (l *Link) Claim(nodeos.Claims) error { return nil }

// Stats implements nodeos.Link.
func (l *Link) Stats() nodeos.LinkStats {
	l.mu.Lock()
	if !l.closed {
		if n, err := sys.SocketDrops(l.sock); err == nil {
			l.counts.RxDrops.Add(uint64(n - l.lost))
			l.lost = n
		}
	}
	l.mu.Unlock()
	return l.counts.Stats()
}

// Detach implements nodeos.Link.
func (l *Link) Detach(c *packet.Cache) {
	l.Flush(c)
	l.withdraw(c)
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
	return sys.CloseFD(l.sock)
}
