package elements_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/janos-os/janos/click/elementtest"
)

// ipPath is the IP path of a router without its devices.
func ipPath(routes string) string {
	return `elementclass Out { $me | input -> DropBroadcasts -> g :: IPGWOptions($me) -> FixIPSrc($me)
	-> t :: DecIPTTL -> f :: IPFragmenter(1500) -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:3) -> output;
	g[1] -> Discard; t[1] -> Discard; f[1] -> Discard; }
rt :: RadixIPLookup(10.0.1.0/24 0, 10.0.2.0/24 1, 10.0.3.0/24 2, 0.0.0.0/0 3` + routes + `);
in :: Strip(14) -> CheckIPHeader -> rt;
c :: Counter -> Discard;
rt[0] -> Out(10.0.1.1) -> c; rt[1] -> Out(10.0.2.1) -> c; rt[2] -> Out(10.0.3.1) -> c; rt[3] -> Out(10.9.9.1) -> c;
`
}

const toSecond = `InfiniteSource(DATA \<020000000001 020000000002 0800 4500003200000000 4011 64b8 0a000002 0a000202 04d2162e001e0000 ` +
	`00000000000000000000000000000000000000000000>, BURST 32)`

const filterPath = toSecond + ` -> MarkIPHeader(14) -> IPFilter(deny src net 172.16.0.0/12, deny src net 192.168.0.0/16, deny ip frag, deny tcp dst port 25,
	deny tcp dst port 139, deny udp dst port 161, deny udp src port 53 and dst net 10.0.9.0/24,
	allow udp dst port 5678, allow icmp, deny all) -> c :: Counter -> Discard;`

func BenchmarkIPPath(b *testing.B) {
	elementtest.Bench(b, ipPath("")+toSecond+" -> in;", "c.count", elementtest.Options{})
}

func BenchmarkIPPath100kRoutes(b *testing.B) {
	var routes strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&routes, ", %d.%d.%d.0/24 %d", 11+i>>16, i>>8&255, i&255, i%4)
	}
	elementtest.Bench(b, ipPath(routes.String())+toSecond+" -> in;", "c.count", elementtest.Options{})
}

func BenchmarkIPFilterTenRules(b *testing.B) {
	elementtest.Bench(b, filterPath, "c.count", elementtest.Options{})
}

func TestPathsDoNotAllocate(t *testing.T) {
	for name, config := range map[string]string{
		"ip path": ipPath("") + toSecond + " -> in;",
		"filter":  filterPath,
		"errors": toSecond + ` -> Strip(14) -> CheckIPHeader -> t :: Tee(3) -> ICMPError(10.0.0.1, timeexceeded) -> Discard;
			t[1] -> ICMPPingResponder -> Discard; t[2] -> IPFragmenter(68) -> Discard;`,
		"link": toSecond + ` -> RoundRobinSwitch -> Link(0.1ms, 10%, 1Gbps, 100) -> Discard;`,
		"encap": `InfiniteSource(LENGTH 40, BURST 8) -> UDPIPEncap(10.0.0.1, 1, 10.0.0.2, 2) -> arp :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1) -> Discard;
			Idle -> [1] arp;`,
	} {
		t.Run(name, func(t *testing.T) {
			if n := elementtest.Allocs(t, config, elementtest.Options{}); n != 0 {
				t.Errorf("a turn allocates %v times", n)
			}
		})
	}
}
