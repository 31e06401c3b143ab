package hostip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "LinuxIPLookup", Ports: "1/-", Processing: "h", New: func() click.Element { return &LinuxIPLookup{} },
		Doc: click.Doc{
			Group: "device", Title: "looks up the destination annotation in the host's routing table",
			Text: "IPv4 and IPv6, tables local and main, as the kernel has them now: routes that ip route, FRR or BIRD enter hold within milliseconds. The packet goes to the output whose number is that of " +
				"the route's interface among the arguments; a gateway replaces the destination annotation, which may be an IPv6 address for an IPv4 packet. Of several next hops one is chosen by the flow (the flow " +
				"annotation, or addresses, protocol and ports), in proportion to their weights.\n\n" +
				"After the outputs of the interfaces there is one for packets that cannot be routed: no route, route unreachable or prohibited, all next hops down, interface not among the arguments; " +
				"and then one for packets to the host itself. Where they are not connected those packets are dropped, as are always those with a route of type blackhole.",
			Args: []string{"<DEVNAME>...: Links of the node, or interfaces of the host, in the order of the outputs."},
			Handlers: []string{
				"lookup (r): The output, the gateway if there is one, and the kind of route, for the address given as parameter; -1 without a route.", "table (r): The host's routes, at most 1000.",
				"status (r): What the table of the host holds and what has happened to it.", "drop_details (r): Packets that were not routed to an interface, by cause.",
			},
			Example: "FromChannel(eth0/ether, 0x0800) -> CheckIPHeader -> GetIPAddress(16) -> rt :: LinuxIPLookup(eth0, eth1); rt[0] -> HostNeighbor(eth0) -> ToDevice(eth0); rt[1] -> HostNeighbor(eth1) -> ToDevice(eth1);",
			See:     []string{"HostNeighbor", "RadixIPLookup", "GetIPAddress"},
		},
	})
}

// Causes for which packets do not go to an interface's output.
const (
	noDst = iota
	noRoute
	noReach
	noWay
	noOutput
	blackholed
	forHost
	causes
)

var causeNames = [causes]string{"no destination address", "no route", "unreachable or prohibited", "next hops down", "interface without output", "blackhole", "for the host itself"}

// LinuxIPLookup routes by the kernel's table.
type LinuxIPLookup struct {
	click.Base
	tables
	names  []string
	seen   uint64         // LinkChanges when outs was made
	outs   map[int]uint16 // by index of the interface
	last   int            // interface of the packet before
	out    uint16
	counts [causes]uint64
}

// Configure implements click.Element.
func (e *LinuxIPLookup) Configure(a *click.Args) {
	for _, s := range a.List() {
		var n string
		if err := click.String(&n)(s, a); err != nil || n == "" {
			a.Errorf("bad interface '%s'", s)
			continue
		}
		if slices.Contains(e.names, n) {
			a.Errorf("interface %s is there twice", n)
		}
		e.names = append(e.names, n)
	}
	if len(a.List()) == 0 {
		a.Errorf("no interfaces; name those of the outputs, such as LinuxIPLookup(eth0, eth1)")
	}
	if a.Outputs() > len(e.names)+2 && a.OK() {
		a.Errorf("%d outputs, but after those of the %d interfaces there are only one for packets without a way and one for the host's", a.Outputs(), len(e.names))
	}
}

// Initialize implements click.Initializer.
func (e *LinuxIPLookup) Initialize() error {
	if err := e.open(&e.Base); err != nil {
		return err
	}
	e.seen = e.table.LinkChanges() - 1
	return nil
}

// Cleanup implements click.Cleaner.
func (e *LinuxIPLookup) Cleanup() {
	if err := e.close(); err != nil {
		fmt.Fprintf(e.Output(), "%s: %v\n", e.Name(), err)
	}
}

// refresh finds the interfaces again after some have changed.
func (e *LinuxIPLookup) refresh(now uint64) {
	e.seen, e.last = now, 0
	e.outs = make(map[int]uint16, len(e.names))
	for i, n := range e.names {
		if f := e.table.InterfaceByName(e.device(n)); f != nil {
			e.outs[f.Index] = uint16(i)
		}
	}
}

// nowhere is a port that no element has.
const nowhere = 1<<16 - 1

// Push implements click.Pusher.
func (e *LinuxIPLookup) Push(_ int, b *packet.Batch) {
	if now := e.table.LinkChanges(); now != e.seen {
		e.refresh(now)
	}
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		port, hop, cause := e.way(p)
		if hop == nil {
			e.counts[cause]++
		} else if hop.Gateway.IsValid() {
			p.Anno.Dst = hop.Gateway
		}
		ports[i] = port
	}
	e.Split(b, &ports)
}

// way decides about p; hop is nil where it does not go to an interface, for the cause.
func (e *LinuxIPLookup) way(p *packet.Packet) (port uint16, hop *host.Hop, cause int) {
	none := uint16(len(e.names))
	if !p.Anno.Dst.IsValid() {
		return none, nil, noDst
	}
	r := e.table.Lookup(p.Anno.Dst)
	if r == nil {
		return none, nil, noRoute
	}
	switch k := r.Kind(); {
	case k == host.Unicast:
	case k == host.Blackhole:
		return nowhere, nil, blackholed
	case k.ForHost():
		return none + 1, nil, forHost
	case k == host.Throw:
		return none, nil, noRoute
	default:
		return none, nil, noReach
	}
	hash := uint32(0)
	if r.Several() {
		hash = flowHash(p)
	}
	if hop = r.Next(hash); hop == nil {
		return none, nil, noWay
	}
	if hop.Ifindex != e.last {
		out, ok := e.outs[hop.Ifindex]
		if !ok {
			return none, nil, noOutput
		}
		e.last, e.out = hop.Ifindex, out
	}
	return e.out, hop, 0
}

// flowHash is the same for all packets of a flow; fragments of a packet have that of their addresses.
func flowHash(p *packet.Packet) uint32 {
	h := p.Anno.Flow
	if d := p.Network(); h == 0 && len(d) >= 20 {
		proto, l4 := d[9], 0
		switch {
		case d[0]>>4 == 4:
			h = binary.BigEndian.Uint64(d[12:])
			if binary.BigEndian.Uint16(d[6:])&0x3fff == 0 {
				l4 = int(d[0]&15) * 4
			}
		case d[0]>>4 == 6 && len(d) >= 40:
			for i := 8; i < 40; i += 8 {
				h = (h ^ binary.BigEndian.Uint64(d[i:])) * 0x9e3779b97f4a7c15
			}
			proto, l4 = d[6], 40
		}
		if (proto == 6 || proto == 17) && l4 > 0 && len(d) >= l4+4 {
			h = (h ^ uint64(binary.BigEndian.Uint32(d[l4:]))) * 0x9e3779b97f4a7c15
		}
		h ^= uint64(proto)
	}
	// The finishing steps of splitmix64, so that all bits matter to the upper ones.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return uint32(h >> 32)
}

// AddHandlers implements click.HandlerAdder.
func (e *LinuxIPLookup) AddHandlers(h *click.Handlers) {
	h.Add(click.Handler{Name: "lookup", Read: func(param string) (string, error) {
		a, err := netip.ParseAddr(strings.TrimSpace(param))
		if err != nil {
			return "", errs.New(errs.Invalid, "expected an IP address, not '%s'", param)
		}
		r := e.table.Lookup(a)
		if r == nil {
			return "-1", nil
		}
		e.refresh(e.table.LinkChanges())
		port := "-1"
		gw := ""
		if r.Kind() == host.Unicast {
			if hop := r.Next(0); hop != nil {
				if out, ok := e.outs[hop.Ifindex]; ok {
					port = strconv.Itoa(int(out))
				}
				if hop.Gateway.IsValid() {
					gw = " " + hop.Gateway.String()
				}
			}
		}
		return port + gw + " " + r.Kind().String(), nil
	}})
	h.Read("table", func() string {
		var b strings.Builder
		n := 0
		e.table.Routes(func(r *host.Route) bool {
			if n++; n > 1000 {
				return false
			}
			fmt.Fprintf(&b, "%v\t%v\tmetric %d", r.Prefix, r.Kind(), r.Metric)
			for _, hop := range e.table.Hops(r) {
				name := strconv.Itoa(hop.Ifindex)
				if i := e.table.Interface(hop.Ifindex); i != nil {
					name = i.Name
				}
				if hop.Gateway.IsValid() {
					fmt.Fprintf(&b, "\tvia %v", hop.Gateway)
				}
				fmt.Fprintf(&b, "\tdev %s", name)
			}
			b.WriteByte('\n')
			return true
		})
		return b.String()
	})
	h.Read("status", func() string {
		s := e.table.Status()
		return fmt.Sprintf("routes4 %d\nroutes6 %d\nneighbors %d\ninterfaces %d\nchanges %d\ndumps %d\noverflows %d\n", s.Routes4, s.Routes6, s.Neighbors, s.Interfaces, s.Changes, s.Dumps, s.Overflows)
	})
	h.Read("drop_details", func() string { return details(e.counts[:], causeNames[:]) })
}

func details(counts []uint64, names []string) string {
	var b strings.Builder
	for i, n := range counts {
		fmt.Fprintf(&b, "%d %s\n", n, names[i])
	}
	return b.String()
}
