package bench

import (
	"net/netip"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// feed is a link without a wire: what it receives are copies of given frames, and what it sends is counted and freed. A
// node on it does all that it does on a real link, but for the driver's own work.
type feed struct {
	info   nodeos.LinkInfo
	rx     *nodeos.Task
	frames [][]byte
	next   int
	left   int // frames still to receive
	sent   int
	bytes  int
	stats  nodeos.LinkStats
}

// feedBatch is how many frames it hands over at a time.
const feedBatch = 32

func newFeed(n *nodeos.Node, name string) *feed {
	return &feed{info: nodeos.LinkInfo{Name: name, Driver: "feed", Number: n.NextLinkNumber(), Base: demux.Ether, MTU: 1500, HWAddr: toMAC,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}
}

// start makes the link receive n frames. On the worker.
func (l *feed) start(n int) {
	l.left = n
	l.rx.Wake()
}

// Info implements nodeos.Link.
func (l *feed) Info() nodeos.LinkInfo { return l.info }

// Attach implements nodeos.Link.
func (l *feed) Attach(_ *nodeos.Worker, rx *nodeos.Task) error { l.rx = rx; return nil }

// Receive implements nodeos.Link.
func (l *feed) Receive(c *packet.Cache, b *packet.Batch) (more bool) {
	n := c.AllocBatch(packet.Node, b, min(feedBatch, l.left, b.Room()))
	for _, p := range b.Packets()[b.Len()-n:] {
		f := l.frames[l.next]
		if l.next++; l.next == len(l.frames) {
			l.next = 0
		}
		copy(p.Put(len(f)), f)
	}
	l.left -= n
	l.stats.RxPackets += uint64(n)
	return l.left > 0
}

// Send implements nodeos.Link.
func (l *feed) Send(c *packet.Cache, b *packet.Batch) {
	l.sent += b.Len()
	for _, p := range b.Packets() {
		l.bytes += p.Len()
	}
	c.FreeBatch(b)
}

// Flush implements nodeos.Link.
func (l *feed) Flush(*packet.Cache) {}

// Claim implements nodeos.Link.
func (l *feed) Claim(nodeos.Claims) error { return nil }

// Stats implements nodeos.Link.
func (l *feed) Stats() nodeos.LinkStats { return l.stats }

// Detach implements nodeos.Link.
func (l *feed) Detach(*packet.Cache) {}

// Close implements nodeos.Link.
func (l *feed) Close() error { return nil }
