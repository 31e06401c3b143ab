package socket_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/janos-os/janos/click"
)

// TestTun: the host pings an address that only the graph has, and a graph of its own reaches the host's.
func TestTun(t *testing.T) {
	p := newPlace(t, "jnsock-tun")
	const config = `tun :: KernelTun(10.9.0.1/24, 10.9.0.254, DEVNAME jnsock0, BURST 8, MTU 1400) -> cl :: IPClassifier(icmp type echo, icmp type echo-reply, -);
		cl[0] -> ICMPPingResponder -> c :: Counter -> q :: Queue -> tun; cl[1] -> d :: Counter -> Discard; cl[2] -> Discard;
		in :: InfiniteSource(LIMIT 3, LENGTH 1000) -> ICMPPingEncap(10.9.0.7, 10.9.0.1) -> q; InfiniteSource(LIMIT 2, LENGTH 1500) -> q;`
	r := p.run(config)
	until(t, r, "d.count", "3")
	until(t, r, "tun.drops", "2") // longer than the MTU
	if v := read(t, r, "tun.dev_name"); v != "jnsock0" {
		t.Errorf("the interface is %s", v)
	}
	ping := p.run(`s :: ICMPPingSource(10.9.0.1, 10.9.0.9, LIMIT 4, INTERVAL 1ms, VERBOSE false) -> ToRawSocket(ICMP); FromRawSocket(ICMP) -> CheckIPHeader -> CheckICMPHeader -> s;`)
	until(t, ping, "s.count", "4")
	until(t, r, "c.count", "4")
	if err := p.ns.Do(func() error {
		l, err := netlink.LinkByName("jnsock0")
		if err != nil {
			return err
		}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: l.Attrs().Index}, netlink.RT_FILTER_OIF)
		if err != nil || len(routes) != 2 || l.Attrs().MTU != 1400 {
			t.Errorf("interface %+v, routes %v, %v", l.Attrs(), routes, err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	// It stays through a replacement and goes with the last router.
	spec, err := click.Parse("config", strings.Replace(config, "LIMIT 3", "LIMIT 5", 1), click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.Replace(spec)
	if err != nil {
		t.Fatal(err)
	}
	until(t, n, "d.count", "5")
	ping.Close()
	n.Close()
	if err := p.ns.Do(func() error { _, err := netlink.LinkByName("jnsock0"); return err }); err == nil {
		t.Error("the interface is still there")
	}
}

// TestHost: frames both ways, the host's ARP answered by the graph.
func TestHost(t *testing.T) {
	p := newPlace(t, "jnsock-tap")
	r := p.run(`AddressInfo(graph 10.8.0.9 2:0:0:0:0:9);
		f :: FromHost(jnsock1, 10.8.0.1/24, ETHER 2:0:0:0:0:1, DST6 fd00::1/64, MTU 1280) -> cl :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);
		cl[0] -> ARPResponder(graph) -> to :: ToHost(jnsock1); cl[1] -> [1] arp :: ARPQuerier(graph); cl[3] -> Discard;
		cl[2] -> Strip(14) -> CheckIPHeader -> IPClassifier(icmp type echo) -> ICMPPingResponder -> [0] arp -> c :: Counter -> Queue -> ToHost(jnsock1);`)
	ping := p.run(`s :: ICMPPingSource(10.8.0.1, 10.8.0.9, LIMIT 4, INTERVAL 1ms, VERBOSE false) -> ToRawSocket(ICMP); FromRawSocket(ICMP) -> CheckIPHeader -> d :: Counter -> s;`)
	until(t, ping, "s.count", "4")
	until(t, r, "arp.count", "1")
	until(t, r, "to.sent", "1")
	tap := p.run(`tap :: KernelTap(10.7.0.1/24, ETHER 2:0:0:0:0:2) -> cl :: Classifier(12/0806 20/0001, -); cl[0] -> ARPResponder(0.0.0.0/0 2:0:0:0:0:9) -> c :: Counter -> tap; cl[1] -> Discard;`)
	ping2 := p.run(`s :: ICMPPingSource(10.7.0.1, 10.7.0.9, LIMIT 1, VERBOSE false) -> ToRawSocket(ICMP); FromRawSocket(ICMP) -> s;`)
	until(t, tap, "c.count", "1")
	until(t, tap, "tap.sent", "1")
	_ = ping2
}
