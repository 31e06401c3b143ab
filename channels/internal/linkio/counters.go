package linkio

import (
	"sync/atomic"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
)

// Counters are those of nodeos.LinkStats. The worker adds, anybody reads.
type Counters struct {
	RxPackets, RxBytes, RxDrops atomic.Uint64
	TxPackets, TxBytes, TxDrops atomic.Uint64
}

// Stats returns the counters as a link reports them.
func (c *Counters) Stats() nodeos.LinkStats {
	return nodeos.LinkStats{
		RxPackets: c.RxPackets.Load(), RxBytes: c.RxBytes.Load(), RxDrops: c.RxDrops.Load(),
		TxPackets: c.TxPackets.Load(), TxBytes: c.TxBytes.Load(), TxDrops: c.TxDrops.Load(),
	}
}

// AddTo adds the counters to s, for links that have several.
func (c *Counters) AddTo(s *nodeos.LinkStats) {
	n := c.Stats()
	s.RxPackets += n.RxPackets
	s.RxBytes += n.RxBytes
	s.RxDrops += n.RxDrops
	s.TxPackets += n.TxPackets
	s.TxBytes += n.TxBytes
	s.TxDrops += n.TxDrops
}

// Received counts a packet that came in.
func (c *Counters) Received(bytes int) { c.ReceivedAll(1, bytes) }

// ReceivedAll counts packets that came in, with their bytes in all.
func (c *Counters) ReceivedAll(packets, bytes int) {
	c.RxPackets.Add(uint64(packets))
	c.RxBytes.Add(uint64(bytes))
}

const maxRing = 1 << 16

// Ring returns the length of the receive ring that spec asks for, def if it leaves that open. The unit, a plural, is what the ring
// holds.
func Ring(spec *nodeos.LinkSpec, def int, unit string) (int, error) {
	if spec.Ring == 0 {
		return def, nil
	}
	if spec.Ring < 1 || spec.Ring > maxRing {
		return 0, errs.New(errs.Invalid, "link %s: ring of %d %s, want 1 to %d", spec.Name, spec.Ring, unit, maxRing)
	}
	return spec.Ring, nil
}

// NoteVLAN sets the annotation for the outermost tag of an Ethernet frame, which has a whole Ethernet header, if it has a tag.
func NoteVLAN(p *packet.Packet) {
	d := p.Data()
	if t := uint16(d[12])<<8 | uint16(d[13]); (t == demux.EtherTypeVLAN || t == demux.EtherTypeSVLAN) && len(d) >= demux.EtherLen+demux.VLANLen {
		p.Anno.VLAN, p.Anno.HasVLAN = uint16(d[14])<<8|uint16(d[15]), true
	}
}
