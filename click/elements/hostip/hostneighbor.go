package hostip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "HostNeighbor", Ports: "1/1-2", Processing: "h", New: func() click.Element { return &HostNeighbor{} },
		Doc: click.Doc{
			Group: "device", Title: "puts an Ethernet header before IP packets, by the host's neighbours",
			Text: "The destination annotation is the next hop, IPv4 or IPv6. Its Ethernet address is what the host's kernel has for it now; a change holds for the next packet. While the kernel has none, it is asked to find " +
				"one, once a second, and up to ENTRY_CAPACITY packets for the address are held; beyond that the oldest is dropped. When the kernel gives up, or after five seconds, they go to output 1 (a place for " +
				"ICMPError), or are dropped if that is not connected. Neighbours to which packets go are confirmed by the kernel as if it sent them itself. Multicast and broadcast addresses need no neighbour.\n\n" +
				"ARP and neighbour discovery are the host's: leave their packets to it, by claiming IP packets only.",
			Args: []string{
				"DEVNAME: Link of the node, or interface of the host, on which the packets leave.", "CAPACITY: Packets to hold in all; default 2048.", "ENTRY_CAPACITY: Packets to hold for one address; default 16.",
			},
			Handlers: []string{
				"length (r): Packets held.", "table (r): The neighbours on the interface: address, Ethernet address, state.", "drop_details (r): Packets that got no header, by cause.",
			},
			Example: "rt :: LinuxIPLookup(eth0) -> HostNeighbor(eth0) -> ToDevice(eth0);", See: []string{"LinuxIPLookup", "ARPQuerier"},
		},
	})
}

// Causes for which HostNeighbor does not send a packet.
const (
	nbNoAddr = iota
	nbDown
	nbFull
	nbNoAnswer
	nbNoMemory
	nbCauses
)

var nbNames = [nbCauses]string{"no destination address", "interface is down or not there", "too many packets held", "no answer", "no memory"}

// HostNeighbor finds Ethernet addresses by the host's neighbours.
type HostNeighbor struct {
	click.Base
	tables
	link     string
	capacity int
	perEntry int

	seen   uint64
	iface  *host.Interface // nil: not there, or down
	bcasts []netip.Addr
	last   *host.Neighbor // of the packet before

	wait   map[netip.Addr]*waiting
	held   int
	counts [nbCauses]uint64
	timer  *click.Timer
	cancel func()
	news   atomic.Bool // somebody has told the worker
	over   bool
}

// waiting is what waits for one address.
type waiting struct {
	pending []*packet.Packet
	asked   clock.Time
	tries   int
	fails   uint32 // of the neighbour when it was asked
}

// How often an address is asked for, and how far apart.
const (
	askPause = time.Second
	maxAsks  = 5
)

// Configure implements click.Element.
func (e *HostNeighbor) Configure(a *click.Args) {
	e.capacity, e.perEntry = 2048, 16
	e.wait = make(map[netip.Addr]*waiting)
	a.Parse(click.Must("DEVNAME", click.String(&e.link)), click.Key("CAPACITY", click.IntRange(&e.capacity, 0, 1<<20)), click.Key("ENTRY_CAPACITY", click.IntRange(&e.perEntry, 1, 1<<16)))
}

// Initialize implements click.Initializer.
func (e *HostNeighbor) Initialize() error {
	if err := e.open(&e.Base); err != nil {
		return err
	}
	e.seen = e.table.LinkChanges() - 1
	e.timer = e.NewTimer(e.tick)
	w := e.Thread().Worker()
	e.cancel = e.table.Watch(func() {
		if !e.news.Swap(true) {
			w.Post(e.changed)
		}
	})
	return nil
}

// Cleanup implements click.Cleaner.
func (e *HostNeighbor) Cleanup() {
	e.over = true
	if e.cancel != nil {
		e.cancel()
	}
	for a, n := range e.wait {
		for _, p := range n.pending {
			e.Cache().Free(p)
		}
		delete(e.wait, a)
	}
	e.held = 0
	if err := e.close(); err != nil {
		fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
	}
}

// changed is called on the worker when the table has changed; the timer makes it a run of the graph.
func (e *HostNeighbor) changed() {
	e.news.Store(false)
	if !e.over && e.held > 0 {
		e.timer.Set(e.Now())
	}
}

// refresh looks at the interface again after some have changed.
func (e *HostNeighbor) refresh(now uint64) {
	e.seen, e.last, e.bcasts = now, nil, e.bcasts[:0]
	e.iface = e.table.InterfaceByName(e.device(e.link))
	if e.iface == nil || !e.iface.Up {
		e.iface = nil
		return
	}
	for _, p := range e.iface.Prefixes {
		if a := p.Addr(); a.Is4() && p.Bits() < 31 {
			b := a.As4()
			v := binary.BigEndian.Uint32(b[:]) | (1<<(32-p.Bits()) - 1)
			binary.BigEndian.PutUint32(b[:], v)
			e.bcasts = append(e.bcasts, netip.AddrFrom4(b))
		}
	}
}

// Push implements click.Pusher.
func (e *HostNeighbor) Push(_ int, b *packet.Batch) {
	if now := e.table.LinkChanges(); now != e.seen {
		e.refresh(now)
	}
	b.Keep(func(p *packet.Packet) bool {
		mac, ok := e.find(p)
		return ok && e.wrap(p, mac)
	})
	e.Out(0).Push(b)
}

func (e *HostNeighbor) drop(p *packet.Packet, why int) {
	e.counts[why]++
	e.DropOne(p)
}

// find returns the address to send p to, or takes p.
func (e *HostNeighbor) find(p *packet.Packet) (mac [6]byte, ok bool) {
	a := p.Anno.Dst
	if !a.IsValid() || a.IsUnspecified() {
		e.drop(p, nbNoAddr)
		return mac, false
	}
	if e.iface == nil {
		e.drop(p, nbDown)
		return mac, false
	}
	n := e.last
	if n == nil || n.Addr != a {
		if mac, ok = e.many(a); ok {
			return mac, true
		}
		n = e.table.Neighbor(e.iface.Index, a)
	}
	if n != nil {
		if mac, ok = n.HWAddr(); ok {
			e.last = n
			n.Use()
			if e.held == 0 || e.wait[a] == nil {
				return mac, true
			}
			// Packets that came before are still held; the order is kept.
			e.send(a, mac)
			return mac, true
		}
		e.last = nil // the kernel may have made another entry
	}
	e.hold(a, p)
	return mac, false
}

// many returns the Ethernet address of a multicast or broadcast address.
func (e *HostNeighbor) many(a netip.Addr) (mac [6]byte, ok bool) {
	if a.Is4() {
		k := a.As4()
		if k[0]>>4 == 14 { // RFC 1112 section 6.4
			return [6]byte{1, 0, 0x5e, k[1] & 0x7f, k[2], k[3]}, true
		}
		all := k == [4]byte{255, 255, 255, 255}
		for _, b := range e.bcasts {
			all = all || a == b
		}
		return [6]byte{255, 255, 255, 255, 255, 255}, all
	}
	if k := a.As16(); k[0] == 0xff { // RFC 2464 section 7
		return [6]byte{0x33, 0x33, k[12], k[13], k[14], k[15]}, true
	}
	return mac, false
}

// wrap puts the header before p, or drops it.
func (e *HostNeighbor) wrap(p *packet.Packet, mac [6]byte) bool {
	typ := uint16(demux.EtherTypeIPv4)
	if d := p.Data(); len(d) > 0 && d[0]>>4 == 6 {
		typ = demux.EtherTypeIPv6
	}
	if !e.Cache().Unshare(p) || !demux.PushEther(p, mac, e.iface.HWAddr, typ) {
		e.drop(p, nbNoMemory)
		return false
	}
	return true
}

// hold keeps p until the kernel has found a.
func (e *HostNeighbor) hold(a netip.Addr, p *packet.Packet) {
	n := e.wait[a]
	if n == nil {
		if e.held >= e.capacity {
			e.drop(p, nbFull)
			return
		}
		n = &waiting{}
		e.wait[a] = n
		e.ask(a, n)
	} else if e.held >= e.capacity || len(n.pending) >= e.perEntry {
		e.drop(n.pending[0], nbFull) // the oldest is the least useful
		n.pending = append(n.pending[:0], n.pending[1:]...)
		e.held--
	}
	n.pending = append(n.pending, p)
	e.held++
}

func (e *HostNeighbor) ask(a netip.Addr, n *waiting) {
	n.tries++
	n.asked = e.Now()
	if k := e.table.Neighbor(e.iface.Index, a); k != nil {
		n.fails = k.Failures()
	}
	e.table.Resolve(e.iface.Index, a)
	if !e.timer.Pending() {
		e.timer.SetAfter(askPause)
	}
}

// tick looks at what waits: because the table has changed, or because it is time to ask again.
func (e *HostNeighbor) tick() {
	if now := e.table.LinkChanges(); now != e.seen {
		e.refresh(now)
	}
	addrs := make([]netip.Addr, 0, len(e.wait))
	for a := range e.wait {
		addrs = append(addrs, a)
	}
	sort.Slice(addrs, func(i, j int) bool { return addrs[i].Less(addrs[j]) }) // not the map's order
	now := e.Now()
	for _, a := range addrs {
		n := e.wait[a]
		if n == nil { // what the graph has done meanwhile
			continue
		}
		if e.iface == nil {
			e.fail(a, nbDown)
			continue
		}
		k := e.table.Neighbor(e.iface.Index, a)
		if k != nil {
			if mac, ok := k.HWAddr(); ok {
				k.Use()
				e.send(a, mac)
				continue
			}
		}
		switch {
		case k != nil && k.State() == host.Failed && k.Failures() != n.fails:
			e.fail(a, nbNoAnswer)
		case now.Sub(n.asked) < askPause:
		case n.tries < maxAsks:
			e.ask(a, n)
		default:
			e.fail(a, nbNoAnswer)
		}
	}
	if len(e.wait) > 0 && !e.timer.Pending() {
		e.timer.SetAfter(askPause)
	}
}

// take ends waiting for an address and puts its packets into b, of which it may push some.
func (e *HostNeighbor) take(a netip.Addr) []*packet.Packet {
	n := e.wait[a]
	delete(e.wait, a)
	e.held -= len(n.pending)
	return n.pending
}

// send sends what waits for an address.
func (e *HostNeighbor) send(a netip.Addr, mac [6]byte) {
	b := e.Thread().Scratch()
	for _, p := range e.take(a) {
		if !e.wrap(p, mac) {
			continue
		}
		if b.Room() == 0 {
			e.Out(0).Push(b)
		}
		b.Append(p)
	}
	e.Out(0).Push(b)
	e.Thread().Release(b)
}

// fail gives up what waits for an address.
func (e *HostNeighbor) fail(a netip.Addr, why int) {
	for _, p := range e.take(a) {
		e.counts[why]++
		e.ForwardOne(1, p)
	}
}

// AddHandlers implements click.HandlerAdder.
func (e *HostNeighbor) AddHandlers(h *click.Handlers) {
	h.Read("length", func() string { return strconv.Itoa(e.held) })
	h.Read("drop_details", func() string { return details(e.counts[:], nbNames[:]) })
	h.Read("table", func() string {
		var b strings.Builder
		i := e.table.InterfaceByName(e.device(e.link))
		if i == nil {
			return ""
		}
		e.table.Neighbors(func(n *host.Neighbor) bool {
			if n.Ifindex != i.Index {
				return true
			}
			m, ok := n.HWAddr()
			text := "?"
			if ok {
				text = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
			}
			fmt.Fprintf(&b, "%v\t%s\t%v\n", n.Addr, text, n.State())
			return true
		})
		return b.String()
	})
}
