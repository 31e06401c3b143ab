package nodeosabi

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/janos-os/janos/sdk/abi"
)

// BenchmarkQueue is what a packet costs between the host's task and a guest's window: both copies, the block, and no waiting.
func BenchmarkQueue(b *testing.B) {
	for _, size := range []int{64, 1500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := &inChannel{common: &common{q: newQueue(64, 1536)}}
			data := make([]byte, size)
			m := Meta{Remote: Remote{Addr: netip.MustParseAddrPort("10.0.0.1:5")}}
			blocks, window := make([]byte, 32*abi.NOPacketSize), make([]byte, 32*1536)
			b.ReportAllocs()
			for k := 0; k < b.N; k += 32 {
				c.Begin(nil)
				for range 32 {
					c.Put(nil, data, &m)
				}
				if n := c.take(blocks, window); n != 32 {
					b.Fatal(n)
				}
			}
		})
	}
}
