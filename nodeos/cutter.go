package nodeos

import (
	"time"

	"github.com/janos-os/janos/demux"
)

// Cutter is a link that can do cut-through channels by itself, below the node: in the kernel, or in hardware. What it does must be
// what the channel does in user space, byte for byte.
type Cutter interface {
	// Cut takes over the packets of an in-channel that the link has claims for. A link that cannot do what is asked, or not now, refuses
	// with the reason as a short sentence, and the channel stays in user space.
	Cut(c Cut) (CutEntry, error)
}

// CutEntry is a cut-through channel that a link does by itself. The node calls Change and Close one at a time.
type CutEntry interface {
	// Change makes the packets leave otherwise from now on: each is done as before or as c says, none is lost. Where it is
	// refused the old way stays.
	Change(c Cut) error

	// Stats counts since the entry was made. Closed entries keep their counters.
	Stats() CutStats

	// Close gives the packets back to user space.
	Close()
}

// Cut is what becomes of the packets of an in-channel: what is before and behind the payload of its top protocol is cut
// off, and the headers that are said here are put in front.
type Cut struct {
	Chan *InChan
	Out  Link // where they leave

	Whole     bool     // whole frames leave as they came: there are no headers, and nothing below applies but the rate
	Typed     bool     // the payload follows its Ethernet type in the frame
	Transport bool     // the payload has in it the transport header, if any, of the packet that the frame carries
	Dst, Src  [6]byte  // of the Ethernet header
	VLAN      []uint16 // its tags, as OutChanSpec.VLAN has them
	KeepType  bool     // the Ethernet type is that which the payload follows
	EtherType uint16   // otherwise
	IP        *demux.IPHeader
	UDP       bool // with no checksum
	SrcPort   uint16
	DstPort   uint16
	DecTTL    bool

	Most    int           // bytes of payload that may leave; longer ones are dropped
	BitRate uint64        // as CutChanSpec has it
	Burst   time.Duration // as CutChanSpec has it, and at least two of the longest frames
}

// CutStats are a cut-through channel's counters since it was made.
type CutStats struct {
	Packets uint64 `json:"packets"` // forwarded
	Bytes   uint64 `json:"bytes"`   // of them, without the headers that were written
	Kernel  uint64 `json:"kernel"`  // of Packets, those that the kernel forwarded by itself
	Up      uint64 `json:"up"`      // packets that the kernel left to user space, each for what is in it
	TooBig  uint64 `json:"too_big"` // dropped: longer than the out-link's MTU allows
	TTL     uint64 `json:"ttl"`     // dropped: no hop left
	Rate    uint64 `json:"rate"`    // dropped: faster than the bit rate
	Invalid uint64 `json:"invalid"` // dropped: no IP packet where one is wanted, no address, no room for the headers
	Gone    uint64 `json:"gone"`    // dropped: the out-link is closed
	Full    uint64 `json:"full"`    // dropped: the in-channel was full
	Limited uint64 `json:"limited"` // dropped: faster than the in-channel's packet rate
	Poor    uint64 `json:"poor"`    // dropped: the domain's account refused the frame
}

// Add adds the counters of b to those of a.
func (a *CutStats) Add(b CutStats) {
	a.Packets += b.Packets
	a.Bytes += b.Bytes
	a.Kernel += b.Kernel
	a.Up += b.Up
	a.TooBig += b.TooBig
	a.TTL += b.TTL
	a.Rate += b.Rate
	a.Invalid += b.Invalid
	a.Gone += b.Gone
	a.Full += b.Full
	a.Limited += b.Limited
	a.Poor += b.Poor
}
