package ip

import (
	"testing"

	"github.com/janos-os/janos/click/internal/decide"
	"github.com/janos-os/janos/packet"
)

// FuzzPattern: no pattern and no packet panics, and a program that has been optimized sends no packet where none of its rules do.
func FuzzPattern(f *testing.F) {
	f.Add("src net 10.0.0.0/8 and (tcp dst port 80-90 or icmp echo) ? not frag : ip[2:2] & 0xff > 5", []byte("\x45\x00\x00\x1c"))
	f.Add("ether host 1:2:3:4:5:6 || ! syn && port != www", []byte{})
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = pool.Close() })
	f.Fuzz(func(t *testing.T, pattern string, data []byte) {
		if len(pattern) > 1000 || len(data) > 500 {
			return
		}
		x, err := ParsePattern(pattern, nil)
		if err != nil {
			return
		}
		p, err := decide.Compile([]decide.Rule{{If: x, Then: 0}, {If: decide.Not{X: x}, Then: 1}}, 2)
		if err != nil {
			return
		}
		c := pool.Cache(0)
		k := c.AllocFrom(packet.Node, data)
		if k == nil {
			t.Fatal("no memory")
		}
		k.SetMAC(0)
		k.SetNetwork(14)
		k.SetTransport(34)
		if got := p.Match(k); got > 1 {
			t.Errorf("neither the pattern nor its negation holds\n%s", p)
		}
		c.Free(k)
	})
}
