package routing_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/udp"
	"github.com/janos-os/janos/ee/ants/routing"
	"github.com/janos-os/janos/nodeos"
)

// TestOverlay runs three nodes over UDP sockets of the loopback interface; the middle one has both others as peers of one link.
func TestOverlay(t *testing.T) {
	var nodes []*nodeos.Node
	var local []netip.AddrPort
	for range 3 {
		n := realNode(t, 1)
		l, err := udp.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: "over", Device: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.AddLink(l, 0); err != nil {
			t.Fatal(err)
		}
		nodes, local = append(nodes, n), append(local, l.(*udp.Link).Local())
	}
	peers := [][]netip.AddrPort{{local[1]}, {local[0], local[2]}, {local[1]}}
	var rs []*routing.Router
	for i, n := range nodes {
		r, err := routing.New(n.Root(), routing.Spec{
			Addr: routing.NodeAddr(10<<24 + i + 1), Hello: 50 * time.Millisecond, Links: []routing.LinkSpec{{Name: "over", Peers: peers[i]}},
		})
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	for _, r := range rs {
		await(t, r, "all reach all", func(tb *routing.Table) bool { return len(tb.Nodes()) == 2 })
	}
	h := rs[0].Table().NextHop(rs[2].Addr())
	if h == nil || h.Node != rs[1].Addr() || netip.AddrPortFrom(h.IP, h.Port) != local[1] || h.HasMAC {
		t.Errorf("next hop from the first to the last: %+v, want %s", h, local[1])
	}
}
