package routing

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// frameMaker returns a function that wraps a message as the wire has it.
func frameMaker(t *testing.T) func(src [6]byte, from string, ttl uint8, msg []byte) []byte {
	t.Helper()
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	c := pool.Cache(0)
	return func(src [6]byte, from string, ttl uint8, msg []byte) []byte {
		p := c.AllocFrom(packet.Node, msg)
		defer c.Free(p)
		s, d := netip.MustParseAddr(from), netip.MustParseAddr("255.255.255.255")
		ok := demux.PushUDP(p, netip.AddrPortFrom(s, Port), netip.AddrPortFrom(d, Port)) &&
			demux.PushIPv4(p, &demux.IPHeader{Src: s, Dst: d, Proto: demux.ProtoUDP, TTL: ttl}) &&
			demux.PushEther(p, [6]byte{255, 255, 255, 255, 255, 255}, src, demux.EtherTypeIPv4)
		if !ok {
			t.Fatal("no room")
		}
		return slices.Clone(p.Data())
	}
}
