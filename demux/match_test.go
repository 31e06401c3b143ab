package demux

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
)

// TestMatchAgainstNaive runs random rules over random packets through the program and through the reference.
func TestMatchAgainstNaive(t *testing.T) {
	_, c := newPool(t)
	matched, seen := 0, map[int]int{}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		rules := randomRules(t, r, "eth0", 1+r.IntN(40))
		pr, err := Compile(Ether, "eth0", rules)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		ref := &naive{Ether, "eth0", rules}
		for i := range 100 {
			f := randomFrame(r)
			p := c.AllocFrom(0, f)
			want, wok := ref.match(f)
			id, ok := pr.Match(p)
			if ok != wok || ok && id != want.id {
				t.Fatalf("seed %d packet %d: got %d %v, reference %d %v\nframe %x", seed, i, id, ok, want.id, wok, f)
			}
			rest := f
			if ok {
				rest = f[want.pay:want.end]
				matched++
				seen[want.layers]++
			}
			if !bytes.Equal(p.Data(), rest) {
				t.Fatalf("seed %d packet %d: left %x, want %x", seed, i, p.Data(), rest)
			}
			c.Free(p)
		}
	}
	t.Logf("%d matches, by depth %v", matched, seen)
	for d := range 5 {
		if seen[d] < 20 {
			t.Errorf("only %d matches at depth %d: the world is too thin to prove anything", seen[d], d)
		}
	}
}

func TestHeaderOffsets(t *testing.T) {
	_, c := newPool(t)
	for _, tc := range []struct {
		rule               string
		h                  hdr
		mac, net, trans    int // relative to the frame, -1 unknown
		payStart, payBytes int
	}{
		{"e/ether/ip/udp", hdr{dst: ip("10.0.0.1"), proto: 17, payload: []byte("abc"), pad: 12}, 0, 14, 34, 42, 3},
		{"e/ether/ip/udp", hdr{vlans: 2, ihl: 2, dst: ip("10.0.0.1"), proto: 17, payload: []byte("abc")}, 0, 22, 50, 58, 3},
		{"e/ether/ip", hdr{dst: ip("10.0.0.1"), proto: 17, payload: []byte("abc"), pad: 3}, 0, 14, 34, 34, 11},
		{"e/ether/ip", hdr{dst: ip("10.0.0.1"), proto: 17, fragOff: 8, payload: []byte("abcdefgh")}, 0, 14, -1, 34, 8},
		{"e/ether", hdr{dst: ip("10.0.0.1"), proto: 1, payload: []byte("abc"), pad: 3}, 0, 14, -1, 14, 26},
		{"e/ether/ip6/udp", hdr{ext: []byte{0, 60}, dst: ip("fd00::1"), proto: 17, payload: []byte("abc")}, 0, 14, 70, 78, 3},
		{"e", hdr{dst: ip("10.0.0.1"), proto: 1}, -1, -1, -1, 0, 34},
	} {
		t.Run(fmt.Sprint(tc.rule, tc.h.dst), func(t *testing.T) {
			pr, err := Compile(Ether, "e", []Rule{rule(t, 1, tc.rule, "", "")})
			if err != nil {
				t.Fatal(err)
			}
			p := c.AllocFrom(0, build(tc.h))
			defer c.Free(p)
			if _, ok := pr.Match(p); !ok {
				t.Fatal("no match")
			}
			check := func(name string, off int, ok bool, want int) {
				if got := off + tc.payStart; ok != (want >= 0) || ok && got != want {
					t.Errorf("%s at %d %v, want %d", name, got, ok, want)
				}
			}
			off, ok := p.MACOffset()
			check("mac", off, ok, tc.mac)
			off, ok = p.NetworkOffset()
			check("network", off, ok, tc.net)
			off, ok = p.TransportOffset()
			check("transport", off, ok, tc.trans)
			if p.Len() != tc.payBytes {
				t.Errorf("%d bytes left, want %d", p.Len(), tc.payBytes)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	_, c := newPool(t)
	rules := []Rule{
		rule(t, 1, "if", "", ""),
		rule(t, 2, "if/ether", "", ""),
		rule(t, 9, "if/ether/ip/udp", ":5000", ""),
		rule(t, 4, "if/ether/ip/udp", ":5000", "0/61"),
		rule(t, 3, "if/ether/ip/udp", "", "0/6162"),        // as many bits as 9, and older
		rule(t, 8, "if/ether/ip/udp", ":5000", "0/61"),     // equal to 4, and younger
		rule(t, 5, "if/ether/ip", "10.0.0.1,17", "2/1300"), // more bits, shorter string
	}
	pr, err := Compile(Ether, "eth7", rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		dport   uint16
		payload string
		want    uint32
	}{{5000, "abc", 4}, {5000, "xbc", 9}, {5001, "abc", 3}, {5001, "xyz", 2}, {0x1300, "xyz", 5}} {
		p := c.AllocFrom(0, build(hdr{dst: ip("10.0.0.1"), proto: 17, dport: tc.dport, payload: []byte(tc.payload)}))
		if id, _ := pr.Match(p); id != tc.want {
			t.Errorf("port %d %q: rule %d, want %d", tc.dport, tc.payload, id, tc.want)
		}
		c.Free(p)
	}
	p := c.AllocFrom(0, []byte{1, 2, 3})
	if id, ok := pr.Match(p); !ok || id != 1 {
		t.Errorf("runt frame: rule %d %v, want 1", id, ok)
	}
	c.Free(p)
}

// TestAge has rules that match equally well, in one shape and in two: the older one gets the packet, whatever its number.
func TestAge(t *testing.T) {
	_, c := newPool(t)
	f := build(hdr{dst: ip("10.0.0.1"), proto: 17, dport: 5000, payload: []byte("abc")})
	aged := func(id uint32, age uint64, local, key string) Rule {
		r := rule(t, id, "if/ether/ip/udp", local, key)
		r.Age = age
		return r
	}
	for _, tc := range []struct {
		rules []Rule
		want  uint32
	}{
		{[]Rule{aged(1, 9, ":5000", ""), aged(2, 3, ":5000", "")}, 2},
		{[]Rule{aged(1, 3, ":5000", ""), aged(2, 9, ":5000", "")}, 1},
		{[]Rule{aged(7, 3, ":5000", ""), aged(2, 3, ":5000", "")}, 2},
		{[]Rule{aged(1, 1<<40, ":5000", ""), aged(2, 1, "", "0/6162")}, 2}, // two shapes of 16 bits
		{[]Rule{aged(1, 1, ":5000", ""), aged(2, 1<<40, "", "0/6162")}, 1},
		{[]Rule{aged(7, 4, ":5000", ""), aged(2, 4, "", "0/6162")}, 2},
		{[]Rule{aged(1, 1, ":5000", ""), aged(2, 9, "", "0/616263")}, 2}, // more bits go before age
	} {
		pr, err := Compile(Ether, "e", tc.rules)
		if err != nil {
			t.Fatal(err)
		}
		p := c.AllocFrom(0, f)
		if id, ok := pr.Match(p); !ok || id != tc.want {
			t.Errorf("%v: rule %d %v, want %d", tc.rules, id, ok, tc.want)
		}
		c.Free(p)
	}
}

func TestOtherBases(t *testing.T) {
	_, c := newPool(t)
	frame := build(hdr{dst: ip("10.0.0.1"), proto: 17, dport: 5, payload: []byte{1, 0, 0, 7, 0, 2, 0, 9, 42}})
	for _, tc := range []struct {
		base  Layer
		data  []byte
		rule  string
		local string
		left  int
	}{
		{UDP, frame[42:], "u/udp", "", 9},
		{UDP, frame[42:], "u/udp/anep", "7", 1},
		{IPv4, frame[14:], "u/ip/udp", ":5", 9},
		{IPv4, frame[14:], "if/ip/udp/anep", "7", 1},
		{UDP, frame[42:], "u", "", 9},
	} {
		pr, err := Compile(tc.base, "u", []Rule{rule(t, 3, tc.rule, tc.local, ""), rule(t, 4, "if/ether", "", "")})
		if err != nil {
			t.Fatal(err)
		}
		p := c.AllocFrom(0, tc.data)
		if id, ok := pr.Match(p); !ok || id != 3 || p.Len() != tc.left {
			t.Errorf("%s on %s: rule %d %v, %d bytes left, want %d", tc.rule, tc.base, id, ok, p.Len(), tc.left)
		}
		c.Free(p)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, tc := range []struct {
		rule Rule
		base Layer
	}{
		{rule(t, 1, "e/udp", "", ""), Ether},
		{rule(t, 1, "e/udp", ":7", ""), UDP},
		{rule(t, 1, "e/ether/ip6/udp", "10.0.0.1:7", ""), Ether},
		{rule(t, 1, "e/ether", "", "0/01 0/02"), Ether},
		{Rule{ID: 1, Protocol: Protocol{Link: "e", Layers: []Layer{Ether, TCP}}}, Ether},
		{Rule{ID: 1, Protocol: Protocol{Link: "e"}, Key: Key{{Offset: -1, Value: []byte{1}}}}, Ether},
		{Rule{ID: 1, Protocol: Protocol{Link: "e", Layers: []Layer{Ether}}, Local: Address{Top: UDP, Port: 1}}, Ether},
		{rule(t, 1, "e", "", wideKey), Ether},
	} {
		if _, err := Compile(tc.base, "e", []Rule{tc.rule}); err == nil {
			t.Errorf("%s: compiled", &tc.rule)
		} else {
			t.Log(err)
		}
	}
	if _, err := Compile(Ether, "e", []Rule{rule(t, 1, "e", "", ""), rule(t, 1, "e/ether", "", "")}); err == nil {
		t.Error("two rules of one number compiled")
	}
	var rules []Rule
	for i := range MaxShapes + 1 {
		rules = append(rules, Rule{ID: uint32(i), Protocol: Protocol{Link: "e"}, Key: Key{{Offset: i, Value: []byte{1}}}})
	}
	if _, err := Compile(Ether, "e", rules); errs.KindOf(err) != errs.Limit || !strings.Contains(err.Error(), "rule 64 (e 64/01)") {
		t.Errorf("a shape too much: %v", err)
	}
}

// wideKey looks at 17 words.
const wideKey = "0/01 10/01 20/01 30/01 40/01 50/01 60/01 70/01 80/01 90/01 100/01 110/01 120/01 130/01 140/01 150/0101010101010101010101"

func TestMatchDoesNotAllocate(t *testing.T) {
	_, c := newPool(t)
	r := rand.New(rand.NewPCG(1, 2))
	pr, err := Compile(Ether, "eth0", randomRules(t, r, "eth0", 60))
	if err != nil {
		t.Fatal(err)
	}
	frames := make([][]byte, 64)
	for i := range frames {
		frames[i] = randomFrame(r)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		p := c.AllocFrom(0, frames[i%64])
		i++
		pr.Match(p)
		c.Free(p)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func FuzzMatch(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20 {
		f.Add(uint64(i), randomFrame(r))
	}
	_, c := newPool(f)
	f.Fuzz(func(t *testing.T, seed uint64, frame []byte) {
		if len(frame) > 1900 {
			return
		}
		rules := randomRules(t, rand.New(rand.NewPCG(seed, 0)), "eth0", 20)
		pr, err := Compile(Ether, "eth0", rules)
		if err != nil {
			t.Fatal(err)
		}
		want, wok := (&naive{Ether, "eth0", rules}).match(frame)
		p := c.AllocFrom(0, frame)
		defer c.Free(p)
		id, ok := pr.Match(p)
		if ok != wok || ok && (id != want.id || !bytes.Equal(p.Data(), frame[want.pay:want.end])) {
			t.Fatalf("got %d %v, reference %d %v", id, ok, want.id, wok)
		}
	})
}

// scaleRules are keys on UDP payloads in so many mask shapes: a number at offset 8, and that some of the bytes before are even.
func scaleRules(keys, shapes int) []Rule {
	var rules []Rule
	for i := range keys {
		k := Key{}
		for s := range i % shapes {
			k = append(k, Tuple{Offset: s, Value: []byte{0}, Mask: []byte{0x01}})
		}
		k = append(k, Tuple{Offset: 8, Value: []byte{byte(i >> 8), byte(i)}})
		rules = append(rules, Rule{ID: uint32(i), Protocol: Protocol{"e", []Layer{Ether, IPv4, UDP}}, Key: k})
	}
	return rules
}

// BenchmarkMatch has packets for all keys in turn, for those of the shape that is asked last, and for none.
func BenchmarkMatch(b *testing.B) {
	for _, n := range [...][2]int{{1, 1}, {64, 1}, {4096, 1}, {4096, 2}, {4096, 4}, {4096, 8}} {
		for _, which := range [...]string{"all", "last", "none"} {
			if n[0] == 1 && which == "last" {
				continue
			}
			b.Run(fmt.Sprintf("keys=%d/shapes=%d/%s", n[0], n[1], which), func(b *testing.B) { benchmarkMatch(b, n[0], n[1], which) })
		}
	}
}

func benchmarkMatch(b *testing.B, keys, shapes int, which string) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 4096})
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	c := pool.Cache(0)
	pr, err := Compile(Ether, "e", scaleRules(keys, shapes))
	if err != nil {
		b.Fatal(err)
	}
	if pr.Shapes() != min(shapes, keys) {
		b.Fatalf("%d shapes", pr.Shapes())
	}
	var ps [1024]*packet.Packet
	size := 0
	for i := range ps {
		pay := make([]byte, 22)
		k := i * 4099 % keys
		switch which {
		case "last":
			k -= k % shapes
		case "none":
			k += 1 << 15
		}
		pay[8], pay[9] = byte(k>>8), byte(k)
		f := build(hdr{dst: ip("10.0.0.1"), proto: 17, payload: pay})
		ps[i], size = c.AllocFrom(0, f), len(f)
		defer c.Free(ps[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := ps[i%len(ps)]
		if _, ok := pr.Match(p); ok {
			p.Push(size - p.Len())
		} else if which != "none" {
			b.Fatal("no match")
		}
	}
}

// TestReadyMatchers matches frames by each of the ready keys, and does not match others.
func TestReadyMatchers(t *testing.T) {
	_, c := newPool(t)
	must := func(k Key, err error) Key {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	method := [16]byte{1, 2, 3, 15: 16}
	capsule := append([]byte{1, 0, 0, 18, 0, 2, 0, 32, 0, 0, 0, 1}, method[:]...) // ANEP, version, method
	capsule = append(capsule, 0, 0, 0, 0)
	v4 := hdr{dst: ip("10.1.2.3"), proto: 17, sport: 7, dport: 9, payload: capsule}
	v6 := hdr{dst: ip("fd00::1"), proto: 6, sport: 7, dport: 9}
	tagged := v4
	tagged.vlans = 1 // VLAN 10
	prefix := netip.MustParsePrefix
	for i, tc := range []struct {
		proto, local string
		key          Key
		yes, no      hdr
	}{
		{"e", "", EtherTypeKey(EtherTypeIPv6), v6, v4},
		{"e", "", EtherTypeKey(EtherTypeVLAN), tagged, v4},
		{"e", "", must(VLANKey(10)), tagged, v4},
		{"e/ether", "", must(IPv4Key(prefix("10.9.0.0/16"), prefix("10.1.0.0/16"))), v4, v6},
		{"e/ether", "", must(IPv6Key(prefix("fd00::/8"), prefix("fd00::1/128"))), v6, v4},
		{"e/ether/ip", ",17", UDPKey(7, 9), v4, hdr{dst: ip("10.1.2.3"), proto: 6, sport: 7, dport: 9}},
		{"e/ether/ip6", ",6", TCPKey(0, 9), v6, hdr{dst: ip("fd00::1"), proto: 6, sport: 7, dport: 8}},
		{"e/ether/ip/udp", "", ANEPKey(18), v4, hdr{dst: ip("10.1.2.3"), proto: 17, payload: []byte{1, 0, 0, 19, 0, 2, 0, 8}}},
		{"e/ether/ip/udp/anep", "", ANTSKey(method), v4, hdr{dst: ip("10.1.2.3"), proto: 17, payload: make([]byte, 40)}},
	} {
		r := rule(t, 1, tc.proto, tc.local, "")
		r.Key = tc.key
		pr, err := Compile(Ether, "e", []Rule{r})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []hdr{tc.yes, tc.no} {
			p := c.AllocFrom(0, build(h))
			_, ok := pr.Match(p)
			c.Free(p)
			if want := fmt.Sprint(h) == fmt.Sprint(tc.yes); ok != want {
				t.Errorf("%d, %s: %v, want %v", i, &r, ok, want)
			}
		}
	}
	if _, err := VLANKey(4096); errs.KindOf(err) != errs.Invalid {
		t.Errorf("VLAN 4096: %v", err)
	}
	other, err := Compile(Ether, "e", []Rule{{ID: 1, Protocol: Protocol{Link: "e"}, Key: must(VLANKey(11))}})
	if err != nil {
		t.Fatal(err)
	}
	p := c.AllocFrom(0, build(tagged))
	defer c.Free(p)
	if _, ok := other.Match(p); ok {
		t.Error("a frame of VLAN 10 matches VLAN 11")
	}
}

// MatchAll answers and does what Match does, also where the answer is one for all packets.
func TestMatchAll(t *testing.T) {
	pool, err := packet.NewPool(packet.PoolSpec{Frames: 128})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Cache(0)
	proto, err := ParseProtocol("eth0")
	if err != nil {
		t.Fatal(err)
	}
	all := Rule{ID: 7, Protocol: proto}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		rules := randomRules(t, r, "eth0", int(seed))
		if seed%4 == 0 {
			rules = []Rule{all}
			if seed%8 == 0 { // the older one
				older := all
				older.ID, older.Age = 9, 0
				rules[0].Age = 1
				rules = append(rules, older)
			}
		}
		pr, err := Compile(Ether, "eth0", rules)
		if err != nil {
			t.Fatal(err)
		}
		if _, same := pr.same(); same != (seed%4 == 0) && len(rules) != 1 {
			t.Errorf("seed %d: one answer for all: %v", seed, same)
		}
		var b, each packet.Batch
		for range 50 {
			f := randomFrame(r)
			b.Append(c.AllocFrom(0, f))
			each.Append(c.AllocFrom(0, f))
		}
		ids := make([]uint32, b.Len())
		pr.MatchAll(b.Packets(), ids)
		for i, p := range each.Packets() {
			id, ok := pr.Match(p)
			if ok != (ids[i] != NoRule) || ok && id != ids[i] || !bytes.Equal(p.Data(), b.At(i).Data()) {
				t.Fatalf("seed %d packet %d: %d with %x, Match says %d %v with %x", seed, i, ids[i], b.At(i).Data(), id, ok, p.Data())
			}
		}
		c.FreeBatch(&b)
		c.FreeBatch(&each)
	}
}
