package demux

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/janos-os/janos/packet"
)

func newPool(t testing.TB) (*packet.Pool, *packet.Cache) {
	t.Helper()
	p, err := packet.NewPool(packet.PoolSpec{Frames: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, p.Cache(0)
}

func rule(t testing.TB, id uint32, proto, local, key string) Rule {
	t.Helper()
	pr, err := ParseProtocol(proto)
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseAddress(pr.Top(), local)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Rule{ID: id, Protocol: pr, Local: a, Key: k}
}

// hdr is a description of a packet that build makes real.
type hdr struct {
	vlans        int
	ihl          int // extra words of IPv4 options
	fragOff      uint16
	more         bool
	ext          []byte // IPv6 extension headers by number
	dst          netip.Addr
	proto        uint8
	sport, dport uint16
	payload      []byte
	pad          int
}

func build(h hdr) []byte {
	var l4 []byte
	switch {
	case h.fragOff != 0:
		l4 = h.payload
	case h.proto == protoUDP:
		l4 = binary.BigEndian.AppendUint16(l4, h.sport)
		l4 = binary.BigEndian.AppendUint16(l4, h.dport)
		l4 = binary.BigEndian.AppendUint16(l4, uint16(8+len(h.payload)))
		l4 = append(l4, 0, 0)
		l4 = append(l4, h.payload...)
	case h.proto == protoTCP:
		l4 = binary.BigEndian.AppendUint16(l4, h.sport)
		l4 = binary.BigEndian.AppendUint16(l4, h.dport)
		l4 = append(l4, 0, 0, 0, 1, 0, 0, 0, 2, 0x60, 0x10, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1)
		l4 = append(l4, h.payload...)
	default:
		l4 = h.payload
	}
	var l3 []byte
	typ := uint16(etherIPv4)
	if h.dst.Is4() {
		n := 20 + 4*h.ihl
		l3 = make([]byte, n, n+len(l4))
		l3[0] = 0x40 | byte(n/4)
		binary.BigEndian.PutUint16(l3[2:], uint16(n+len(l4)))
		f := h.fragOff / 8
		if h.more {
			f |= 0x2000
		}
		binary.BigEndian.PutUint16(l3[6:], f)
		l3[8], l3[9] = 64, h.proto
		d := h.dst.As4()
		copy(l3[12:], []byte{10, 9, 9, 9})
		copy(l3[16:], d[:])
		for i := 20; i < n; i++ {
			l3[i] = 1
		}
	} else {
		typ = etherIPv6
		l3 = make([]byte, 40)
		l3[0], l3[7] = 0x60, 64
		d := h.dst.As16()
		l3[8] = 0xfd
		copy(l3[24:], d[:])
		ext := h.ext
		if h.fragOff != 0 || h.more {
			ext = append(append([]byte(nil), ext...), protoFragment)
		}
		at := 6
		for _, e := range ext {
			l3[at] = e
			at = len(l3)
			x := make([]byte, 8)
			switch e {
			case protoFragment:
				f := h.fragOff &^ 7
				if h.more {
					f |= 1
				}
				binary.BigEndian.PutUint16(x[2:], f)
			case protoAH:
				x = append(x, 0, 0, 0, 0)
				x[1] = 1
			}
			l3 = append(l3, x...)
		}
		l3[at] = h.proto
		binary.BigEndian.PutUint16(l3[4:], uint16(len(l3)-40+len(l4)))
	}
	f := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for i := range h.vlans {
		t := uint16(etherVLAN)
		if i == 0 && h.vlans > 1 {
			t = etherSVID
		}
		f = binary.BigEndian.AppendUint16(f, t)
		f = append(f, 0, byte(10+i))
	}
	f = binary.BigEndian.AppendUint16(f, typ)
	f = append(append(f, l3...), l4...)
	return append(f, make([]byte, h.pad)...)
}

// randomHdr draws a packet description from a small world, so that rules and packets meet often.
func randomHdr(r *rand.Rand) hdr {
	dsts := [...]string{"10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1", "fd00::2"}
	h := hdr{
		vlans: r.IntN(4),
		ihl:   r.IntN(4),
		dst:   netip.MustParseAddr(dsts[r.IntN(len(dsts))]),
		proto: [...]uint8{protoUDP, protoUDP, protoUDP, protoTCP, 1}[r.IntN(5)],
		sport: uint16(1000 + r.IntN(2)),
		dport: uint16(5000 + r.IntN(3)),
		pad:   r.IntN(3) * 7,
	}
	switch r.IntN(6) {
	case 0:
		h.fragOff, h.more = 8, r.IntN(2) == 0
	case 1:
		h.more = true
	}
	for range r.IntN(3) {
		h.ext = append(h.ext, [...]byte{protoHopByHop, protoDestOpts, protoAH, protoRouting}[r.IntN(4)])
	}
	n := r.IntN(24)
	for range n {
		h.payload = append(h.payload, byte(r.IntN(3)))
	}
	if n >= 12 && r.IntN(2) == 0 { // an ANEP header
		copy(h.payload, []byte{1, 0, 0, byte(r.IntN(3)), 0, byte(2 + r.IntN(2)), 0, byte(n - r.IntN(2))})
	}
	if r.IntN(8) == 0 { // IP in IP
		inner := randomHdr(r)
		b := build(inner)
		at := 14 + 4*inner.vlans
		h.payload, h.fragOff = b[at:len(b)-inner.pad], 0
		h.proto = protoIPv6
		if inner.dst.Is4() {
			h.proto = protoIPv4
		}
	}
	return h
}

// randomFrame is a frame of randomHdr, sometimes damaged.
func randomFrame(r *rand.Rand) []byte {
	b := build(randomHdr(r))
	switch r.IntN(8) {
	case 0:
		b = b[:r.IntN(len(b))]
	case 1:
		b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
	}
	return b
}

func randomRules(t testing.TB, r *rand.Rand, link string, n int) []Rule {
	protos := [...]string{"", "/ether", "/ether/ip", "/ether/ip/udp", "/ether/ip6", "/ether/ip6/udp", "/ether/ip/tcp",
		"/ether/ip/udp/anep", "/ether/ip6/udp/anep", "/ether/ip/ip/udp", "/ether/ip/ip", "/ether/ip6/ip", "/ether/ip6/tcp"}
	locals := map[Layer][]string{
		Ether: {"", "", "02:00:00:00:00:01", "0x0800", "02:00:00:00:00:01,0x86dd", "02:00:00:00:00:07"},
		IPv4:  {"", "10.0.0.0/24", "10.0.0.1", "10.0.0.2,17", ",6", ",1"},
		IPv6:  {"", "fd00::/64", "fd00::1", "fd00::2,17", ",44"},
		UDP:   {"", ":5000", ":5001", ":5002"},
		TCP:   {"", ":5000"},
		ANEP:  {"", "1", "2"},
	}
	var rules []Rule
	for id := range n {
		link := link
		switch r.IntN(6) {
		case 0:
			link = AnyLink
		case 1:
			link = "other"
		}
		p, err := ParseProtocol(link + protos[r.IntN(len(protos))])
		if err != nil {
			t.Fatal(err)
		}
		ru := Rule{ID: uint32(id * 7 % 1009), Age: uint64(r.IntN(4)), Protocol: p, Local: Address{Top: p.Top()}}
		if ls := locals[p.Top()]; len(ls) > 0 {
			if ru.Local, err = ParseAddress(p.Top(), ls[r.IntN(len(ls))]); err != nil {
				t.Fatal(err)
			}
		}
		masks := [...]byte{0xff, 0xff, 0x0f, 0x01}
		for off := range r.IntN(3) {
			k := Tuple{Offset: off * 5}
			for range 1 + r.IntN(2) {
				m := masks[r.IntN(4)]
				k.Value = append(k.Value, byte(r.IntN(3)))
				k.Mask = append(k.Mask, m)
			}
			ru.Key = append(ru.Key, k)
		}
		rules = append(rules, ru)
	}
	r.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	return rules
}
