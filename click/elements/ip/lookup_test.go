package ip

import (
	"net/netip"
	"testing"

	"github.com/janos-os/janos/clock"
)

// naive is the meaning of a table: the longest of the prefixes that contain the address.
func naive(routes map[netip.Prefix]Route, a netip.Addr) (best Route, ok bool) {
	for p, r := range routes {
		if p.Contains(a) && (!ok || p.Bits() > best.Prefix.Bits()) {
			best, ok = r, true
		}
	}
	return best, ok
}

func addr(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func TestTableFindsTheLongestPrefix(t *testing.T) {
	r := clock.NewRand(1, 1)
	table, routes := NewTable(), map[netip.Prefix]Route{}
	// Few bits vary, so that prefixes nest and are removed from under each other.
	pick := func() uint32 { return 0x0a000000 | uint32(r.IntN(4))<<16 | uint32(r.IntN(4))<<8 | uint32(r.IntN(8))<<5 }
	var list []netip.Prefix
	for step := range 3000 {
		p := netip.PrefixFrom(addr(pick()), r.IntN(33)).Masked()
		if r.IntN(3) > 0 {
			n := Route{Prefix: p, Port: r.IntN(100)}
			table.Set(n)
			routes[p] = n
			list = append(list, p)
		} else if len(list) > 0 {
			p = list[r.IntN(len(list))]
			table.Remove(p)
			delete(routes, p)
		}
		if table.Len() != len(routes) {
			t.Fatalf("step %d: %d routes, want %d", step, table.Len(), len(routes))
		}
		for range 10 {
			a := addr(pick() | uint32(r.IntN(32)))
			want, wok := naive(routes, a)
			got, ok := table.Lookup(a)
			if ok != wok || ok && (got.Port != want.Port || got.Prefix != want.Prefix) {
				t.Fatalf("step %d: %v goes to %+v (%v), want %+v (%v)\n%s", step, a, got, ok, want, wok, table)
			}
		}
	}
}

// manyRoutes makes a table as a backbone router has it: most prefixes are 24 bits long.
func manyRoutes(n int) (*Table, []netip.Addr) {
	r := clock.NewRand(2, 2)
	t := NewTable()
	var addrs []netip.Addr
	for t.Len() < n {
		bits := 24
		switch k := r.IntN(20); {
		case k < 6:
			bits = 16 + r.IntN(8)
		case k == 6:
			bits = 25 + r.IntN(8)
		}
		a := addr(r.Uint32()>>1 | 1<<24)
		t.Set(Route{Prefix: netip.PrefixFrom(a, bits).Masked(), Port: t.Len() % 4})
		addrs = append(addrs, a)
	}
	return t, addrs
}

func BenchmarkLookup100k(b *testing.B) {
	t, addrs := manyRoutes(100_000)
	r := clock.NewRand(3, 3)
	keys := make([][4]byte, 1<<14)
	for i := range keys {
		keys[i] = addrs[r.IntN(len(addrs))].As4()
	}
	hit, i := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		if t.lookup(keys[i&(1<<14-1)]).Port != noRoute {
			hit++
		}
		i++
	}
	if hit == 0 {
		b.Fatal("nothing was found")
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table, addrs := manyRoutes(1000)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := table.Lookup(addrs[5]); !ok {
			t.Fatal("a route is missing")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
