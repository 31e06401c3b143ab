package linkio

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/packet"
)

// destinations brings the packets of an outbox into an order in which those to one address follow each other, as they
// came. Addresses are in the order of their first packets.
type destinations struct {
	to     [sys.MaxMsgs]netip.AddrPort // after sort, of each packet
	chains [sys.MaxMsgs]chain
	n      int // chains
	last   int // the chain of the packet before

	next    [sys.MaxMsgs]uint8          // the packet after each one in its chain
	packets [sys.MaxMsgs]*packet.Packet // as they came

	// slots finds chains by address: open addressing, 0 is free, others are a chain's number plus 1.
	slots [2 * sys.MaxMsgs]uint8
}

// chain is the packets to one address.
type chain struct {
	to                  netip.AddrPort
	slot                int
	first, final, count uint8
}

// add takes p, number i, to an address.
func (d *destinations) add(i int, p *packet.Packet, to netip.AddrPort) {
	d.packets[i] = p
	if d.n == 0 || d.chains[d.last].to != to {
		slot := hash(to)
		for ; d.slots[slot] != 0; slot = (slot + 1) % len(d.slots) {
			if d.chains[d.slots[slot]-1].to == to {
				break
			}
		}
		if d.slots[slot] == 0 {
			d.chains[d.n] = chain{to: to, slot: slot, first: uint8(i), final: uint8(i), count: 1}
			d.last = d.n
			d.n++
			d.slots[slot] = uint8(d.n)
			return
		}
		d.last = int(d.slots[slot]) - 1
	}
	c := &d.chains[d.last]
	d.next[c.final] = uint8(i)
	c.final = uint8(i)
	c.count++
}

// sort puts the packets and their addresses in order and forgets them.
func (d *destinations) sort(packets *[sys.MaxMsgs]*packet.Packet) {
	k := 0
	for i := range d.chains[:d.n] {
		c := &d.chains[i]
		d.slots[c.slot] = 0
		at := c.first
		for range c.count {
			packets[k], d.to[k] = d.packets[at], c.to
			d.packets[at] = nil
			at = d.next[at]
			k++
		}
	}
	d.n, d.last = 0, 0
}

// hash returns the slot where the search for an address begins. Whoever finds addresses that share one makes a search look at no more
// than what an outbox holds.
func hash(to netip.AddrPort) int {
	a := to.Addr().As16()
	h := binary.NativeEndian.Uint64(a[:8]) ^ binary.NativeEndian.Uint64(a[8:])*0x9e3779b97f4a7c15 ^ uint64(to.Port())<<32
	return int(h * 0x9e3779b97f4a7c15 >> 57) // 7 bits: the slots
}
