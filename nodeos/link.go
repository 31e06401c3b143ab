package nodeos

import (
	"net/netip"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// Link is a network interface, or what stands for one, as a driver (package channels/...)
// offers it to a node. Links carry whole frames of their base layer; channels stand on them.
//
// A link belongs to one worker, unless it is [Shared]: the methods of Port are called by that
// worker alone; Claim and Close come from the control side while the worker runs, and the others are
// safe for concurrent use.
type Link interface {
	// Info describes the link. It does not change, but for the addresses.
	Info() LinkInfo

	Port

	// Claim replaces, at once, what the channels on the link want: their packets are kept from the
	// host's own stack, and everything else is left to it. A driver without a host
	// stack beside it has nothing to do.
	Claim(c Claims) error

	// Stats returns the link's counters.
	Stats() LinkStats

	// Close gives everything back that the link took from the host. The worker must have detached it.
	Close() error
}

// Port is the part of a link that one worker runs.
type Port interface {
	// Attach prepares the link to work on w. The link registers its descriptors
	// with w.NewFD and wakes rx whenever frames may have come.
	Attach(w *Worker, rx *Task) error

	// Receive appends received frames, owned by packet.Node, to b until b is full or none are
	// left, and reports whether there may be more. It never blocks. Anno.Time, Kind and VLAN
	// are set; VLAN tags that the kernel took out are put back; the packet begins at
	// the base layer.
	Receive(c *packet.Cache, b *packet.Batch) (more bool)

	// Send takes all packets of b, each a complete frame of the base layer, and leaves b empty. What
	// cannot be sent is freed and counted in Stats. It never blocks. A base of UDP takes
	// the destination from Anno.Dst and Anno.DstPort.
	Send(c *packet.Cache, b *packet.Batch)

	// Flush starts what Send has put off. The worker calls it at the end of each turn.
	Flush(c *packet.Cache)

	// Detach undoes Attach; frames that are still with the kernel are returned to the pool.
	Detach(c *packet.Cache)
}

// Shared is a link that several workers run. Its frames are divided among its ports, those of a flow to one of them
// as long as the ports do not change, so that the order within a flow is kept. What a worker sends leaves by its own port.
type Shared interface {
	Link

	// Ports returns the ports in the order of LinkSpec.Workers, as many as those. The node calls their methods,
	// and none of the link's own Port. It does not change.
	Ports() []Port
}

// LinkInfo describes a link.
type LinkInfo struct {
	Name     string         // as protocol strings name it, such as eth0
	Driver   string         // such as packet, mem, udp
	Number   uint16         // from 1, unique on the node
	Base     demux.Layer    // what a frame begins with
	MTU      int            // bytes of the layer above Ethernet
	HWAddr   [6]byte        // zero where Base is not Ethernet
	Prefixes []netip.Prefix // own addresses with their prefix lengths
	Notes    []string       // what was degraded at opening, and why
	OwnOnly  bool           // frames for other hardware addresses are left out
}

// Claims is what the channels on a link want of it. A program shares what did not change with the one before it, so that a
// driver can tell what is new.
type Claims struct {
	Program *demux.Program // whose packets are claimed; the IDs of its rules are the slots of channels; never nil
	Chans   *Slots         // the channels of those slots, beside those on other links
}

// LinkStats are a link's counters since it was opened.
type LinkStats struct {
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	RxDrops   uint64 `json:"rx_drops"` // the ring was full, or the pool was empty
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxDrops   uint64 `json:"tx_drops"`
	Unclaimed uint64 `json:"unclaimed"` // received, no channel's; the host's stack has them
}

// LinkSpec says which link to open, with which driver.
type LinkSpec struct {
	Name    string            // the link's name in protocol strings
	Driver  string            // "packet", "mem", "udp"; empty: the first of the degradation order that works
	Device  string            // the host's interface, where that has another name; udp: local address
	Worker  int               // the worker to run it
	Workers []int             // several workers to share it, each by a port of its own, instead of Worker; drivers packet and xdp
	Ring    int               // receive ring in frames, of each port; 0: the driver's default
	Opts    map[string]string // what only one driver knows; an unknown name is an error
}

// OpenFunc makes a link; drivers register one.
type OpenFunc func(n *Node, number uint16, spec LinkSpec) (Link, error)
