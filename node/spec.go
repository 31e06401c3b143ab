package node

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
)

// Limits of a node file.
const (
	MaxLinks   = 250
	MaxName    = 64
	MaxPrefix  = 256
	MaxBundles = 64
)

// Kind says what a node is for.
type Kind uint8

// The kinds of node.
const (
	Router Kind = iota // forwards for others
	Host               // an end system: capsules end or begin here
)

// String returns the word that node files use.
func (k Kind) String() string {
	if k == Host {
		return "host"
	}
	return "router"
}

// Spec says what a node should be.
type Spec struct {
	Name    string
	Kind    Kind
	Addr    ants.NodeAddr // logical address
	Workers int           // 0: one
	Frames  int           // of packet memory; 0: packet.DefaultFrames
	Seed    uint64        // of all randomness
	Control string        // path of the control socket; empty: none
	Events  string        // path of the event log; empty: kept in memory only
	Code    string        // directory that keeps compiled guest code, see package vm/store; empty: none
	Links   []Link
	Graph   string         // Click configuration; empty: GraphText
	Limits  resctl.Amounts // of the whole node
	Share   resctl.Share   // weight of the node's own work, its links, beside the domains; 0: resctl.DefaultShare
	Jails   []Jail
	ANTS    ANTS
	Routing Routing
	Host    HostTables

	GraphDomain Attrs    // of the domain that Graph runs in
	Pools       []Pool   // memory pools, parents before their parts
	Domains     []Domain // with data planes of their own

	file       string   // for errors and relative paths
	graphAt    errs.Pos // where Graph stands in file, with Line 0 if it is not from a file
	graphBlock bool     // as a literal block, every line indented as the first

	protocolsAt []errs.Pos // where ANTS.Protocols stand in file
}

// Link is an interface of the node.
type Link struct {
	Name    string
	Driver  string            // empty: the first of the degradation order that works
	Device  string            // empty: Name
	Cost    uint32            // for routing; 0: 10
	Ring    int               // receive ring in frames; 0: the driver's default
	Worker  int               // that runs it, from 0
	Workers []int             // that share it, instead of Worker; drivers packet and xdp
	Peers   []netip.AddrPort  // where neighbours are, on links that are sockets (driver udp)
	Options map[string]string // what only one driver knows
}

// ANTS configures the execution environment for capsules.
type ANTS struct {
	Off       bool
	Port      uint16         // UDP; 0: ants.UDPPort
	Quota     int            // capsules of a link that may wait for the generated graph; 0: nodeos.DefaultQuota
	Rate      int            // capsules per second of a link that the generated graph takes at most; 0: any number
	Budget    int64          // fuel for one evaluation; 0: the EE's default
	Strikes   int            // faults that end a protocol; 0: the EE's default
	Attrs                    // of the EE with all protocols; it has no Files and no Rights of its own
	Protocol  resctl.Amounts // of each protocol; 0: the EE's default
	Each      resctl.Share   // weight of each protocol
	Protocols []string       // bundles to register at start, relative to the file
	Jail      string         // where protocols run that come from the network; empty: in the node's process
}

// Routing configures neighbours and routes.
type Routing struct {
	Off      bool
	Hello    time.Duration  // 0: routing's default
	Dead     int            // missed hellos; 0: routing's default
	Prefixes []netip.Prefix // announced beside those of the links
	Kernel   bool           // enter the computed routes into the host's table
}

// HostTables says what the node follows of the host: addresses, routes and neighbours, where it has links on the host's interfaces.
type HostTables struct {
	Off   bool
	Table uint32 // the kernel's table of routes, such as that of a VRF; 0: local and main
}

// Check reports everything that is wrong with s, in one error.
func (s *Spec) Check() error {
	var l errs.List
	s.check(func(_, format string, args ...any) { l.Add(errs.New(errs.Invalid, "node: "+format, args...)) })
	return l.Err()
}

// check calls bad with the key in the file and a text for everything that is wrong.
func (s *Spec) check(bad func(key, format string, args ...any)) {
	if s.Name == "" || len(s.Name) > MaxName || strings.ContainsAny(s.Name, "/ \t\n") {
		bad("node", "name %.80q: want 1 to %d characters without blanks and slashes", s.Name, MaxName)
	}
	if s.Addr == 0 && (!s.ANTS.Off || !s.Routing.Off) {
		bad("address", "no logical address; give one such as 10.255.0.1, unique in the network")
	}
	if len(s.Links) > MaxLinks {
		bad("links", "%d links, want at most %d", len(s.Links), MaxLinks)
	}
	seen := make(map[string]bool)
	for i, l := range s.Links {
		key := fmt.Sprintf("links[%d]", i)
		if l.Name == "" || l.Name == "if" || strings.ContainsAny(l.Name, "/ \t\n") {
			bad(key, "link name %.40q: want a name without blanks and slashes, other than \"if\"", l.Name)
		}
		if seen[l.Name] {
			bad(key, "link %s is there twice; names must differ", l.Name)
		}
		seen[l.Name] = true
	}
	if s.Graph != "" && len(s.Graph) > 1<<20 {
		bad("graph", "the graph has %d bytes, want at most a MiB", len(s.Graph))
	}
	s.checkJails(bad)
	s.checkDomains(bad)
}

// GraphText returns the Click configuration of the node's data plane: the one it was given, or the one
// generated from its links and EEs.
func (s *Spec) GraphText() string {
	if s.Graph != "" {
		return s.Graph
	}
	var b strings.Builder
	fmt.Fprintf(&b, "// The data plane of %s: capsules branch off to the EE, everything else is the host's.\n", s.Name)
	if s.ANTS.Off || len(s.Links) == 0 {
		return b.String()
	}
	names := make([]string, len(s.Links))
	for i, l := range s.Links {
		names[i] = l.Name
	}
	fmt.Fprintf(&b, "ants :: ANTS(%s);\n", strings.Join(names, ", "))
	quota := ""
	if s.ANTS.Quota != 0 {
		quota = fmt.Sprintf(", QUOTA %d", s.ANTS.Quota)
	}
	if s.ANTS.Rate != 0 {
		quota += fmt.Sprintf(", RATE %d", s.ANTS.Rate)
	}
	for i, l := range s.Links {
		if l.socket() { // whose address is that of all that it carries
			fmt.Fprintf(&b, "FromChannel(%s/udp, KEY %s%s) -> [%d] ants [%d] -> ToChannel(%s/udp);\n", l.Name, ants.Key(), quota, i, i, l.Name)
			continue
		}
		p := l.Name + "/ether/ip/udp"
		fmt.Fprintf(&b, "FromChannel(%s, ADDRESS :%d, KEY %s%s) -> [%d] ants [%d] -> ToChannel(%s, ADDRESS :%d);\n", p, s.port(), ants.Key(), quota, i, i, p, s.port())
	}
	return b.String()
}

func (s *Spec) port() uint16 {
	if s.ANTS.Port == 0 {
		return ants.UDPPort
	}
	return s.ANTS.Port
}

// socket reports whether the link is a UDP socket: by its driver, or because its device is an address, as no
// interface's name is.
func (l *Link) socket() bool {
	if l.Driver == "" {
		_, err := netip.ParseAddrPort(l.Device)
		return err == nil
	}
	return l.Driver == "udp"
}

// device returns the name of the interface that the link is on.
func (l *Link) device() string {
	if l.Device == "" {
		return l.Name
	}
	return l.Device
}

// routing returns the link as package routing wants it.
func (l *Link) routing() routing.LinkSpec {
	return routing.LinkSpec{Name: l.Name, Metric: uint16(l.Cost), Peers: l.Peers}
}
