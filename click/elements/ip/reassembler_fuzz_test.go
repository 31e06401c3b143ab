package ip

import (
	"bytes"
	"testing"

	"github.com/janos-os/janos/packet"
)

// FuzzFill: fragments that come in any order and overlap in any way give the bytes that came first.
func FuzzFill(f *testing.F) {
	f.Add([]byte{0, 8, 2, 8, 1, 20, 5, 1})
	f.Add([]byte{9, 3, 3, 3, 5, 5, 0, 99})
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = pool.Close() })
	f.Fuzz(func(t *testing.T, data []byte) {
		c := pool.Cache(0)
		a := assembly{p: c.Alloc(packet.Node)}
		defer c.Free(a.p)
		const most = 256 * 3
		clear(a.p.Put(headerRoom + most))
		var want [most]byte
		var known [most]bool
		for i := 0; i+1 < len(data) && i < 200; i += 2 {
			at, n := int(data[i])*2, int(data[i+1])+1
			d := bytes.Repeat([]byte{byte(i/2 + 1)}, n)
			a.fill(at, d)
			for j := at; j < at+n; j++ {
				if !known[j] {
					known[j], want[j] = true, d[0]
				}
			}
		}
		if !bytes.Equal(a.p.Data()[headerRoom:], want[:]) {
			t.Error("other bytes")
		}
		at := 0
		for _, s := range a.have {
			for ; at < s.from; at++ {
				if known[at] {
					t.Fatalf("%d is known and in no span of %v", at, a.have)
				}
			}
			for ; at < s.to; at++ {
				if !known[at] {
					t.Fatalf("%d is not known and in a span of %v", at, a.have)
				}
			}
		}
		for ; at < most; at++ {
			if known[at] {
				t.Fatalf("%d is known and behind %v", at, a.have)
			}
		}
	})
}
