package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/sys"
	"github.com/janos-os/janos/lab/wire"
)

// network is the kernel's part of a laboratory: namespaces and the links in them.
//
//	  node a            wires              node b
//	+--------+    +---------------+    +--------+
//	|   eth0 |====| jn3a ---- jn3b|====| eth1   |      ==== pair of virtual links
//	+--------+    +---------------+    +--------+      ---- the wire process
//
// A direct link is one pair between the two nodes.
type network struct {
	plan  *Plan
	nodes []nodeSpace // in the order of the plan
	wires nodeSpace
}

type nodeSpace struct {
	*netns.Namespace
	link *netlink.Handle
}

func (s nodeSpace) close() {
	if s.link != nil {
		s.link.Close()
	}
	if s.Namespace != nil {
		s.Namespace.Close()
	}
}

// spaceNames returns the names of the namespaces of a plan: one per node, then that of the wires.
func spaceNames(p *Plan) []string {
	names := make([]string, 0, len(p.Nodes)+1)
	for _, n := range p.Nodes {
		names = append(names, "jn-"+p.Name+"-"+n.Name)
	}
	return append(names, "jn-"+p.Name+"+wires") // no node can have this name
}

// wirePort returns the name of a link's end in the namespace of the wires.
func wirePort(link, end int) string { return fmt.Sprintf("jn%d%c", link, 'a'+end) }

// build makes namespaces and links. What it made before an error is left for removeSpaces.
func build(p *Plan, dir string, names []string) (*network, error) {
	n := &network{plan: p, nodes: make([]nodeSpace, len(p.Nodes))}
	err := n.build(dir, names)
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *network) build(dir string, names []string) (err error) {
	if n.wires, err = newNodeSpace(dir, names[len(names)-1], false); err != nil {
		return err
	}
	for i := range n.nodes {
		if n.nodes[i], err = newNodeSpace(dir, names[i], n.plan.Nodes[i].Kind == Router); err != nil {
			return err
		}
		if err := n.loopback(i); err != nil {
			return fmt.Errorf("node %s: %w", n.plan.Nodes[i].Name, err)
		}
	}
	for i := range n.plan.Links {
		if err := n.addLink(&n.plan.Links[i]); err != nil {
			return fmt.Errorf("link %s: %w", n.plan.Links[i].Name, err)
		}
	}
	for i := range n.nodes {
		for k := range n.plan.Nodes[i].Interfaces {
			if err := n.configure(i, k); err != nil {
				return fmt.Errorf("node %s: %w", n.plan.Nodes[i].Name, err)
			}
		}
	}
	for i := range n.plan.Links {
		if err := n.settle(&n.plan.Links[i]); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) close() {
	for _, s := range n.nodes {
		s.close()
	}
	n.wires.close()
}

// newNodeSpace makes a namespace and its settings.
func newNodeSpace(dir, name string, forward bool) (nodeSpace, error) {
	ns, err := netns.Create(dir, name)
	if errors.Is(err, os.ErrExist) {
		return nodeSpace{}, errs.New(errs.Exists, "%w; no lab that is known here owns it, remove it with: ip netns del %s", err, name)
	}
	if err != nil {
		return nodeSpace{}, errs.New(errs.NotSupported, "%w", err)
	}
	s := nodeSpace{Namespace: ns}
	fail := func(err error) (nodeSpace, error) { s.close(); return nodeSpace{}, err }
	on := "0"
	if forward {
		on = "1"
	}
	// Before there is any interface, so that "default" is what all of them start with. IPv6 would send router solicitations
	// and multicast reports on links that should be quiet, and redirects would undo what routing decided.
	for _, kv := range [][2]string{
		{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"},
		{"ipv4/ip_forward", on},
		{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/conf/all/send_redirects", "0"}, {"ipv4/conf/default/send_redirects", "0"},
		{"ipv4/conf/all/accept_redirects", "0"}, {"ipv4/conf/default/accept_redirects", "0"},
		{"ipv4/conf/all/arp_announce", "2"},
		{"ipv4/ping_group_range", "0 2147483647"},
	} {
		if err := ns.Sysctl(kv[0], kv[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			if kv[0] == "ipv4/ping_group_range" {
				continue // ids that are not mapped in a user namespace are refused; only a convenience
			}
			return fail(errs.New(errs.NotSupported, "%w", err))
		}
	}
	if s.link, err = ns.Netlink(); err != nil {
		return fail(err)
	}
	return s, nil
}

// loopback brings lo up and gives it the node's address.
func (n *network) loopback(i int) error {
	h := n.nodes[i].link
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipnet(netip.PrefixFrom(n.plan.Nodes[i].Addr, 32))}
	if err := h.AddrAdd(lo, a); err != nil {
		return fmt.Errorf("address %s: %w", a.IPNet, err)
	}
	return h.LinkSetUp(lo)
}

// addLink makes the interfaces of a link, with all ends down.
func (n *network) addLink(l *LinkPlan) error {
	pair := func(at nodeSpace, name string, mac net.HardwareAddr, e End) error {
		there := n.plan.at(e)
		v := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name, MTU: l.MTU, HardwareAddr: mac},
			PeerName:  there.Name, PeerMTU: uint32(l.MTU), PeerHardwareAddr: there.MAC,
			PeerNamespace: netlink.NsFd(n.nodes[e.Node].Fd()),
		}
		if err := at.link.LinkAdd(v); err != nil {
			return errs.New(errs.NotSupported, "virtual link %s - %s: %w", name, there.Name, err)
		}
		if err := at.Do(func() error { return sys.OffloadsOff(name) }); err != nil {
			return err
		}
		return n.nodes[e.Node].Do(func() error { return sys.OffloadsOff(there.Name) })
	}
	if l.Direct {
		here := n.plan.at(l.Ends[0])
		return pair(n.nodes[l.Ends[0].Node], here.Name, here.MAC, l.Ends[1])
	}
	for e, end := range l.Ends {
		name := wirePort(l.Index, e)
		if err := pair(n.wires, name, nil, end); err != nil {
			return err
		}
		if err := setUp(n.wires, name, true); err != nil {
			return err
		}
	}
	return nil
}

// configure brings interface k of node i up, with its address, its neighbour and the routes over it. It can be repeated.
func (n *network) configure(i, k int) error {
	h := n.nodes[i].link
	node := &n.plan.Nodes[i]
	f := &node.Interfaces[k]
	l, err := h.LinkByName(f.Name)
	if err != nil {
		return err
	}
	if err := h.AddrReplace(l, &netlink.Addr{IPNet: ipnet(f.Prefix)}); err != nil {
		return fmt.Errorf("%s: address %s: %w", f.Name, f.Prefix, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	index := l.Attrs().Index
	err = h.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
		IP: f.PeerAddr.AsSlice(), HardwareAddr: f.PeerMAC,
	})
	if err != nil {
		return fmt.Errorf("%s: neighbour %s: %w", f.Name, f.PeerAddr, err)
	}
	for _, r := range node.Routes {
		if r.Interface != k {
			continue
		}
		// Packets that start here carry the node's own address, which is the one that others have routes to.
		err := h.RouteReplace(&netlink.Route{
			LinkIndex: index, Dst: ipnet(r.Dst), Gw: r.Via.AsSlice(), Src: node.Addr.AsSlice(), Protocol: unix.RTPROT_STATIC,
		})
		if err != nil {
			return fmt.Errorf("%s: route to %s: %w", f.Name, r.Dst, err)
		}
	}
	return nil
}

// setLink takes or gives the carrier of a link.
func (n *network) setLink(l *LinkPlan, up bool) error {
	if !l.Direct {
		for e := range 2 {
			if err := setUp(n.wires, wirePort(l.Index, e), up); err != nil {
				return err
			}
		}
		return n.settle(l)
	}
	// Both ends: taking one down takes the carrier of the other, but its owner would keep the routes.
	for _, e := range l.Ends {
		f := n.plan.at(e)
		if !up {
			if err := setUp(n.nodes[e.Node], f.Name, false); err != nil {
				return err
			}
		} else if err := n.configure(e.Node, e.Interface); err != nil {
			return err
		}
	}
	return n.settle(l)
}

// settle has the kernel finish what it does later about a carrier that has come or gone, at all interfaces of a link: until then
// they drop what is sent.
func (n *network) settle(l *LinkPlan) error {
	for e, end := range l.Ends {
		err := n.nodes[end.Node].Do(func() error { _, err := sys.Carrier(n.plan.at(end).Name); return err })
		if err == nil && !l.Direct {
			err = n.wires.Do(func() error { _, err := sys.Carrier(wirePort(l.Index, e)); return err })
		}
		if err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	return nil
}

func setUp(s nodeSpace, name string, up bool) error {
	l, err := s.link.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if up {
		err = s.link.LinkSetUp(l)
	} else {
		err = s.link.LinkSetDown(l)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// wireConfig returns the configuration of the wire process, and whether one is needed.
func wireConfig(p *Plan) (cfg wire.Config, needed bool) {
	cfg.Seed = p.Seed
	for i, l := range p.Links {
		if !l.Direct {
			cfg.Links = append(cfg.Links, wire.LinkConfig{
				Name: l.Name, Ports: [2]string{wirePort(i, 0), wirePort(i, 1)}, Impair: l.Impair,
			})
		}
	}
	return cfg, len(cfg.Links) > 0
}

// removeSpaces kills everything that lives in the namespaces and removes them with their links. What is gone already is not an
// error. It returns when the links are gone; the kernel drops the empty namespaces soon after.
func removeSpaces(dir string, names []string) error {
	var all []error
	inodes := make(map[uint64]bool)
	var spaces []*netns.Namespace
	for _, name := range names {
		ns, err := netns.Open(dir, name)
		if err != nil {
			continue // never made, or a file without a mount; Delete below takes the file
		}
		defer ns.Close()
		spaces = append(spaces, ns)
		if in, err := ns.Inode(); err == nil {
			inodes[in] = true
		}
	}
	// A process may fork while it is looked for, but every round kills all that were there.
	for range 100 {
		pids := netns.Inhabitants(inodes)
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			inside := func() bool {
				var st unix.Stat_t
				return unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil && inodes[st.Ino]
			}
			if err := netns.Kill(pid, inside, grace); err != nil {
				all = append(all, fmt.Errorf("process %d: %w", pid, err))
			}
		}
	}
	for _, ns := range spaces {
		if err := removeLinks(ns); err != nil {
			all = append(all, err)
		}
	}
	for _, name := range names {
		if err := netns.Delete(dir, name); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// removeLinks removes the virtual links of a namespace. Their other ends go with them.
func removeLinks(ns *netns.Namespace) error {
	h, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("namespace %s: links: %w", ns.Name(), err)
	}
	for _, l := range links {
		if l.Type() != "veth" {
			continue
		}
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("namespace %s: remove %s: %w", ns.Name(), l.Attrs().Name, err)
		}
	}
	return nil
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
