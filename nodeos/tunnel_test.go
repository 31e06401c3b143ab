package nodeos

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// tunnelLink is a link with addresses of both versions of IP.
func (r *rig) tunnelLink(name, four, six string) *pipe {
	r.Helper()
	l := &pipe{info: LinkInfo{
		Name: name, Driver: "test", Number: r.node.NextLinkNumber(), Base: demux.Ether, MTU: 1500, HWAddr: [6]byte{2, 9},
		Prefixes: []netip.Prefix{netip.MustParsePrefix(four), netip.MustParsePrefix(six)},
	}}
	if err := r.node.AddLink(l, 0); err != nil {
		r.Fatal(err)
	}
	return l
}

// What out-channels wrap is what an independent library reads, with right lengths and checksums, and in-channels of the same protocol string take
// it apart again.
func TestOutChanNests(t *testing.T) {
	four := func(s string) Tunnel { return Tunnel{Remote: netip.MustParseAddr(s)} }
	for _, c := range []struct {
		spec   OutChanSpec
		layers string // as gopacket names them
		source string // of the outermost IP header
		hop    int    // of the outermost IP header
		head   int    // bytes of all headers
	}{
		{OutChanSpec{Protocol: "ether/ip/udp", Address: "10.1.0.2:7"}, "Ethernet IPv4 UDP", "10.0.0.9", 64, 42},
		{OutChanSpec{Protocol: "ether/ip6/udp", Address: "[fd01::2]:7"}, "Ethernet IPv6 UDP", "fd00::9", 64, 62},
		{OutChanSpec{Protocol: "ether/ip/ip/udp", Address: "10.1.0.2:7", TTL: 5, Tunnels: []Tunnel{four("192.0.2.1")}}, "Ethernet IPv4 IPv4 UDP", "10.0.0.9", 64, 62},
		{OutChanSpec{Protocol: "ether/ip/ip6/udp", Address: "[fd01::2]:7", Tunnels: []Tunnel{{Remote: netip.MustParseAddr("192.0.2.1"), Local: netip.MustParseAddr("192.0.2.7"), TTL: 3, TOS: 8}}}, "Ethernet IPv4 IPv6 UDP", "192.0.2.7", 3, 82},
		{OutChanSpec{Protocol: "ether/ip6/ip/udp", Address: "10.1.0.2:7", Tunnels: []Tunnel{four("2001:db8::1")}}, "Ethernet IPv6 IPv4 UDP", "fd00::9", 64, 82},
		{OutChanSpec{Protocol: "ether/ip6/ip6", Address: "fd01::2,253", Tunnels: []Tunnel{four("2001:db8::1")}}, "Ethernet IPv6 IPv6", "fd00::9", 64, 94},
		{OutChanSpec{Protocol: "ether/ip/ip/ip", Address: "10.1.0.2,253", Tunnels: []Tunnel{four("192.0.2.1"), four("192.0.2.2")}}, "Ethernet IPv4 IPv4 IPv4", "10.0.0.9", 64, 74},
		{OutChanSpec{Protocol: "ether/ip/udp/anep", Address: "0x12", Peer: "10.1.0.2:3322", Source: "10.0.0.9:3000"}, "Ethernet IPv4 UDP", "10.0.0.9", 64, 50},
		{OutChanSpec{Protocol: "ether/ip/ip6/udp/anep", Address: "0x12", Peer: "[fd01::2]:3322", Tunnels: []Tunnel{four("192.0.2.1")}, VLAN: []uint16{7}}, "Ethernet Dot1Q IPv4 IPv6 UDP", "10.0.0.9", 64, 94},
	} {
		for _, any := range []bool{false, true} {
			r := stepped(t, resctl.Spec{})
			l := r.tunnelLink("eth0", "10.0.0.9/24", "fd00::9/64")
			d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
			s := c.spec
			s.LinkAddr = [6]byte{2, 7}
			proto := "eth0/" + s.Protocol
			s.Protocol = proto
			if any {
				s.Protocol = "if" + strings.TrimPrefix(proto, "eth0")
				if _, err := d.NewOutChan(s); !errors.Is(err, errs.NotFound) && !strings.HasSuffix(proto, "anep") {
					t.Errorf("%s: an address that is on no link: %v", s.Protocol, err)
				}
				continue
			}
			out, err := d.NewOutChan(s)
			if err != nil {
				t.Errorf("%s: %v", s.Protocol, err)
				continue
			}
			var got []string
			in, err := d.NewInChan(InChanSpec{Protocol: proto, Handler: func(w *Worker, b *packet.Batch) {
				for _, p := range b.Packets() {
					got = append(got, string(p.Data()))
				}
				w.Cache().FreeBatch(b)
			}})
			if err != nil {
				t.Fatal(err)
			}
			w := r.node.Worker(0)
			var b packet.Batch
			payload := bytes.Repeat([]byte("abcdefg"), out.MTU()/7+1)[:out.MTU()]
			b.Append(w.Cache().AllocFrom(d.Owner(), payload))
			b.Append(w.Cache().AllocFrom(d.Owner(), append(payload, 'x'))) // one more than fits
			out.Send(w, &b)
			vlan := 4 * len(s.VLAN)
			if len(l.out) != 1 || out.Stats().Invalid != 1 || len(l.out[0]) != 1514+vlan || len(l.out[0]) != len(payload)+c.head {
				t.Fatalf("%s: %d frames, %+v, MTU %d", s.Protocol, len(l.out), out.Stats(), out.MTU())
			}
			frame := l.out[0]
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
			var names []string
			outer := 0
			for _, x := range p.Layers() {
				switch x := x.(type) {
				case *layers.IPv4:
					if outer++; outer == 1 && (x.SrcIP.String() != c.source || int(x.TTL) != c.hop) {
						t.Errorf("%s: source %s, hops %d", s.Protocol, x.SrcIP, x.TTL)
					}
					head := append([]byte(nil), x.Contents...)
					if demux.Checksum(head) != 0 || int(x.Length) != len(x.Contents)+len(x.Payload) {
						t.Errorf("%s: checksum or length of %+v", s.Protocol, x)
					}
				case *layers.IPv6:
					if outer++; outer == 1 && (x.SrcIP.String() != c.source || int(x.HopLimit) != c.hop) {
						t.Errorf("%s: source %s, hops %d", s.Protocol, x.SrcIP, x.HopLimit)
					}
				case *gopacket.Payload, gopacket.Payload, *gopacket.DecodeFailure:
					continue
				}
				if x.LayerType() != gopacket.LayerTypePayload && x.LayerType() != gopacket.LayerTypeDecodeFailure {
					names = append(names, x.LayerType().String())
				}
			}
			if n := strings.Join(names, " "); !strings.HasPrefix(n, c.layers) {
				t.Errorf("%s: %s, want %s", s.Protocol, n, c.layers)
			}
			l.feed(frame)
			r.settle()
			if len(got) != 1 || got[0] != string(payload) {
				t.Errorf("%s: the in-channel got %d packets, %+v", s.Protocol, len(got), in.Stats())
			}
		}
	}
}

// The header of ANEP has version, type and lengths, and the innermost checksum covers it.
func TestOutChanPeer(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	l := r.link("eth0")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp/anep", Address: "18", Peer: "10.0.0.7:3322", Source: ":99", LinkAddr: [6]byte{2, 7}})
	if err != nil {
		t.Fatal(err)
	}
	w := r.node.Worker(0)
	var b packet.Batch
	b.Append(w.Cache().AllocFrom(d.Owner(), []byte("capsule")))
	out.Send(w, &b)
	if len(l.out) != 1 || !bytes.Equal(l.out[0][42:], append([]byte{1, 0, 0, 18, 0, 2, 0, 15}, "capsule"...)) || !bytes.Equal(l.out[0][34:38], []byte{0, 99, 3322 >> 8, 3322 & 255}) {
		t.Errorf("%x", l.out)
	}
	if out.MTU() != 1500-28-8 {
		t.Errorf("MTU %d", out.MTU())
	}
	// Annotations say where to if the Spec does not.
	out, err = d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp/anep", Address: "18", LinkAddr: [6]byte{2, 7}})
	if err != nil {
		t.Fatal(err)
	}
	l.out = nil
	for _, port := range []uint16{0, 7} {
		p := w.Cache().AllocFrom(d.Owner(), []byte("capsule"))
		p.Anno.Dst, p.Anno.DstPort = hostA, port
		b.Append(p)
	}
	out.Send(w, &b)
	if len(l.out) != 1 || out.Stats().Invalid != 1 {
		t.Errorf("%d frames, %+v", len(l.out), out.Stats())
	}
	// Over a socket the datagram is all there is to write.
	u := &pipe{info: LinkInfo{Name: "u0", Number: r.node.NextLinkNumber(), Base: demux.UDP, MTU: 1400}}
	if err := r.node.AddLink(u, 0); err != nil {
		t.Fatal(err)
	}
	out, err = d.NewOutChan(OutChanSpec{Protocol: "u0/udp/anep", Address: "18", Peer: "10.0.0.7:3322"})
	if err != nil {
		t.Fatal(err)
	}
	b.Append(w.Cache().AllocFrom(d.Owner(), []byte("capsule")))
	out.Send(w, &b)
	if len(u.out) != 1 || len(u.out[0]) != 15 {
		t.Errorf("%x", u.out)
	}
}

// A chain that cannot be built is refused when the channel is made, with what is wrong with it.
func TestBadTunnels(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	r.tunnelLink("eth0", "10.0.0.9/24", "fd00::9/64")
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	a4, a6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		spec OutChanSpec
		kind errs.Kind
		want string
	}{
		{OutChanSpec{Protocol: "eth0/ether/ip/ip/udp"}, errs.Invalid, "0 tunnels, want one for each ip and ip6 below the top one: 1"},
		{OutChanSpec{Protocol: "eth0/ether/ip/udp", Tunnels: []Tunnel{{Remote: a4}}}, errs.Invalid, "1 tunnels"},
		{OutChanSpec{Protocol: "eth0/ether", Tunnels: []Tunnel{{Remote: a4}}}, errs.Invalid, "1 tunnels"},
		{OutChanSpec{Protocol: "eth0/ether/ip/ip/udp", Tunnels: []Tunnel{{}}}, errs.Invalid, "want a remote address"},
		{OutChanSpec{Protocol: "eth0/ether/ip/ip/udp", Tunnels: []Tunnel{{Remote: a6}}}, errs.Invalid, "of ip"},
		{OutChanSpec{Protocol: "eth0/ether/ip6/ip/udp", Tunnels: []Tunnel{{Remote: a6, Local: a4}}}, errs.Invalid, "of ip6"},
		{OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:7", Peer: "10.0.0.1:7"}, errs.Invalid, "a Peer is for anep on top"},
		{OutChanSpec{Protocol: "eth0/ether/ip/udp/anep", Address: "10.0.0.1:7"}, errs.Invalid, "anep address"},
		{OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "[fd00::1]:7"}, errs.Invalid, "wants one of ip"},
		{OutChanSpec{Protocol: "eth0/ether/ip/udp", Address: "10.0.0.1:7", Source: "[fd00::1]:7"}, errs.Invalid, "wants one of ip"},
		{OutChanSpec{Protocol: "eth0/ether/ip6/udp/anep", Peer: "10.0.0.1:7"}, errs.Invalid, "wants one of ip6"},
		{OutChanSpec{Protocol: "eth0/ether/ip/udp/anep", Peer: "10.0.0.1"}, errs.Invalid, "udp address"},
		{OutChanSpec{Protocol: "eth0/ether/ip6/ip6/ip6", Tunnels: []Tunnel{{Remote: a6}, {Remote: a6}}}, errs.TooBig, "134 bytes of headers, frames have room for 128"},
		{OutChanSpec{Protocol: "eth0/ether/ip/tcp"}, errs.NotSupported, "wrapped in tcp"},
		{OutChanSpec{Protocol: "eth0/ip"}, errs.Invalid, "frames of the link begin with ether"},
		{OutChanSpec{Protocol: "eth0/ether/gre"}, errs.Invalid, `unknown module "gre" (there are ether, ip, ip6, udp, tcp, anep)`},
		{OutChanSpec{Protocol: "eth9/ether"}, errs.NotFound, "link eth9 is not open (there are [eth0])"},
	} {
		_, err := d.NewOutChan(c.spec)
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.spec, err, c.want)
		}
	}
	// An address of the other version than the chain's is counted as what cannot be sent.
	out, err := d.NewOutChan(OutChanSpec{Protocol: "eth0/ether/ip/udp", LinkAddr: [6]byte{2, 7}})
	if err != nil {
		t.Fatal(err)
	}
	w := r.node.Worker(0)
	var b packet.Batch
	p := w.Cache().AllocFrom(d.Owner(), []byte("x"))
	p.Anno.Dst, p.Anno.DstPort = a6, 7
	b.Append(p)
	out.Send(w, &b)
	if s := out.Stats(); s.Invalid != 1 || s.Packets != 0 {
		t.Errorf("%+v", s)
	}
}

// "if" is the link that the address is on.
func TestOutChanAnyLink(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d := r.domain(r.node.Root(), resctl.Spec{Name: "d"})
	a := r.tunnelLink("a", "10.0.0.9/24", "fd00::9/64")
	send := func(s OutChanSpec) error {
		s.LinkAddr = [6]byte{2, 7}
		out, err := d.NewOutChan(s)
		if err != nil {
			return err
		}
		w := r.node.Worker(0)
		p := w.Cache().AllocFrom(d.Owner(), []byte("x"))
		if !out.remote.Prefix.IsValid() {
			p.Anno.Dst, p.Anno.DstPort = hostA, 7
		}
		var b packet.Batch
		b.Append(p)
		out.Send(w, &b)
		return nil
	}
	if err := send(OutChanSpec{Protocol: "if/ether/ip/udp"}); err != nil || len(a.out) != 1 {
		t.Errorf("the only link: %v, %d", err, len(a.out))
	}
	b, c := r.tunnelLink("b", "10.0.0.129/25", "fd01::9/64"), r.tunnelLink("c", "10.0.0.8/24", "fd00::8/64")
	for _, x := range []struct {
		spec OutChanSpec
		l    *pipe
		kind errs.Kind
	}{
		{OutChanSpec{Protocol: "if/ether/ip/udp", Address: "10.0.0.1:7"}, a, errs.OK},   // of two the oldest
		{OutChanSpec{Protocol: "if/ether/ip/udp", Address: "10.0.0.200:7"}, b, errs.OK}, // the longest prefix
		{OutChanSpec{Protocol: "if/ether/ip6/udp", Address: "[fd01::7]:7"}, b, errs.OK},
		{OutChanSpec{Protocol: "if/ether/ip/ip/udp", Address: "192.0.2.1:7", Tunnels: []Tunnel{{Remote: netip.MustParseAddr("10.0.0.200")}}}, b, errs.OK},
		{OutChanSpec{Protocol: "if/ether/ip/udp", Address: "192.0.2.1:7"}, nil, errs.NotFound},
		{OutChanSpec{Protocol: "if/ether/ip/udp"}, nil, errs.Invalid},
		{OutChanSpec{Protocol: "if"}, nil, errs.Invalid},
	} {
		a.out, b.out, c.out = nil, nil, nil
		if err := send(x.spec); errs.KindOf(err) != x.kind {
			t.Errorf("%+v: %v", x.spec, err)
		}
		if x.l != nil && (len(x.l.out) != 1 || len(a.out)+len(b.out)+len(c.out) != 1) {
			t.Errorf("%+v: %d %d %d", x.spec, len(a.out), len(b.out), len(c.out))
		}
	}
}
