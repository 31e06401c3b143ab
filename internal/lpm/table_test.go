package lpm

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/janos-os/janos/clock"
)

// naive is the meaning of a table: the longest of the prefixes that contain the address.
func naive(m map[netip.Prefix]*int, a netip.Addr) (v *int) {
	best := -1
	for p, x := range m {
		if p.Contains(a) && p.Bits() > best {
			v, best = x, p.Bits()
		}
	}
	return v
}

// pick returns an address of which few bits vary, so that prefixes nest and are removed from under each other.
func pick(r *clock.Rand, four bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint16(b[0:], 0x2001)
	for _, i := range []int{1, 2, 3, 7, 8, 12, 15} {
		b[i] = byte(r.IntN(4) << r.IntN(7))
	}
	if four {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

func TestTableFindsTheLongestPrefix(t *testing.T) {
	r := clock.NewRand(1, 1)
	var table Table[*int]
	want := map[netip.Prefix]*int{}
	var list []netip.Prefix
	for step := range 6000 {
		a := pick(r, step%2 == 0)
		p := netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked()
		if r.IntN(8) > 2+2*(step/2000%2) { // grows, shrinks, grows
			v := new(int)
			table.Set(p, v)
			want[p] = v
			list = append(list, p)
		} else if len(list) > 0 {
			p = list[r.IntN(len(list))]
			table.Remove(p)
			delete(want, p)
		}
		if table.Len() != len(want) {
			t.Fatalf("step %d: %d prefixes, want %d", step, table.Len(), len(want))
		}
		if table.Get(p) != want[p] {
			t.Fatalf("step %d: %v is not what was set", step, p)
		}
		for range 4 {
			if a := pick(r, r.IntN(2) == 0); table.Lookup(a) != naive(want, a) {
				t.Fatalf("step %d: %v: wrong answer", step, a)
			}
		}
		if step%500 == 0 {
			checkAll(t, &table, want)
		}
	}
	checkAll(t, &table, want)
	for p := range want {
		table.Remove(p)
	}
	if table.four.root.Load() != nil || table.six.root.Load() != nil || table.Len() != 0 {
		t.Error("nodes are left in an empty table")
	}
}

func checkAll(t *testing.T, table *Table[*int], want map[netip.Prefix]*int) {
	t.Helper()
	var last netip.Prefix
	n := 0
	table.All(func(p netip.Prefix, v *int) bool {
		if want[p] != v {
			t.Errorf("%v is listed with the wrong value", p)
		}
		if n > 0 && (p.Addr().Less(last.Addr()) || p.Addr() == last.Addr() && p.Bits() <= last.Bits()) {
			t.Errorf("%v is listed after %v", p, last)
		}
		last = p
		n++
		return true
	})
	if n != len(want) {
		t.Errorf("%d prefixes are listed, want %d", n, len(want))
	}
}

func TestEdges(t *testing.T) {
	var table Table[int]
	for i, s := range []string{"0.0.0.0/0", "::/0", "255.255.255.255/32", "0.0.0.0/32", "ffff::/16", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "10.0.0.0/8"} {
		table.Set(netip.MustParsePrefix(s), i+1)
	}
	for s, want := range map[string]int{
		"1.2.3.4": 1, "1::": 2, "255.255.255.255": 3, "0.0.0.0": 4, "0.0.0.1": 1, "ffff::1": 5, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": 6,
		"10.255.255.255": 7, "::ffff:10.0.0.1": 2, "fe80::1%eth0": 2,
	} {
		if got := table.Lookup(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %d, want %d", s, got, want)
		}
	}
	if table.Lookup(netip.Addr{}) != 0 {
		t.Error("the zero address has an answer")
	}
	table.Set(netip.Prefix{}, 1) // ignored
	table.Set(netip.MustParsePrefix("10.9.9.9/8"), 8)
	if got := table.Get(netip.MustParsePrefix("10.0.0.0/8")); got != 8 || table.Len() != 7 {
		t.Errorf("a prefix with host bits: %d, %d prefixes", got, table.Len())
	}
	table.Clear()
	if table.Len() != 0 || table.Lookup(netip.MustParseAddr("10.0.0.1")) != 0 {
		t.Error("something is left after Clear")
	}
}

// TestReadersSeeWholeChanges: while prefixes come and go beneath it, an address that is always covered is never without an
// answer, and never has one of a prefix that does not contain it.
func TestReadersSeeWholeChanges(t *testing.T) {
	for _, four := range []bool{true, false} {
		var table Table[*netip.Prefix]
		base := netip.MustParsePrefix("2000::/4")
		if four {
			base = netip.MustParsePrefix("32.0.0.0/6")
		}
		table.Set(base, &base)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				r := clock.NewRand(uint64(i), 7)
				for !stop.Load() {
					a := pick(r, four)
					if p := table.Lookup(a); p == nil || !p.Contains(a) {
						t.Errorf("%v is answered with %v", a, p)
						return
					}
					runtime.Gosched()
				}
			})
		}
		r := clock.NewRand(9, 9)
		for range 20_000 {
			a := pick(r, four)
			p := netip.PrefixFrom(a, base.Bits()+1+r.IntN(a.BitLen()-base.Bits())).Masked()
			if table.Get(p) != nil {
				table.Remove(p)
			} else {
				table.Set(p, &p)
			}
		}
		stop.Store(true)
		wg.Wait()
	}
}

// Many returns addresses, and prefixes as backbone routers have them, most of 24 bits, or 48 for IPv6.
func many(n int, four bool) (ps []netip.Prefix, as []netip.Addr) {
	r := clock.NewRand(2, 2)
	seen := map[netip.Prefix]bool{}
	for len(ps) < n {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], r.Uint64())
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		long, a := 24, netip.Addr{}
		if four {
			b[0] = b[0]>>1 | 1
			a = netip.AddrFrom4([4]byte(b[:4]))
		} else {
			b[0], b[1], b[2] = 0x20|b[0]&3, b[1]&0x1f, b[2]&0xf0
			a, long = netip.AddrFrom16(b), 48
		}
		switch k := r.IntN(20); {
		case k < 6:
			long -= 1 + r.IntN(8)
		case k == 6:
			long += 1 + r.IntN(8)
		}
		if p := netip.PrefixFrom(a, long).Masked(); !seen[p] {
			seen[p] = true
			ps, as = append(ps, p), append(as, a)
		}
	}
	return ps, as
}

func BenchmarkLookup100k(b *testing.B) {
	for _, four := range []bool{true, false} {
		name := "v6"
		if four {
			name = "v4"
		}
		for _, changing := range []bool{false, true} {
			ps, as := many(100_000, four)
			var table Table[*netip.Prefix]
			for i := range ps {
				table.Set(ps[i], &ps[i])
			}
			sub := name
			if changing {
				sub += "-changing"
			}
			b.Run(sub, func(b *testing.B) {
				var stop atomic.Bool
				var wg sync.WaitGroup
				if changing {
					wg.Go(func() {
						for i := 0; !stop.Load(); i = (i + 7919) % len(ps) {
							table.Remove(ps[i])
							table.Set(ps[i], &ps[i])
						}
					})
				}
				r := clock.NewRand(3, 3)
				keys := make([][16]byte, 1<<14)
				for i := range keys {
					a := as[r.IntN(len(as))]
					if four {
						q := a.As4()
						copy(keys[i][:], q[:])
					} else {
						keys[i] = a.As16()
					}
				}
				hit, i := 0, 0
				b.ReportAllocs()
				for b.Loop() {
					var v *netip.Prefix
					if k := &keys[i&(1<<14-1)]; four {
						v = table.Lookup4([4]byte(k[:4]))
					} else {
						v = table.Lookup6(*k)
					}
					if v != nil {
						hit++
					}
					i++
				}
				stop.Store(true)
				wg.Wait()
				if hit == 0 {
					b.Fatal("nothing was found")
				}
			})
		}
	}
}

func BenchmarkChange100k(b *testing.B) {
	for _, four := range []bool{true, false} {
		ps, _ := many(100_000, four)
		var table Table[*netip.Prefix]
		for i := range ps {
			table.Set(ps[i], &ps[i])
		}
		name := "v6"
		if four {
			name = "v4"
		}
		b.Run(name, func(b *testing.B) {
			i := 0
			b.ReportAllocs()
			for b.Loop() { // two changes
				table.Remove(ps[i])
				table.Set(ps[i], &ps[i])
				i = (i + 7919) % len(ps)
			}
		})
	}
}

func BenchmarkLoad100k(b *testing.B) {
	ps, _ := many(100_000, true)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		var table Table[*netip.Prefix]
		for i := range ps {
			table.Set(ps[i], &ps[i])
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(ps)), "B/prefix")
		runtime.KeepAlive(&table)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	for _, four := range []bool{true, false} {
		ps, as := many(1000, four)
		var table Table[*netip.Prefix]
		for i := range ps {
			table.Set(ps[i], &ps[i])
		}
		if n := testing.AllocsPerRun(100, func() {
			if table.Lookup(as[5]) == nil {
				t.Fatal("a prefix is missing")
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
