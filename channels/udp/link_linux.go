package udp

// The way of a datagram:
//
//  1. Receive  takes up to 32 messages from the kernel in one system call, each into a buffer of its own
//  2. split    copies the datagrams of a message, of which there are several where the kernel has joined them, to packets; what the
//     batch has no room for waits for the next one. Bundles are taken apart, and who asks about them is answered.
//  3. Send     copies packets to where datagrams are collected; 256 of them, 64 messages, or Flush at the end of the worker's turn, go out in one
//     system call, as runs
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

	fd      *nodeos.FD
	room    int           // of a packet
	bundles bool          // datagrams are bundles without keys
	peers   *linkio.Peers // with whom bundles are agreed; nil: with nobody
	replies *sys.MsgQueue // for what peers wants to be sent
	inside  int           // how far the bundle at from is delivered; 0: it is not begun
	rxq     *sys.MsgQueue
	bufs    [][]byte       // of the receive queue's messages
	armed   int            // of these, how many from the first on are to be made ready again
	got     int            // messages received
	at      int            // of these, the first that is not delivered
	from    int            // bytes of it that are, or -1: none, and sender is that of another
	sender  netip.AddrPort // of message at
	out     *linkio.Datagrams
	noRuns  atomic.Pointer[string] // why there are none, though the socket would take them
	counts  linkio.Counters

	mu     sync.Mutex
	lost   uint32 // drops of the socket that are counted already
	closed bool
}

// Open binds a socket to the address that spec.Device names. It is a nodeos.OpenFunc.
func Open(n *nodeos.Node, number uint16, spec nodeos.LinkSpec) (nodeos.Link, error) {
	o := opts.New(spec.Opts)
	mtu := o.Int("mtu", DefaultMTU, 1, 65507)
	runs, join := o.Bool("gso", true), o.Bool("gro", true)
	bundles := o.OneOf("bundles", "auto", "true", "false")
	if err := o.Done("udp"); err != nil {
		return nil, err
	}
	if bundles == "true" && mtu < 2*linkio.BundleOverhead {
		return nil, errs.New(errs.Invalid, "link %s: MTU %d is too small for bundles, want at least %d", spec.Name, mtu, 2*linkio.BundleOverhead)
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
	l := &Link{room: pool.FrameSize - pool.Headroom, rxq: sys.NewMsgQueue()}
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
	l.out = linkio.NewDatagrams(l.v6)
	l.info = nodeos.LinkInfo{Name: spec.Name, Driver: "udp", Number: number, Base: demux.UDP, MTU: mtu}
	switch {
	case bundles == "true":
		l.bundles = true
		l.out.Bundle(mtu)
		l.info.MTU -= linkio.BundleOverhead
	case bundles == "auto" && mtu >= 2*linkio.KeyedOverhead:
		l.peers, l.replies = linkio.NewPeers(mtu, n.Clock().Now), sys.NewMsgQueue()
		l.out.BundleFor(l.peers)
	}
	if a := l.local.Addr(); !a.IsUnspecified() {
		l.info.Prefixes = []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}
	}
	if runs {
		if err := sys.UDPSegments(l.sock); err != nil {
			l.info.Notes = append(l.info.Notes, fmt.Sprintf("each datagram goes through the kernel alone: UDP_SEGMENT was refused: %v", err))
		} else {
			l.out.Join(true)
		}
	}
	size := l.room + 1
	if join {
		if err := sys.JoinUDP(l.sock); err != nil {
			l.info.Notes = append(l.info.Notes, fmt.Sprintf("each datagram is received alone: UDP_GRO was refused: %v", err))
		} else {
			size = maxMessage
		}
	}
	all := make([]byte, messages*size) // memory of the host's only where it is written
	for i := range messages {
		l.bufs = append(l.bufs, all[i*size:(i+1)*size:(i+1)*size])
	}
	l.armed, l.from = messages, -1
	return l, nil
}

const (
	messages   = 32      // that are received with one system call
	maxMessage = 1 << 16 // longer than what the kernel joins
)

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
			if !l.split(c, b) {
				return true // what is left stays in its buffer
			}
		}
		if b.Room() == 0 {
			return true
		}
		for i := range l.armed {
			l.rxq.SetFromLong(i, l.bufs[i])
		}
		got, err := l.rxq.Receive(l.sock, messages)
		l.got, l.at, l.armed = got, 0, got
		if err != nil {
			return err == unix.ENOMEM || err == unix.ENOBUFS
		}
		if got < messages {
			// An edge-triggered descriptor reports again only what comes after the queue was empty, which a
			// short count shows.
			for ; l.at < l.got; l.at++ {
				if !l.split(c, b) {
					return true
				}
			}
			return false
		}
	}
}

// split makes the next received message packets of b, or what is left of it. It reports whether that was all; if not, there was no room
// or no memory for more.
func (l *Link) split(c *packet.Cache, b *packet.Batch) bool {
	n, cut := l.rxq.Len(l.at)
	segment := l.rxq.Segment(l.at)
	if segment <= 0 || segment > n {
		segment = n
	}
	if l.from < 0 {
		l.from, l.sender = 0, l.rxq.From(l.at)
		if l.bundles && !cut {
			return l.unbundle(c, b, n, segment)
		}
		if cut || l.peers == nil && segment > l.room {
			whole := n / segment // the last, which is shorter, may fit
			l.counts.RxDrops.Add(uint64(whole))
			if l.from = whole * segment; l.from == n || n-l.from > l.room {
				l.counts.RxDrops.Add(uint64(min(n-l.from, 1)))
				l.from = -1
				return true
			}
		}
	}
	if l.bundles {
		return l.unbundle(c, b, n, segment)
	}
	data := l.bufs[l.at][:n]
	for {
		left := 1 // the empty datagram
		if n > 0 {
			left = (n - l.from + segment - 1) / segment
		}
		if l.peers != nil { // what is not a packet, or too long for one, goes its own way
			plain := 0
			if segment <= l.room {
				plain = l.plainly(data, segment, left)
			} else if left == 1 && n-l.from <= l.room { // the last, which is shorter
				plain = l.plainly(data, segment, 1)
			}
			if plain == 0 {
				if !l.special(c, b, data[l.from:min(l.from+segment, n)]) {
					return false
				}
				if l.from = min(l.from+segment, n); l.from == n {
					l.from = -1
					return true
				}
				continue
			}
			left = plain
		}
		if !l.plain(c, b, data, segment, left) {
			return false
		}
		if l.from == n {
			l.from = -1
			return true
		}
	}
}

// plainly returns how many of the next datagrams of a message are packets alone.
func (l *Link) plainly(data []byte, segment, datagrams int) int {
	for i, at := 0, l.from; i < datagrams; i, at = i+1, at+segment {
		// Most packets show it by their first byte.
		if at < len(data) && data[at] == linkio.FirstByte && linkio.Kind(data[at:min(at+segment, len(data))]) != linkio.Plain {
			return i
		}
	}
	return datagrams
}

// plain makes the next datagrams of a message packets. It reports whether there was room and memory for all.
func (l *Link) plain(c *packet.Cache, b *packet.Batch, data []byte, segment, datagrams int) bool {
	first := b.Len()
	got := c.AllocBatch(packet.Node, b, datagrams)
	start := l.from
	addr, port := l.sender.Addr(), l.sender.Port()
	for _, p := range b.Packets()[first : first+got] {
		end := min(l.from+segment, len(data))
		copy(p.Put(end-l.from), data[l.from:end])
		p.Anno.Src, p.Anno.SrcPort = addr, port
		l.from = end
	}
	l.counts.RxPackets.Add(uint64(got))
	l.counts.RxBytes.Add(uint64(l.from - start))
	return got == datagrams
}

// special handles a datagram that belongs to bundles with keys, or is too long for a packet. It reports whether that was all of it.
func (l *Link) special(c *packet.Cache, b *packet.Batch, data []byte) bool {
	switch linkio.Kind(data) {
	case linkio.Plain:
		return l.one(c, b, data)
	case linkio.Keyed:
		if l.inside == 0 {
			key, ok := linkio.CheckKeyed(data)
			if !ok { // a packet that only begins like a bundle
				return l.one(c, b, data)
			}
			l.inside = linkio.KeyedHead
			if key != l.peers.Key {
				l.inside = 0
				l.counts.RxDrops.Add(1)
				l.reply(l.peers.Reply(data, l.sender), l.sender)
				return true
			}
		}
		return l.open(c, b, data)
	}
	l.reply(l.peers.Reply(data, l.sender), l.sender)
	return true
}

// one makes a datagram a packet, or drops it if it is too long. It reports whether there was room and memory for it.
func (l *Link) one(c *packet.Cache, b *packet.Batch, data []byte) bool {
	if len(data) > l.room {
		l.counts.RxDrops.Add(1)
		return true
	}
	if b.Room() == 0 {
		return false
	}
	p := c.AllocFrom(packet.Node, data)
	if p == nil {
		return false
	}
	p.Anno.Src, p.Anno.SrcPort = l.sender.Addr(), l.sender.Port()
	b.Append(p)
	l.counts.RxPackets.Add(1)
	l.counts.RxBytes.Add(uint64(len(data)))
	return true
}

// reply sends a datagram at once, if there is one. One that the kernel refuses is lost as any may be.
func (l *Link) reply(data []byte, dst netip.AddrPort) {
	if data == nil {
		return
	}
	l.replies.SetTo(0, data, dst, l.v6)
	_, _ = l.replies.Send(l.sock, 0, 1)
}

// unbundle is split for datagrams that are bundles without keys. What is not one is dropped.
func (l *Link) unbundle(c *packet.Cache, b *packet.Batch, n, segment int) bool {
	data := l.bufs[l.at][:n]
	for l.from < n || n == 0 {
		bundle := data[l.from:min(l.from+segment, n)]
		if _, ok := linkio.CheckBundle(bundle); l.inside == 0 && !ok {
			l.counts.RxDrops.Add(1)
			if l.from += segment; n == 0 {
				break
			}
			continue
		}
		if !l.open(c, b, bundle) {
			return false
		}
		l.from += segment
	}
	l.from = -1
	return true
}

// open makes the packets of a bundle, which was found whole, packets of b, from inside on. It reports whether that was all of them; if not, there
// was no room or no memory for more.
func (l *Link) open(c *packet.Cache, b *packet.Batch, bundle []byte) bool {
	addr, port := l.sender.Addr(), l.sender.Port()
	packets, bytes, drops := 0, 0, 0
	all := true
	for {
		payload, next, ok := linkio.NextInBundle(bundle, l.inside)
		if !ok {
			l.inside = 0
			break
		}
		if len(payload) > l.room {
			drops++
		} else {
			var p *packet.Packet
			if b.Room() > 0 {
				p = c.AllocFrom(packet.Node, payload)
			}
			if p == nil {
				all = false
				break
			}
			p.Anno.Src, p.Anno.SrcPort = addr, port
			b.Append(p)
			packets++
			bytes += len(payload)
		}
		l.inside = next
	}
	l.counts.RxPackets.Add(uint64(packets))
	l.counts.RxBytes.Add(uint64(bytes))
	l.counts.RxDrops.Add(uint64(drops))
	return all
}

// Send implements nodeos.Link.
func (l *Link) Send(c *packet.Cache, b *packet.Batch) {
	var to netip.AddrPort        // of the packet before
	known, taken := false, false // it can be reached; that packet was put to be sent
	for i, p := range b.Packets() {
		a := &p.Anno
		if i == 0 || a.DstPort != to.Port() || a.Dst != to.Addr() {
			to, taken = netip.AddrPortFrom(a.Dst, a.DstPort), false
			known = a.DstPort != 0 && a.Dst.IsValid() && (l.v6 || a.Dst.Unmap().Is4())
		} else if taken && l.out.More(p.Data()) {
			continue
		}
		if !known || p.Len() > l.info.MTU {
			l.counts.TxDrops.Add(1)
			continue
		}
		// Mapped addresses are those of version 4, as on reception.
		dst := netip.AddrPortFrom(a.Dst.Unmap(), a.DstPort)
		if !l.out.Put(p.Data(), dst) {
			l.Flush(c)
			l.out.Put(p.Data(), dst) // the longest there is fits an empty one
		}
		taken = true
	}
	c.FreeBatch(b)
}

// Flush implements nodeos.Link. A datagram that the kernel refuses is dropped and the rest tried again.
func (l *Link) Flush(*packet.Cache) {
	eio := false
	l.out.Flush(l.sock, &l.counts, func(err error, _ int) linkio.Next {
		eio = eio || err == unix.EIO
		return refused(err)
	})
	if eio && l.noRuns.Load() == nil {
		l.endRuns()
	}
	if l.peers != nil {
		l.peers.Questions(l.reply)
	}
}

// endRuns makes the link send each datagram as a message. A kernel refuses runs with EIO where IPsec is on
// the way out, and before 6.11 also where the interface does not compute checksums.
func (l *Link) endRuns() {
	l.out.Join(false)
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
	l.got, l.at, l.from, l.inside = 0, 0, -1, 0
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
