package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// Addresses of the frames that the suite makes. The link's side of the network is expected to have Here and Here6.
var (
	There    = netip.MustParseAddr("10.77.0.2")
	Here     = netip.MustParseAddr("10.77.0.1")
	There6   = netip.MustParseAddr("fd77::2")
	Here6    = netip.MustParseAddr("fd77::1")
	ThereMAC = [6]byte{0x02, 0x77, 0, 0, 0, 2}
)

// FrameSpec describes a UDP frame from There to Here.
type FrameSpec struct {
	Dst     [6]byte
	Port    uint16
	Payload []byte
	V6      bool
	Tags    []uint16 // VLAN tags, the outer first (802.1ad if there are two)
	Options int      // words of IPv4 options
	FragOff int      // in bytes; the payload is then raw IP payload
	More    bool
	To      netip.Addr // instead of Here
	Pad     bool       // to the least size of an Ethernet frame
}

// Build makes the frame, with right checksums.
func (s FrameSpec) Build() []byte {
	src, dst := There, Here
	if s.V6 {
		src, dst = There6, Here6
	}
	if s.To.IsValid() {
		dst = s.To
	}
	var b []byte
	if s.FragOff == 0 {
		b = binary.BigEndian.AppendUint16(b, 40000)
		b = binary.BigEndian.AppendUint16(b, s.Port)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(s.Payload)))
		b = append(b, 0, 0)
		b = append(b, s.Payload...)
		check := demux.Fold(demux.Sum(demux.PseudoSum(src, dst, demux.ProtoUDP, len(b)), b))
		if check == 0 {
			check = 0xffff
		}
		binary.BigEndian.PutUint16(b[6:], check)
	} else {
		b = append(b, s.Payload...)
	}
	var h []byte
	typ := uint16(demux.EtherTypeIPv4)
	if s.V6 {
		typ = demux.EtherTypeIPv6
		h = []byte{0x60, 0, 0, 0, byte(len(b) >> 8), byte(len(b)), demux.ProtoUDP, 64}
		h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
	} else {
		n := 20 + 4*s.Options
		h = make([]byte, n)
		h[0] = 0x40 | byte(n/4)
		binary.BigEndian.PutUint16(h[2:], uint16(n+len(b)))
		binary.BigEndian.PutUint16(h[4:], 0x1234)
		frag := uint16(s.FragOff / 8)
		if s.More {
			frag |= 0x2000
		}
		binary.BigEndian.PutUint16(h[6:], frag)
		h[8], h[9] = 64, demux.ProtoUDP
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		for i := 20; i < n; i++ {
			h[i] = 1 // no operation
		}
		binary.BigEndian.PutUint16(h[10:], demux.Checksum(h))
	}
	f := append(append([]byte(nil), s.Dst[:]...), ThereMAC[:]...)
	for i, t := range s.Tags {
		tpid := uint16(demux.EtherTypeVLAN)
		if i == 0 && len(s.Tags) > 1 {
			tpid = demux.EtherTypeSVLAN
		}
		f = binary.BigEndian.AppendUint16(f, tpid)
		f = binary.BigEndian.AppendUint16(f, t)
	}
	f = binary.BigEndian.AppendUint16(f, typ)
	f = append(append(f, h...), b...)
	if s.Pad && len(f) < 60 {
		f = append(f, make([]byte, 60-len(f))...)
	}
	return f
}

// UDPFrame returns a plain UDP frame over IPv4.
func UDPFrame(dst [6]byte, port uint16, payload []byte) []byte {
	return FrameSpec{Dst: dst, Port: port, Payload: payload}.Build()
}

// frames sends each sort of frame that a link may carry.
func (f *Fixture) frames(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 0)
	mac := f.MAC()
	port := fmt.Sprintf(":%d", Port)
	udp := NewSink(t, n, "l0/ether/ip/udp", port, "")
	udp6 := NewSink(t, n, "l0/ether/ip6/udp", port, "")
	frag := NewSink(t, n, "l0/ether/ip", "10.77.0.1,17", "")
	other := NewSink(t, n, "l0/ether", "0x88b5", "")
	// Of whole frames, those with tag 0x2030: the bytes of a tag count, wherever the driver gets it from.
	whole := NewSink(t, n, "l0", "", "12/81002030")

	custom := append(append(append([]byte(nil), mac[:]...), ThereMAC[:]...), 0x88, 0xb5, 'h', 'i')
	notOurs := append(append(append([]byte(nil), mac[:]...), ThereMAC[:]...), 0x88, 0xb6, 'n', 'o')
	for _, c := range []struct {
		name  string
		frame []byte
		to    *Sink
		data  []byte
		vlan  int
	}{
		{"plain", FrameSpec{Dst: mac, Port: Port, Payload: []byte("plain")}.Build(), udp, []byte("plain"), -1},
		{"padded", FrameSpec{Dst: mac, Port: Port, Payload: []byte("p"), Pad: true}.Build(), udp, []byte("p"), -1},
		{"no payload", FrameSpec{Dst: mac, Port: Port, Pad: true}.Build(), udp, nil, -1},
		{"largest", FrameSpec{Dst: mac, Port: Port, Payload: numbered('x', 1, 1472)}.Build(), udp, numbered('x', 1, 1472), -1},
		{"largest, tagged", FrameSpec{Dst: mac, Port: Port, Payload: numbered('x', 2, 1472), Tags: []uint16{7}}.Build(), udp, numbered('x', 2, 1472), 7},
		{"tag", FrameSpec{Dst: mac, Port: Port, Payload: []byte("tag"), Tags: []uint16{0x200a}}.Build(), udp, []byte("tag"), 0x200a},
		{"two tags", FrameSpec{Dst: mac, Port: Port, Payload: []byte("tags"), Tags: []uint16{5, 6}}.Build(), udp, []byte("tags"), 5},
		{"options", FrameSpec{Dst: mac, Port: Port, Payload: []byte("opts"), Options: 5}.Build(), udp, []byte("opts"), -1},
		{"options and tag", FrameSpec{Dst: mac, Port: Port, Payload: []byte("opts"), Options: 1, Tags: []uint16{9}}.Build(), udp, []byte("opts"), 9},
		{"ipv6", FrameSpec{Dst: mac, Port: Port, Payload: []byte("six"), V6: true}.Build(), udp6, []byte("six"), -1},
		{"first fragment", FrameSpec{Dst: mac, Port: Port, Payload: []byte("12345678"), More: true}.Build(), udp, []byte("12345678"), -1},
		{"later fragment", FrameSpec{Dst: mac, Payload: []byte("abcdefgh"), FragOff: 16}.Build(), frag, []byte("abcdefgh"), -1},
		{"other type", custom, other, []byte("hi"), -1},
		{"whole frame with tag", FrameSpec{Dst: mac, Port: 9, Payload: []byte("w"), Tags: []uint16{0x2030}, To: There}.Build(), whole,
			FrameSpec{Dst: mac, Port: 9, Payload: []byte("w"), Tags: []uint16{0x2030}, To: There}.Build(), 0x2030},
	} {
		// Around each frame one that is nobody's and one that tells the end; that is of another flow, which on a link of several
		// workers may overtake it.
		end := FrameSpec{Dst: mac, Port: Port, Payload: []byte("end")}.Build()
		f.Inject(t, notOurs, c.frame)
		if f.Workers <= 1 {
			f.Inject(t, end)
		}
		g := c.to.Next(t)
		if f.Workers > 1 {
			f.Inject(t, end)
		}
		if !bytes.Equal(g.Data, c.data) {
			t.Errorf("%s: got %x, want %x", c.name, g.Data, c.data)
			continue
		}
		if c.to != whole && !bytes.Equal(g.Frame[:len(g.Frame)], c.frame[:len(g.Frame)]) {
			t.Errorf("%s: frame %x, want %x", c.name, g.Frame, c.frame)
		}
		if g.Anno.HasVLAN != (c.vlan >= 0) || c.vlan >= 0 && int(g.Anno.VLAN) != c.vlan {
			t.Errorf("%s: tag %v %#x, want %#x", c.name, g.Anno.HasVLAN, g.Anno.VLAN, c.vlan)
		}
		if g.Anno.Time == 0 || g.Anno.Link == 0 {
			t.Errorf("%s: time %d, link %d were not set", c.name, g.Anno.Time, g.Anno.Link)
		}
		if g := udp.Next(t); string(g.Data) != "end" {
			t.Errorf("%s: then %x", c.name, g.Data)
		}
	}
	for _, s := range []*Sink{udp, udp6, frag, other, whole} {
		s.Empty(t)
	}
}

// kinds checks the annotation of how a frame was addressed.
func (f *Fixture) kinds(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 0)
	s := NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", Port), "")
	for _, c := range []struct {
		dst  [6]byte
		kind packet.LinkKind
	}{
		{f.MAC(), packet.ToHost},
		{[6]byte{255, 255, 255, 255, 255, 255}, packet.ToBroadcast},
		{[6]byte{1, 0, 0x5e, 1, 2, 3}, packet.ToMulticast},
	} {
		f.Inject(t, UDPFrame(c.dst, Port, []byte("kind")))
		if g := s.Next(t); g.Anno.Kind != c.kind {
			t.Errorf("to %x: kind %d, want %d", c.dst, g.Anno.Kind, c.kind)
		}
	}
}

// foreign sends to somebody else's hardware address.
func (f *Fixture) foreign(t *testing.T) {
	n := NewNode(t, max(f.Workers, 1))
	f.Open(t, n, "l0", 0)
	s := NewSink(t, n, "l0/ether/ip/udp", fmt.Sprintf(":%d", Port), "")
	f.Inject(t, UDPFrame([6]byte{2, 0x77, 9, 9, 9, 9}, Port, []byte("not for us")))
	f.Inject(t, UDPFrame(f.MAC(), Port, []byte("for us")))
	if g := s.Next(t); string(g.Data) != "for us" {
		t.Errorf("got %q", g.Data)
	}
}
