package hostip_test

import (
	"net/netip"
	"testing"

	"github.com/janos-os/janos/channels/host"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elements/hostip"
	"github.com/janos-os/janos/click/elementtest"
)

// network is a table of a host with eth0 (10.0.0.1/24, fd00::1/64), eth1 (10.0.1.1/24) and eth2, which is down.
func network() *host.Table {
	t := host.New()
	for i, ps := range [][]string{{"10.0.0.1/24", "fd00::1/64"}, {"10.0.1.1/24"}, {}} {
		f := host.Interface{Index: i + 2, Name: "eth" + string(rune('0'+i)), Up: i < 2, MTU: 1500, HWAddr: [6]byte{2, 0, 0, 0, 0, byte(i + 1)}}
		for _, p := range ps {
			f.Prefixes = append(f.Prefixes, netip.MustParsePrefix(p))
		}
		t.SetInterface(f)
		for _, p := range f.Prefixes {
			t.SetRoute(host.RouteSpec{Prefix: p.Masked(), Hops: []host.Hop{{Ifindex: f.Index, Weight: 1}}})
			t.SetRoute(host.RouteSpec{Prefix: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Kind: host.Local, Table: 255, Hops: []host.Hop{{Ifindex: f.Index, Weight: 1}}})
		}
	}
	for _, r := range []struct {
		prefix, gateway string
		index           int
		kind            host.Kind
	}{
		{"0.0.0.0/0", "10.0.1.9", 3, 0}, {"192.0.2.0/24", "fd00::9", 2, 0}, {"198.51.100.0/24", "", 0, host.Unreachable}, {"198.51.101.0/24", "", 0, host.Blackhole},
		{"198.51.102.0/24", "10.9.9.9", 4, 0}, {"2001:db8::/32", "fd00::9", 2, 0},
	} {
		s := host.RouteSpec{Prefix: netip.MustParsePrefix(r.prefix), Kind: r.kind}
		if r.gateway != "" {
			s.Hops = []host.Hop{{Gateway: netip.MustParseAddr(r.gateway), Ifindex: r.index, Weight: 1}}
		}
		t.SetRoute(s)
	}
	t.SetNeighbor(2, netip.MustParseAddr("fd00::9"), [6]byte{2, 0, 0, 0, 9, 9}, host.Stale)
	t.SetNeighbor(3, netip.MustParseAddr("10.0.1.9"), [6]byte{2, 0, 0, 0, 1, 9}, host.Permanent)
	return t
}

func TestScripts(t *testing.T) {
	elementtest.Run(t, "testdata/*.txtar", elementtest.Options{Values: map[string]any{hostip.Key: &hostip.Env{Table: network(), Device: func(link string) string {
		if link == "wan" {
			return "eth1"
		}
		return link
	}}}})
}
