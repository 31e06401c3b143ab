package host

import (
	"net/netip"
	"sync/atomic"

	"github.com/janos-os/janos/internal/lpm"
)

// Neighbor is what the kernel knows about a machine on a link. Its methods are safe for concurrent use; the object stays the
// same while the kernel has an entry.
type Neighbor struct {
	Addr    netip.Addr // without zone
	Ifindex int

	word  atomic.Uint64 // state in the upper 16 bits, hardware address below
	used  atomic.Bool
	fails atomic.Uint32
	seen  uint32 // the writer's
}

// NeighborState is the kernel's, a bit as in rtnetlink(7).
type NeighborState uint16

// The states of neighbours.
const (
	Incomplete NeighborState = 1 << iota
	Reachable
	Stale
	Delay
	Probe
	Failed
	NoARP
	Permanent
)

// String returns the word that ip neigh uses.
func (s NeighborState) String() string {
	for i, w := range [...]string{"incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"} {
		if s == 1<<i {
			return w
		}
	}
	return "none"
}

// usable are the states in which the hardware address holds.
const usable = Reachable | Stale | Delay | Probe | NoARP | Permanent

// HWAddr returns the hardware address; ok is false while the kernel does not know it, or no longer.
func (n *Neighbor) HWAddr() (mac [6]byte, ok bool) {
	w := n.word.Load()
	for i := range mac {
		mac[i] = byte(w >> (40 - 8*i))
	}
	return mac, NeighborState(w>>48)&usable != 0
}

// State returns the kernel's state; 0 once the kernel has forgotten the entry.
func (n *Neighbor) State() NeighborState { return NeighborState(n.word.Load() >> 48) }

// Failures returns how often the kernel has given up looking for it since the table knows it.
func (n *Neighbor) Failures() uint32 { return n.fails.Load() }

// Use says that packets are sent to the neighbour. A stale entry is confirmed within seconds: the table makes the kernel probe it. It
// costs a load where it was said before.
func (n *Neighbor) Use() {
	if !n.used.Load() {
		n.used.Store(true)
	}
}

func (n *Neighbor) set(mac [6]byte, s NeighborState) (changed bool) {
	w := uint64(s) << 48
	for i, b := range mac {
		w |= uint64(b) << (40 - 8*i)
	}
	return n.word.Swap(w) != w
}

// neighbors are those on one interface.
type neighbors struct {
	table lpm.Table[*Neighbor]
}

// Neighbor returns what is known of an address on an interface, or nil. Zones are ignored. It takes no lock.
func (t *Table) Neighbor(ifindex int, a netip.Addr) *Neighbor {
	if i := t.Interface(ifindex); i != nil {
		return i.neighbors.table.Lookup(a)
	}
	return nil
}

// SetNeighbor enters a neighbour; state 0 takes it out. On an interface that is not there it does nothing.
func (t *Table) SetNeighbor(ifindex int, a netip.Addr, mac [6]byte, state NeighborState) {
	t.mu.Lock()
	defer t.settle()
	t.setNeighbor(ifindex, a, mac, state)
}

func (t *Table) setNeighbor(ifindex int, a netip.Addr, mac [6]byte, state NeighborState) {
	i := t.Interface(ifindex)
	if a = a.WithZone(""); i == nil || !a.IsValid() {
		return
	}
	p := netip.PrefixFrom(a, a.BitLen())
	n := i.neighbors.table.Get(p)
	if state == 0 {
		if n != nil {
			n.set([6]byte{}, 0)
			i.neighbors.table.Remove(p)
			t.status.Neighbors--
			t.changed()
		}
		return
	}
	if n != nil && state == Failed { // once more is news too
		n.fails.Add(1)
		t.changed()
	}
	if n == nil {
		n = &Neighbor{Addr: a, Ifindex: ifindex}
		if state == Failed {
			n.fails.Add(1)
		}
		n.set(mac, state)
		i.neighbors.table.Set(p, n)
		t.status.Neighbors++
		t.changed()
	} else if n.set(mac, state) {
		t.changed()
	}
	n.seen = t.dump
}

// Resolve asks the host to find a neighbour, which it does by ARP or neighbour discovery; the answer comes as a change. Each address is asked
// for at most once a second, and what is beyond askRate in all is not. It does not wait. Where nobody
// follows, it does nothing.
func (t *Table) Resolve(ifindex int, a netip.Addr) {
	if t.asks == nil || !a.IsValid() {
		return
	}
	select {
	case t.asks <- ask{ifindex, a.WithZone("")}:
		t.rouse()
	default:
	}
}

// ask is a wish for a neighbour.
type ask struct {
	ifindex int
	addr    netip.Addr
}

// askRate bounds the requests for neighbours per second, of new ones and of those to confirm.
const askRate = 1000
