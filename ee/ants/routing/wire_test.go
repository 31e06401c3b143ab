package routing

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
)

func helloSample() hello {
	return hello{
		header: header{typ: typeHello, node: addr(1), gen: 7}, interval: 200 * time.Millisecond, host: true, pieces: 3, digest: 1 << 60,
		addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")},
		heard: []heard{{addr(2), 9}, {addr(5), 1}},
	}
}

func lsaSample() LSA {
	return LSA{
		Origin: addr(1), Fragment: 2, Host: true, Seq: 1 << 40, Lifetime: time.Minute,
		Adj:      []Adjacency{{addr(2), 10}, {addr(3), 65535}},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/8")},
	}
}

func updateOf(ls ...LSA) []byte {
	b := append(appendHeader(nil, header{typ: typeUpdate, node: addr(1), gen: 7}), byte(len(ls)), 0, 0, 0)
	for i := range ls {
		b = appendLSA(b, &ls[i])
	}
	return finish(b)
}

func summarySample() summary {
	return summary{
		header: header{typ: typeSummary, node: addr(1), gen: 7}, first: 0, last: ^key(0),
		entries: []entry{{key(addr(1)) << 8, 5, 6}, {key(addr(1))<<8 | 1, 7, 8}},
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	h, back := helloSample(), hello{}
	if err := parseHello(appendHello(nil, &h), &back); err != nil || !reflect.DeepEqual(h, back) {
		t.Errorf("hello: %+v, %v, want %+v", back, err, h)
	}
	l := lsaSample()
	var got []LSA
	if err := parseUpdate(updateOf(l, l), func(l *LSA) { got = append(got, *l) }); err != nil || !reflect.DeepEqual(got, []LSA{l, l}) {
		t.Errorf("update: %+v, %v, want twice %+v", got, err, l)
	}
	s, sb := summarySample(), summary{}
	if err := parseSummary(appendSummary(nil, &s), &sb); err != nil || !reflect.DeepEqual(s, sb) {
		t.Errorf("summary: %+v, %v, want %+v", sb, err, s)
	}
}

// decode runs the decoder that the type asks for.
func decode(b []byte) error {
	h, err := parseHeader(b)
	if err != nil {
		return err
	}
	switch h.typ {
	case typeHello:
		return parseHello(b, new(hello))
	case typeUpdate:
		return parseUpdate(b, func(*LSA) {})
	}
	return parseSummary(b, new(summary))
}

func TestMalformedMessages(t *testing.T) {
	h, l, s := helloSample(), lsaSample(), summarySample()
	good := map[string][]byte{"hello": appendHello(nil, &h), "update": updateOf(l), "summary": appendSummary(nil, &s)}
	for name, b := range good {
		if err := decode(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Shorter and longer ones are refused, with the length field as it was and with a true one.
		for n := range len(b) {
			if decode(b[:n]) == nil {
				t.Errorf("%s cut to %d bytes is taken", name, n)
			}
			if n >= headerLen && decode(finish(bytes.Clone(b[:n]))) == nil {
				t.Errorf("%s of %d bytes is taken", name, n)
			}
		}
		if decode(finish(append(bytes.Clone(b), 0))) == nil {
			t.Errorf("%s with one byte more is taken", name)
		}
		if decode(finish(append(bytes.Clone(b), make([]byte, MaxMessage)...))) == nil {
			t.Errorf("%s that is too long is taken", name)
		}
	}
	set := func(b []byte, at int, v ...byte) []byte { c := bytes.Clone(b); copy(c[at:], v); return c }
	lsa := func(f func(*LSA)) []byte { x := lsaSample(); f(&x); return updateOf(x) }
	for name, b := range map[string][]byte{
		"magic":              set(good["hello"], 0, 1),
		"version":            set(good["hello"], 2, 2),
		"type":               set(good["hello"], 3, 9),
		"type zero":          set(good["hello"], 3, 0),
		"sender zero":        set(good["hello"], 4, 0, 0, 0, 0),
		"sender multicast":   set(good["hello"], 4, 224),
		"reserved":           set(good["hello"], 14, 1),
		"hello flags":        set(good["hello"], 18, 4),
		"hello interval":     set(good["hello"], 16, 0, 1),
		"hello address":      set(good["hello"], helloLen, 5),
		"hello multicast":    set(good["hello"], helloLen+1, 224),
		"hello order":        set(good["hello"], helloLen+5+17, 0xdf),
		"update reserved":    set(good["update"], 17, 1),
		"update count":       set(good["update"], 16, 255),
		"origin":             lsa(func(l *LSA) { l.Origin = 0 }),
		"fragment":           lsa(func(l *LSA) { l.Fragment = MaxFragments }),
		"flags":              set(good["update"], updateLen+5, 2),
		"sequence zero":      lsa(func(l *LSA) { l.Seq = 0 }),
		"sequence too high":  lsa(func(l *LSA) { l.Seq = maxSeq + 1 }),
		"lifetime":           lsa(func(l *LSA) { l.Lifetime = 2 * time.Hour }),
		"adjacent to itself": lsa(func(l *LSA) { l.Adj[0].Node = l.Origin }),
		"adjacency order":    lsa(func(l *LSA) { l.Adj[1] = l.Adj[0] }),
		"metric zero":        lsa(func(l *LSA) { l.Adj[0].Metric = 0 }),
		"prefix bits":        lsa(func(l *LSA) { l.Prefixes[1] = netip.MustParsePrefix("10.0.0.1/24") }),
		"prefix order":       lsa(func(l *LSA) { l.Prefixes[1] = l.Prefixes[0] }),
		"prefix multicast":   lsa(func(l *LSA) { l.Prefixes = []netip.Prefix{netip.MustParsePrefix("224.0.0.0/4")} }),
		"prefix loopback":    lsa(func(l *LSA) { l.Prefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }),
		"prefix link-local":  lsa(func(l *LSA) { l.Prefixes = []netip.Prefix{netip.MustParsePrefix("fe80::/64")} }),
		"prefix length":      set(good["update"], updateLen+lsaLen+2*adjLen+1, 33),
		"prefix family":      set(good["update"], updateLen+lsaLen+2*adjLen, 5),
		"piece too long":     lsa(func(l *LSA) { l.Adj = manyAdj(77); l.Prefixes = nil }),
		"summary reserved":   set(good["summary"], 34, 1),
		"summary order":      set(good["summary"], summaryLen, 0xff),
		"summary range":      set(good["summary"], 24, 0, 0, 0, 0),
		"summary sequence":   set(good["summary"], summaryLen+8, 0xff),
	} {
		if err := decode(b); err == nil {
			t.Errorf("%s: taken", name)
		} else if k := errs.KindOf(err); k != errs.Invalid && k != errs.NotSupported {
			t.Errorf("%s: %v has kind %v", name, err, k)
		}
	}
}

func manyAdj(n int) []Adjacency {
	a := make([]Adjacency, n)
	for i := range a {
		a[i] = Adjacency{addr(100 + i), 1}
	}
	return a
}

// FuzzMessage checks that what the decoder takes, the encoder writes back to the byte.
func FuzzMessage(f *testing.F) {
	h, l, s := helloSample(), lsaSample(), summarySample()
	f.Add(appendHello(nil, &h))
	f.Add(updateOf(l))
	f.Add(updateOf(l, LSA{Origin: addr(2), Seq: 1}))
	f.Add(updateOf())
	f.Add(appendSummary(nil, &s))
	f.Add([]byte{Magic >> 8, Magic & 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		hd, err := parseHeader(b)
		if err != nil {
			return
		}
		var back []byte
		switch hd.typ {
		case typeHello:
			var h hello
			if err = parseHello(b, &h); err == nil {
				back = appendHello(nil, &h)
			}
		case typeUpdate:
			var ls []LSA
			if err = parseUpdate(b, func(l *LSA) { ls = append(ls, *l) }); err == nil {
				back = append(appendHeader(nil, hd), byte(len(ls)), 0, 0, 0)
				for i := range ls {
					back = appendLSA(back, &ls[i])
				}
				finish(back)
			}
		case typeSummary:
			var s summary
			if err = parseSummary(b, &s); err == nil {
				back = appendSummary(nil, &s)
			}
		}
		if err == nil && !bytes.Equal(back, b) {
			t.Fatalf("%x was decoded and written as %x", b, back)
		}
	})
}

func TestNodeAddr(t *testing.T) {
	for _, s := range []string{"10.255.0.1", "1.0.0.0", "223.255.255.255"} {
		a, err := ParseNodeAddr(s)
		if err != nil || a.String() != s || NodeAddrFrom(a.IP()) != a || a.Prefix().Bits() != 32 {
			t.Errorf("%s: %v, %v", s, a, err)
		}
		var b NodeAddr
		if text, _ := a.MarshalText(); b.UnmarshalText(text) != nil || b != a {
			t.Errorf("%s: %v after text", s, b)
		}
	}
	for _, s := range []string{"", "0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fd00::1", "host", "10.0.0.0/8"} {
		if a, err := ParseNodeAddr(s); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q: %v, %v", s, a, err)
		}
	}
}
