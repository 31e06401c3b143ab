package demux

import (
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

// addresses are, for each protocol that can be on top, addresses with what they are written as, and such that it has not.
var addresses = map[Layer]struct {
	good map[string]string // "=": as it is
	bad  []string
}{
	None: {map[string]string{"": ""}, []string{"x", ":1", "10.0.0.1", "0", " "}},
	Ether: {
		map[string]string{
			"": "", "02:00:00:00:00:01": "=", "0x0800": "=", "2048": "0x0800", "0": "", ",": "", ",0x88b5": "0x88b5", "02:00:00:00:00:01,": "02:00:00:00:00:01",
			"02:00:00:00:00:01,0x0800": "=", "0200.0000.0001": "02:00:00:00:00:01", "02-00-00-00-00-01": "02:00:00:00:00:01", "00:00:00:00:00:00": "",
		},
		[]string{"65536", "02:00:00:00:00", "02:00:00:00:00:00:00:01", "02:00:00:00:00:01,x", "x", "-1", "02:00:00:00:00:01,1,2", " 0x0800"},
	},
	IPv4: {
		map[string]string{
			"": "", "10.0.0.1": "=", "10.0.0.0/8": "=", "10.1.2.3/8": "10.0.0.0/8", "10.0.0.1/32": "10.0.0.1", "0.0.0.0/0": "=", ",89": "=", "10.0.0.0/8,17": "=", "10.0.0.1,": "10.0.0.1", "10.0.0.1,0x11": "10.0.0.1,17",
			"::ffff:10.0.0.1": "10.0.0.1",
		},
		[]string{"10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.0/33", "10.0.0.0/-1", "fd00::1", "fd00::/8", "10.0.0.1,256", "10.0.0.1,x", "10.0.0.1:80", "::ffff:10.0.0.0/104", "host", "10.0.0.1,1,2"},
	},
	IPv6: {
		map[string]string{"": "", "fd00::1": "=", "fd00::/8": "=", "fd00::1/8": "fd00::/8", "::/0": "=", "fd00::1,58": "=", ",41": "=", "FD00:0::1": "fd00::1"},
		[]string{"10.0.0.1", "fd00::/129", "fe80::1%eth0", "[fd00::1]", "fd00::1,300", "::ffff:10.0.0.1", "host"},
	},
	UDP: {
		map[string]string{
			"": "", ":": "", ":0": "", ":7": "=", "10.0.0.1:": "=", "10.0.0.1:7": "=", "[fd00::1]:7": "=", "[fd00::1]:": "=", "[::ffff:10.0.0.1]:7": "10.0.0.1:7", "10.0.0.1:0": "10.0.0.1:",
			"0.0.0.0:7": "=",
		},
		[]string{"7", "10.0.0.1", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:http", "fd00::1:7:", "[fd00::1%eth0]:7", "host:7", "10.0.0.0/8:7", "[10.0.0.1:7", ":7:7", ": 7"},
	},
	TCP:  {map[string]string{"": "", ":7": "=", "10.0.0.1:7": "=", "[fd00::1]:7": "="}, []string{"7", "host:7", ":65536"}},
	ANEP: {map[string]string{"": "", "18": "0x12", "0x12": "=", "0xffff": "=", "0": ""}, []string{"65536", "-1", "x", "0x", "1.5", " 1", ":18"}},
}

func TestAddressesOfEachLayer(t *testing.T) {
	for l := None; l < numLayers; l++ {
		c := addresses[l]
		if len(c.good) == 0 || len(c.bad) == 0 {
			t.Fatalf("%s has no addresses in this test", l)
		}
		for s, want := range c.good {
			if want == "=" {
				want = s
			}
			a, err := ParseAddress(l, s)
			if err != nil || a.String() != want || a.IsAny() != (want == "") || a.Top != l {
				t.Errorf("%s %q: %q any %v, %v; want %q", l, s, a, a.IsAny(), err, want)
			}
			if b, err := ParseAddress(l, a.String()); err != nil || a != b {
				t.Errorf("%s %q: %+v, again %+v, %v", l, s, a, b, err)
			}
		}
		for _, s := range c.bad {
			a, err := ParseAddress(l, s)
			if errs.KindOf(err) != errs.Invalid || !strings.Contains(err.Error(), l.String()) || a != (Address{}) {
				t.Errorf("%s %q: %+v, %v", l, s, a, err)
			}
		}
	}
}

// The address of a protocol that stands on IP is of that version.
func TestAddressFitsTheChain(t *testing.T) {
	for _, c := range []struct {
		proto, addr string
		ok          bool
	}{
		{"e/ether/ip/udp", "10.0.0.1:7", true},
		{"e/ether/ip/udp", "[fd00::1]:7", false},
		{"e/ether/ip/udp", ":7", true},
		{"e/ether/ip6/udp", "10.0.0.1:7", false},
		{"e/ether/ip6/udp", "[fd00::1]:7", true},
		{"e/ether/ip6/ip/udp", "10.0.0.1:7", true}, // the nearest counts
		{"e/ether/ip6/ip/tcp", "[fd00::1]:7", false},
		{"e/ether/ip/ip6", "fd00::/8", true},
		{"e/ether/ip", "10.0.0.0/8,17", true},
		{"u/udp", "[fd00::1]:7", true}, // on a socket either
		{"u/udp", "10.0.0.1:7", true},
		{"e/ether/ip/udp/anep", "18", true},
		{"e", "", true},
		{"e/ether", "x", false},
	} {
		p, err := ParseProtocol(c.proto)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := p.ParseAddress(c.addr); (err == nil) != c.ok || err != nil && (errs.KindOf(err) != errs.Invalid || a != (Address{})) {
			t.Errorf("%s %q: %+v, %v", c.proto, c.addr, a, err)
		}
	}
}

func FuzzAddressOfChain(f *testing.F) {
	f.Add("eth0/ether/ip/ip6/udp", "[fd00::1]:7")
	f.Add("if/ether/ip", "10.0.0.0/8,17")
	f.Add("u0/udp/anep", "0x12")
	f.Add("pcap0/ether", "02:00:00:00:00:01,0x0800")
	f.Fuzz(func(t *testing.T, proto, addr string) {
		p, err := ParseProtocol(proto)
		if err != nil {
			if errs.KindOf(err) != errs.Invalid || len(err.Error()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		below := None
		for _, l := range p.Layers {
			if !l.follows(below) {
				t.Fatalf("%q: %s on %s", proto, l, below)
			}
			below = l
		}
		if len(p.Layers) > MaxLayers || len(p.Link) > maxLinkName || p.String() != proto {
			t.Fatalf("%q became %+v", proto, p)
		}
		a, err := p.ParseAddress(addr)
		if err != nil {
			if errs.KindOf(err) != errs.Invalid || len(err.Error()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		if b, err := p.ParseAddress(a.String()); err != nil || a != b {
			t.Fatalf("%q %q: %+v, again %+v, %v", proto, addr, a, b, err)
		}
	})
}
