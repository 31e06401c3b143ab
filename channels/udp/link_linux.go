package udp

// The way of a datagram:
//
//  1. Receive  offers packets of the pool to the kernel, up to 64 at a time, and keeps those that are filled
//  2. Send     collects packets; 64 of them, or Flush at the end of the worker's turn, go out in one system call
//
// Both belong to the worker and take no lock; the mutex guards the control side.

import (
	"net/netip"
	"sync"

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
	rxq    *sys.MsgQueue
	offer  [sys.MaxMsgs]*packet.Packet // with the receive queue's buffers
	room   int
	want   int // how many to offer next
	out    *linkio.Outbox
	counts linkio.Counters

	mu     sync.Mutex
	lost   uint32 // drops of the socket that are counted already
	closed bool
}

// Open binds a socket to the address that spec.Device names. It is a nodeos.OpenFunc.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	o := opts.New(spec.Opts)
	mtu := o.Int("mtu", DefaultMTU, 1, 65507)
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
	return l, nil
}

// Info implements nodeos.Link.
func (l *Link) Info() nodeos.LinkInfo { return l.info }

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
	for b.Room() > 0 {
		n := min(b.Room(), l.want)
		have := 0
		for ; have < n; have++ {
			p := l.offer[have]
			if p == nil {
				if p = c.Alloc(packet.Node); p == nil {
					break
				}
				l.offer[have] = p
				l.rxq.SetFrom(have, p.Put(l.room))
			}
		}
		if have == 0 { // the pool is empty; the socket's buffer keeps the datagrams for now
			return true
		}
		got, err := l.rxq.Receive(l.sock, have)
		if err != nil {
			l.want = 8
			l.withdraw(c)
			return err == unix.ENOMEM || err == unix.ENOBUFS
		}
		for i := range got {
			l.take(c, b, i)
		}
		// Offered buffers that were not filled stay in place for the next call.
		copy(l.offer[:], l.offer[got:have])
		clear(l.offer[have-got : have])
		for i := range have - got {
			l.rxq.SetFrom(i, l.offer[i].Data())
		}
		if got < have {
			l.want = 8
			l.withdraw(c)
			// An edge-triggered descriptor reports again only what comes after the queue was empty, which a
			// short count shows.
			return false
		}
		l.want = sys.MaxMsgs
	}
	return true
}

// withdraw frees the packets that are offered, so that an idle link holds none.
func (l *Link) withdraw(c *packet.Cache) {
	for i, p := range l.offer {
		if p == nil {
			return
		}
		c.Free(p)
		l.offer[i] = nil
	}
}

// take makes received message i a packet of b.
func (l *Link) take(c *packet.Cache, b *packet.Batch, i int) {
	p := l.offer[i]
	n, cut := l.rxq.Len(i)
	if cut || n > l.room {
		l.counts.RxDrops.Add(1)
		c.Free(p)
		return
	}
	p.Take(l.room - n)
	from := l.rxq.From(i)
	p.Anno.Src, p.Anno.SrcPort = from.Addr(), from.Port()
	l.counts.Received(n)
	b.Append(p)
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
func (l *Link) Flush(c *packet.Cache) { l.out.Flush(c, l.sock, &l.counts, refused) }

// refused says how to go on after an error of sending.
func refused(err error, _ int) linkio.Next {
	switch err {
	case unix.EAGAIN, unix.ENOBUFS: // no room: the rest would not fit either
		return linkio.Stop
	case unix.ECONNREFUSED: // about an earlier datagram, and reported once
		return linkio.Again
	}
	return linkio.Skip
}

// Claim implements nodeos.Link: the socket's port is the node's alone.
func (l *Link) Claim([]demux.Rule) error { return nil }

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
