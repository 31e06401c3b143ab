package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/channels/mem"
	_ "github.com/janos-os/janos/channels/packet"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
)

// TestAddressesComeAndGo starts two nodes on interfaces of which one has no address. When it gets one, the nodes find each other; when
// the address changes, the link has the new one and the prefix is announced.
func TestAddressesComeAndGo(t *testing.T) {
	a, b := netnstest.New(t, "jnnoda"), netnstest.New(t, "jnnodb")
	ha, hb := netnstest.Netlink(t, a), netnstest.Netlink(t, b)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(ha.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "jnnod0"}, PeerName: "jnnod1"}))
	peer, err := ha.LinkByName("jnnod1")
	must(err)
	must(a.Sysctl("ipv6/conf/jnnod0/disable_ipv6", "1"))
	must(ha.LinkSetNsFd(peer, b.Fd()))
	must(b.Sysctl("ipv6/conf/jnnod1/disable_ipv6", "1"))
	netnstest.Up(t, ha, "jnnod0")
	netnstest.Up(t, hb, "jnnod1", "10.0.0.2/24")

	start := func(in *netns.Namespace, text string) (n *Node) {
		t.Helper()
		s, err := Parse("node.yaml", []byte(text))
		must(err)
		must(in.Do(func() (err error) { n, err = Start(s, Env{}); return err }))
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		return n
	}
	const rest = "ants: {off: true}\nrouting: {hello: 50ms, dead: 20}\n"
	first := start(a, "node: a\naddress: 10.255.0.1\nlinks: [{name: left, device: jnnod0, driver: packet}]\n"+rest+
		"graph: \"Idle -> rt :: LinuxIPLookup(left) -> HostNeighbor(left) -> ToDevice(left);\"\n")
	second := start(b, "node: b\naddress: 10.255.0.2\nlinks: [{name: right, device: jnnod1, driver: packet}]\n"+rest)
	report := func(n *Node) routing.Report { r, _ := n.Router().Report(); return r }
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); <-time.After(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s\n%+v\n%+v", what, report(first), report(second))
			}
		}
	}
	neighbours := func(n *Node) int { return len(report(n).Neighbours) }
	l, err := ha.LinkByName("jnnod0")
	must(err)
	add, err := netlink.ParseAddr("10.0.0.1/24")
	must(err)
	must(ha.AddrAdd(l, add))
	until("they are neighbours", func() bool { return neighbours(first) == 1 && neighbours(second) == 1 })

	other, err := netlink.ParseAddr("10.77.0.1/16")
	must(err)
	must(ha.AddrAdd(l, other))
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.77.0.1/16")}
	until("the link has both addresses", func() bool { return slices.Equal(first.OS().Prefixes("left"), want) })
	until("the prefix is known beyond", func() bool {
		return slices.ContainsFunc(second.Router().Table().Prefixes(), func(p routing.PrefixRoute) bool { return p.Prefix == want[1].Masked() })
	})
	until("the graph routes by it", func() bool {
		v, err := first.Graph().Read("rt.lookup", "10.77.1.1")
		return err == nil && strings.HasPrefix(v, "0 unicast")
	})
	must(ha.AddrDel(l, other))
	until("the link has one address", func() bool { return slices.Equal(first.OS().Prefixes("left"), want[:1]) })
	until("the prefix is not known any more", func() bool {
		return !slices.ContainsFunc(second.Router().Table().Prefixes(), func(p routing.PrefixRoute) bool { return p.Prefix == want[1].Masked() })
	})
}

// TestHostIsNotFollowed: a node that is told not to follow, or has no interface of the host, refuses a graph that routes as the host does.
func TestHostIsNotFollowed(t *testing.T) {
	s := pairSpec(1)
	s.Graph = "Idle -> LinuxIPLookup(l) -> Discard;"
	if n, err := Start(s, Env{OpenLink: onNet(mem.NewNet())}); err == nil {
		t.Errorf("it has started: %v", n.Close())
	} else if !strings.Contains(err.Error(), "not followed on this node") {
		t.Error(err)
	}
}
