package nodeosabi_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/janos-os/janos/channels/mem"
	_ "github.com/janos-os/janos/channels/udp"
	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/internal/leak"
	"github.com/janos-os/janos/nodeos"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
	"github.com/janos-os/janos/vm/nodeosabi"
	"github.com/janos-os/janos/vm/nodeosabi/conformance"
)

func TestMain(m *testing.M) { leak.Main(m) }

// rig is an engine with a binding, and a node that is closed before it.
func rig(t testing.TB) (*nodeosabi.Binding, *nodeos.Node, *nodeos.Domain) {
	t.Helper()
	clk := clock.NewReal()
	e, err := vm.NewEngine(vm.EngineSpec{Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	b, err := nodeosabi.New(nodeosabi.Spec{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	n, err := nodeos.NewNode(nodeos.NodeSpec{Name: "n", Clock: clk, Packets: packet.PoolSpec{Frames: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := n.Root().NewDomain(nodeos.DomainSpec{Account: resctl.Spec{Name: "guest", Limit: conformance.Limits()}})
	if err != nil {
		t.Fatal(err)
	}
	return b, n, d
}

// On a link that is a UDP socket.
func TestConformanceUDP(t *testing.T) {
	conformance.Run(t, func(t *testing.T) *conformance.Rig {
		b, n, d := rig(t)
		l, err := n.OpenLink(nodeos.LinkSpec{Name: "u0", Driver: "udp", Device: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		to := l.(interface{ Local() netip.AddrPort }).Local()
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		buf := make([]byte, 1<<16)
		return &conformance.Rig{
			Binding: b, Domain: nodeosabi.OnNode(d),
			Port: &nodeosabi.Port{Protocol: "u0/udp", To: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			Peer: nodeosabi.Remote{Addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()},
			Send: func(p []byte) {
				if _, err := conn.WriteToUDPAddrPort(p, to); err != nil {
					t.Error(err)
				}
			},
			Receive: func(wait time.Duration) []byte {
				conn.SetReadDeadline(time.Now().Add(wait))
				n, _, err := conn.ReadFromUDPAddrPort(buf)
				if err != nil {
					return nil
				}
				return append([]byte(nil), buf[:n]...)
			},
		}
	})
}

// On an Ethernet, with IP and UDP: the headers are the channels', and the neighbour's address is that which packets came from.
func TestConformanceEthernet(t *testing.T) {
	conformance.Run(t, func(t *testing.T) *conformance.Rig {
		b, n, d := rig(t)
		wire := mem.NewNet()
		open := func(n *nodeos.Node, addr, mac string) {
			l, err := wire.Open(n, n.NextLinkNumber(), nodeos.LinkSpec{Name: "e0", Device: "wire", Opts: map[string]string{"addr": addr, "mac": mac}})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.AddLink(l, 0); err != nil {
				t.Fatal(err)
			}
		}
		open(n, "10.0.0.1/24", "02:00:00:00:00:01")
		peer, err := nodeos.NewNode(nodeos.NodeSpec{Name: "peer", Clock: clock.NewReal(), Packets: packet.PoolSpec{Frames: 1024}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { peer.Close() })
		open(peer, "10.0.0.2/24", "02:00:00:00:00:02")
		came := make(chan []byte, 1000)
		if _, err := peer.Root().NewInChan(nodeos.InChanSpec{Protocol: "e0/ether/ip/udp", Address: ":4000", Handler: func(w *nodeos.Worker, b *packet.Batch) {
			for _, p := range b.Packets() {
				came <- append([]byte(nil), p.Data()...)
			}
			w.Cache().FreeBatch(b)
		}}); err != nil {
			t.Fatal(err)
		}
		out, err := peer.Root().NewOutChan(nodeos.OutChanSpec{Protocol: "e0/ether/ip/udp", Address: "10.0.0.1:3000", Source: "10.0.0.2:4000", LinkAddr: [6]byte{2, 0, 0, 0, 0, 1}})
		if err != nil {
			t.Fatal(err)
		}
		return &conformance.Rig{
			Binding: b, Domain: nodeosabi.OnNode(d),
			Port: &nodeosabi.Port{Protocol: "e0/ether/ip/udp", Address: ":3000", To: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
			Peer: nodeosabi.Remote{Addr: netip.MustParseAddrPort("10.0.0.2:4000"), HW: [6]byte{2, 0, 0, 0, 0, 2}, HasHW: true},
			Send: func(p []byte) {
				peer.Worker(0).Call(func() {
					w := peer.Worker(0)
					var b packet.Batch
					b.Append(w.Cache().AllocFrom(packet.Node, p))
					out.Send(w, &b)
				})
			},
			Receive: func(wait time.Duration) []byte {
				select {
				case b := <-came:
					return b
				case <-time.After(wait):
					return nil
				}
			},
		}
	})
}
