package linkio

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// bundle encodes packets and filler.
func bundle(filler int, packets ...[]byte) []byte {
	b := append([]byte(nil), bundleMagic[:]...)
	for _, p := range packets {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	f := make([]byte, filler)
	fill(f)
	return append(b, f...)
}

func TestCheckBundle(t *testing.T) {
	a := []byte("packet")
	for _, v := range []struct {
		name    string
		bundle  []byte
		packets int
	}{
		{"one", bundle(0, a), 1},
		{"empty packet", bundle(0, nil), 1},
		{"several", bundle(0, a, nil, a), 3},
		{"filler of one byte", bundle(1, a), 1},
		{"filler of two bytes", bundle(2, a, a), 2},
		{"filler", bundle(1000, a), 1},
		{"nothing", nil, 0},
		{"no packet", bundle(0), 0},
		{"filler only", bundle(10), 0},
		{"another version", append([]byte{'J', 'B', 2, 0}, bundle(0, a)[4:]...), 0},
		{"not a bundle", []byte("GET / HTTP/1.1"), 0},
		{"cut", bundle(0, a, a)[:16], 0},
		{"length beyond the end", append(bundle(0, a), 0xff, 0xfe, 1, 2), 0},
	} {
		n, ok := CheckBundle(v.bundle)
		if n != v.packets && ok || ok != (v.packets > 0) {
			t.Errorf("%s: %d packets, %v, want %d", v.name, n, ok, v.packets)
		}
	}
}

// FuzzBundle takes any datagram for a bundle: what is one has as many packets as it says, which lie one behind the other, and
// encoding them again makes the same bytes up to the filler.
func FuzzBundle(f *testing.F) {
	f.Add(bundle(0, []byte("a"), []byte("bc")))
	f.Add(bundle(7, nil, make([]byte, 300)))
	f.Add(bundle(1, []byte("x"))[:6])
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok := CheckBundle(b)
		if !ok {
			return
		}
		var all [][]byte
		at := 0
		for {
			p, next, ok := NextInBundle(b, at)
			if !ok {
				break
			}
			if next <= at || next > len(b) {
				t.Fatalf("offset %d after %d of %d", next, at, len(b))
			}
			all = append(all, p)
			at = next
		}
		if len(all) != n || n == 0 {
			t.Fatalf("%d packets, said %d", len(all), n)
		}
		if again := bundle(0, all...); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x is encoded %x", b, again)
		}
	})
}
