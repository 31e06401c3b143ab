package demux

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestParseProtocol(t *testing.T) {
	for _, s := range []string{"eth0", "if", "eth0/ether", "eth0/ether/ip/udp", "if/ether/ip6/udp/anep", "t0/ip/ip/udp", "u0/udp/anep", "br-lan.7/ether/ip/tcp"} {
		p, err := ParseProtocol(s)
		if err != nil || p.String() != s {
			t.Errorf("%s: %q, %v", s, p.String(), err)
		}
	}
	for s, want := range map[string]string{
		"":                             "no link name",
		"eth0/":                        `unknown module ""`,
		"eth0/ether/ipx":               `unknown module "ipx" (there are ether, ip, ip6, udp, tcp, anep)`,
		"ip/udp":                       "begins with module ip",
		"eth0/ether/udp":               "udp cannot stand on ether",
		"eth0/tcp":                     "tcp cannot stand directly on a link",
		"a b/ether":                    "blank",
		"e/ip/ip/ip/ip/ip/ip/ip/ip/ip": "more than 8 modules",
	} {
		_, err := ParseProtocol(s)
		if err == nil || errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", s, err, want)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, tc := range []struct {
		top  Layer
		in   string
		want Address
		out  string // "": as in
	}{
		{UDP, "10.0.0.1:5000", Address{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Port: 5000}, ""},
		{UDP, ":5000", Address{Port: 5000}, ""},
		{UDP, "[fd00::1]:5000", Address{Prefix: netip.MustParsePrefix("fd00::1/128"), Port: 5000}, ""},
		{TCP, "10.0.0.1:", Address{Prefix: netip.MustParsePrefix("10.0.0.1/32")}, ""},
		{UDP, "[::ffff:1.2.3.4]:1", Address{Prefix: netip.MustParsePrefix("1.2.3.4/32"), Port: 1}, "1.2.3.4:1"},
		{IPv4, "10.1.2.3/8", Address{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, "10.0.0.0/8"},
		{IPv4, "10.1.2.3,0x59", Address{Prefix: netip.MustParsePrefix("10.1.2.3/32"), Proto: 89}, "10.1.2.3,89"},
		{IPv6, ",58", Address{Proto: 58}, ""},
		{Ether, "0x88b5", Address{EtherType: 0x88b5}, ""},
		{Ether, "02:00:00:00:00:01,2048", Address{MAC: [6]byte{2, 5: 1}, EtherType: 0x800}, "02:00:00:00:00:01,0x0800"},
		{Ether, "02:00:00:00:00:01", Address{MAC: [6]byte{2, 5: 1}}, ""},
		{ANEP, "18", Address{Type: 18}, "0x12"},
		{None, "", Address{}, ""},
		{UDP, "", Address{}, ""},
	} {
		tc.want.Top = tc.top
		if tc.out == "" {
			tc.out = tc.in
		}
		a, err := ParseAddress(tc.top, tc.in)
		if err != nil || a != tc.want || a.String() != tc.out {
			t.Errorf("%s %q: %+v %q, %v", tc.top, tc.in, a, a.String(), err)
		}
	}
	for _, tc := range []struct {
		top Layer
		in  string
	}{
		{UDP, "5000"}, {UDP, "host:1"}, {UDP, "1.2.3.4:99999"}, {UDP, "10.0.0.0/8:1"}, {IPv4, "fd00::1"}, {IPv6, "10.0.0.1"}, {IPv4, "10.0.0.1,300"},
		{IPv4, "10.0.0.1/33"}, {Ether, "zz:00:00:00:00:01"}, {Ether, "70000"}, {Ether, "00:00:00:00:00:00:00:01"}, {ANEP, "x"}, {None, "1"}, {IPv6, "fe80::1%eth0"},
	} {
		if a, err := ParseAddress(tc.top, tc.in); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s %q: %+v, %v", tc.top, tc.in, a, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	k, err := ParseKey(" 0/0103  4/ab%f0 ")
	want := Key{{Offset: 0, Value: []byte{1, 3}}, {Offset: 4, Value: []byte{0xab}, Mask: []byte{0xf0}}}
	if err != nil || !reflect.DeepEqual(k, want) || k.String() != "0/0103 4/ab%f0" || k.Bits() != 20 {
		t.Errorf("%+v %q %d bits, %v", k, k.String(), k.Bits(), err)
	}
	for _, s := range []string{"0", "x/01", "0/1", "0/", "0/01%", "0/0102%ff", "9999/01", "-1/01", strings.Repeat("0/01 ", 17), "0/" + strings.Repeat("00", 65)} {
		if _, err := ParseKey(s); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

// TestReadyKeys checks the constructors against real packets.
func TestReadyKeys(t *testing.T) {
	_, c := newPool(t)
	method := [16]byte{1, 2, 3, 15: 9}
	capsule := append([]byte{0, 0, 0, 2}, method[:]...)
	anep := append([]byte{1, 0, 0, 0x12, 0, 3, 0, 32, 0, 0, 0, 0}, capsule...)
	f := build(hdr{dst: ip("10.0.0.1"), proto: 17, sport: 7, dport: 9, payload: anep})
	f6 := build(hdr{dst: ip("fd00::1"), proto: 17, sport: 7, dport: 9})
	must := func(k Key, err error) Key {
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	any4 := netip.MustParsePrefix("0.0.0.0/0")
	for _, tc := range []struct {
		proto string
		key   Key
		f     []byte
		want  bool
	}{
		{"e/ether", must(IPv4Key(netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("10.0.0.0/30"))), f, true},
		{"e/ether", must(IPv4Key(any4, netip.MustParsePrefix("10.0.0.2/31"))), f, false},
		{"e/ether", must(IPv4Key(any4, any4)), f6, false},
		{"e/ether", must(IPv6Key(netip.Prefix{}, netip.MustParsePrefix("fd00::/7"))), f6, true},
		{"e/ether/ip", UDPKey(7, 9), f, true},
		{"e/ether/ip", UDPKey(0, 7), f, false},
		{"e/ether/ip/udp", ANEPKey(0x12), f, true},
		{"e/ether/ip/udp", ANEPKey(0x13), f, false},
		{"e/ether/ip/udp/anep", ANTSKey(method), f, true},
		{"e/ether/ip/udp/anep", ANTSKey([16]byte{1}), f, false},
	} {
		p, err := ParseProtocol(tc.proto)
		if err != nil {
			t.Fatal(err)
		}
		pr, err := Compile(Ether, "e", []Rule{{ID: 1, Protocol: p, Key: tc.key}})
		if err != nil {
			t.Fatal(err)
		}
		pk := c.AllocFrom(0, tc.f)
		if _, ok := pr.Match(pk); ok != tc.want {
			t.Errorf("%s %s: match %v", tc.proto, tc.key, ok)
		}
		c.Free(pk)
	}
	if _, err := IPv4Key(netip.MustParsePrefix("fd00::/8"), netip.Prefix{}); err == nil {
		t.Error("IPv4 key of an IPv6 prefix")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"eth0/ether/ip/udp", "10.0.0.1:5000", "0/0103 4/ab%f0", "fd00::/8,17", "02:00:00:00:00:01,0x800", "if/udp/anep"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParseProtocol(s); err == nil {
			if p.String() != s {
				t.Fatalf("protocol %q became %q", s, p.String())
			}
		}
		for l := None; l < numLayers; l++ {
			a, err := ParseAddress(l, s)
			if err != nil {
				continue
			}
			if b, err := ParseAddress(l, a.String()); err != nil || a != b {
				t.Fatalf("%s address %q: %+v, again %+v, %v", l, s, a, b, err)
			}
		}
		if k, err := ParseKey(s); err == nil {
			k2, err := ParseKey(k.String())
			if err != nil || k2.String() != k.String() {
				t.Fatalf("key %q became %q, %v", s, k.String(), err)
			}
		}
	})
}
