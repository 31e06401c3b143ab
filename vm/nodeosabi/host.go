package nodeosabi

import (
	"net/netip"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/resctl"
)

// Domain is what a host offers of a domain. Its methods may be called from any goroutine, and from several at once.
type Domain interface {
	// Path returns the names from the root, joined with '/'.
	Path() string

	// Account returns what the domain is charged to.
	Account() *resctl.Account

	// New makes a domain below. dead is called once when it is dead, from any goroutine; it does not block.
	New(spec DomainSpec, dead func()) (Domain, error)

	// Set changes share and limits.
	Set(spec DomainSpec) error

	// State returns where the domain is in its life, and why it ends.
	State() (s State, reason error)

	// End ends the domain and what is below it, and does not wait. It is idempotent.
	End(reason error)

	// Host is that of nodeos.Domain: it keeps the domain from being dead until release, and end is called when it begins to end.
	Host(end func(reason error)) (release func(), err error)

	// In makes an in-channel, whose packets go to sink.
	In(p *Port, spec *InSpec, sink Sink) (Channel, error)

	// Out makes an out-channel, whose packets come from q.
	Out(p *Port, spec *OutSpec, q *Queue) (Channel, error)
}

// Channel is the host's side of a channel.
type Channel interface {
	// Pump has the host look: at the queue of an out-channel, or at the sink of an in-channel, which has room again. It may be called from any goroutine, and does
	// not block.
	Pump()

	// Stats returns the counters.
	Stats() Counters

	// Close ends the channel. It may be called twice.
	Close()
}

// Sink is where packets of an in-channel go. Its methods belong to one goroutine of the host's at a time.
type Sink interface {
	// Begin is called before packets are put, and when Pump was called. by is who pays, in the domain's turn. It reports whether there is room.
	Begin(by *resctl.Meter) bool

	// Put takes a copy of a packet. It returns false, and the packet stays with the host, if there is no room; fuel is what an evaluation used.
	Put(by *resctl.Meter, data []byte, m *Meta) (ok bool, fuel uint64)
}

// State is where a domain is in its life; the numbers are those of nodeos.DomainState.
type State uint32

// The states.
const (
	Active      State = iota // what is in it runs
	Terminating              // nothing of it starts to run any more
	Dead                     // nothing of it is left
)

// DomainSpec says what a domain should be.
type DomainSpec struct {
	Name  string
	Share resctl.Share
	Limit resctl.Amounts
}

// Port is the permission to open channels. It does not change.
type Port struct {
	Protocol string         // of channels, such as eth0/ether/ip/udp; a host that is not a node looks at the topmost protocol only
	Address  string         // local address of the topmost protocol, such as ":3322"; empty: any
	Key      demux.Key      // that packets of in-channels match, besides their own keys
	AnyPort  bool           // guests may choose UDP ports, where Address has none
	To       []netip.Prefix // where may be sent; nil: anywhere
	NoIn     bool           // out-channels only
	NoOut    bool           // in-channels only

	// Neighbour finds the hardware address of a neighbour that a guest did not give, on links that need one. It is called on workers and must not block. Nil:
	// guests give it.
	Neighbour func(netip.Addr) (mac [6]byte, ok bool)
}

// may reports whether packets may be sent to a.
func (p *Port) may(a netip.Addr) bool {
	if p.To == nil {
		return true
	}
	for _, px := range p.To {
		if px.Contains(a) {
			return true
		}
	}
	return false
}

// InSpec says what an in-channel should be.
type InSpec struct {
	Address string // local address, of the port or with the UDP port that the guest chose
	Key     demux.Key
	Quota   int
	Snap    int
	Rate    int
	Burst   int
}

// OutSpec says what an out-channel should be.
type OutSpec struct {
	Source  string // local address
	Remote  Remote // where packets go that do not say
	BitRate uint64
	Quota   int
	Snap    int
}

// Remote is the other end of a packet.
type Remote struct {
	Addr  netip.AddrPort // zero Addr: none
	HW    [6]byte
	HasHW bool
}

// Meta is what is known of a packet beside its bytes.
type Meta struct {
	Length int // of the packet, of which the queue may have kept less
	Link   uint32
	Time   clock.Time
	Remote Remote
}

// Counters are those of a channel.
type Counters struct {
	Packets, Bytes, Full, Limited, Poor, Invalid, Handed uint64
	Held                                                 int
}
