package elementtest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/packet"
)

// Build makes a packet of a line such as
//
//	eth 2::1 2::2 0800 ip 10.0.0.1 10.0.1.2 ttl 3 udp 5 6 zero 20 @paint 2
//
// with the layers from outside inwards: eth SRC DST TYPE (2::1 is short for 2:0:0:0:0:1);
// arp request|reply SENDER-HW SENDER-IP TARGET-HW TARGET-IP;
// ip SRC DST with the options ttl N, id N, tos N, proto N, df, frag OFFSET, more, opts HEX, badsum, len N;
// ip6 SRC DST with the options hlim N, next N, class N, len N;
// udp SPORT DPORT; tcp SPORT DPORT FLAGS; icmp or icmp6 TYPE CODE with the option rest HEX; text WORD, zero N and hex DIGITS are payload. Lengths and
// checksums are filled in. Annotations are @paint N, @dst ADDR, @link N, @kind N (packet.LinkKind).
func Build(c *packet.Cache, o packet.Owner, text string) (*packet.Packet, error) {
	w := &words{list: strings.Fields(text)}
	var layers []layer
	var payload []byte
	var anno []func(p *packet.Packet)
	for w.more() {
		switch k := w.next(); k {
		case "eth":
			h := w.ether()
			layers = append(layers, layer{kind: k, head: h})
		case "ip":
			layers = append(layers, w.ip())
		case "ip6":
			layers = append(layers, w.ip6())
		case "arp":
			payload = w.arp()
		case "udp":
			h := make([]byte, 8)
			binary.BigEndian.PutUint16(h, uint16(w.num()))
			binary.BigEndian.PutUint16(h[2:], uint16(w.num()))
			layers = append(layers, layer{kind: k, head: h})
		case "tcp":
			h := make([]byte, 20)
			binary.BigEndian.PutUint16(h, uint16(w.num()))
			binary.BigEndian.PutUint16(h[2:], uint16(w.num()))
			h[12] = 0x50
			h[13] = byte(w.num())
			layers = append(layers, layer{kind: k, head: h})
		case "icmp", "icmp6":
			h := make([]byte, 8)
			h[0], h[1] = byte(w.num()), byte(w.num())
			if w.take("rest") {
				copy(h[4:], w.hex())
			}
			layers = append(layers, layer{kind: k, head: h})
		case "text":
			payload = append(payload, w.next()...)
		case "zero":
			payload = append(payload, make([]byte, min(w.num(), 4000))...)
		case "hex":
			payload = append(payload, w.hex()...)
		case "@paint":
			n := w.num()
			anno = append(anno, func(p *packet.Packet) { p.Anno.Paint = uint8(n) })
		case "@link":
			n := w.num()
			anno = append(anno, func(p *packet.Packet) { p.Anno.Link = uint16(n) })
		case "@kind":
			n := w.num()
			anno = append(anno, func(p *packet.Packet) { p.Anno.Kind = packet.LinkKind(n) })
		case "@dst":
			a := w.addr()
			anno = append(anno, func(p *packet.Packet) { p.Anno.Dst = a })
		default:
			w.fail("unknown word '%s'", k)
		}
	}
	for i := len(layers) - 1; i >= 0; i-- {
		l := layers[i]
		h := l.head
		switch l.kind {
		case "ip":
			binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
			if l.length > 0 {
				binary.BigEndian.PutUint16(h[2:], uint16(l.length))
			}
			if h[9] == 0 && i+1 < len(layers) {
				h[9] = map[string]byte{"udp": 17, "tcp": 6, "icmp": 1}[layers[i+1].kind]
			}
			if h[10] == 0 && h[11] == 0 {
				binary.BigEndian.PutUint16(h[10:], demux.Checksum(h))
			}
		case "ip6":
			binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
			if l.length > 0 {
				binary.BigEndian.PutUint16(h[4:], uint16(l.length))
			}
			if h[6] == 59 && i+1 < len(layers) {
				h[6] = map[string]byte{"udp": 17, "tcp": 6, "icmp6": 58, "ip": 4, "ip6": 41}[layers[i+1].kind]
			}
		case "udp", "icmp6":
			at := 2
			if l.kind == "udp" {
				binary.BigEndian.PutUint16(h[4:], uint16(8+len(payload)))
				at = 6
			}
			if i > 0 && layers[i-1].kind == "ip6" { // which has no checksum of its own
				o := layers[i-1].head
				next := map[string]uint8{"udp": 17, "icmp6": 58}[l.kind]
				sum := demux.PseudoSum(netip.AddrFrom16([16]byte(o[8:24])), netip.AddrFrom16([16]byte(o[24:40])), next, len(h)+len(payload))
				binary.BigEndian.PutUint16(h[at:], demux.Fold(demux.Sum(demux.Sum(sum, h), payload)))
			}
		case "icmp":
			binary.BigEndian.PutUint16(h[2:], demux.Checksum(append(append([]byte{}, h...), payload...)))
		}
		payload = append(append([]byte{}, h...), payload...)
	}
	if w.err != nil {
		return nil, fmt.Errorf("packet '%s': %w", strings.TrimSpace(text), w.err)
	}
	p := c.AllocFrom(o, payload)
	if p == nil {
		return nil, fmt.Errorf("no memory for a packet of %d bytes", len(payload))
	}
	for _, fn := range anno {
		fn(p)
	}
	return p, nil
}

type layer struct {
	kind   string
	head   []byte
	length int
}

type words struct {
	list []string
	err  error
}

func (w *words) more() bool { return len(w.list) > 0 && w.err == nil }

func (w *words) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *words) next() string {
	if len(w.list) == 0 {
		w.fail("ends too early")
		return ""
	}
	s := w.list[0]
	w.list = w.list[1:]
	return s
}

func (w *words) take(word string) bool {
	if len(w.list) > 0 && w.list[0] == word {
		w.list = w.list[1:]
		return true
	}
	return false
}

func (w *words) num() int {
	s := w.next()
	n, err := strconv.ParseInt(s, 0, 32)
	if err != nil {
		w.fail("'%s' is no number", s)
	}
	return int(n)
}

func (w *words) hex() []byte {
	b, err := hex.DecodeString(w.next())
	if err != nil {
		w.fail("%v", err)
	}
	return b
}

func (w *words) addr() netip.Addr {
	a, err := netip.ParseAddr(w.next())
	if err != nil {
		w.fail("%v", err)
	}
	return a
}

func (w *words) mac() [6]byte {
	s := w.next()
	if a, b, ok := strings.Cut(s, "::"); ok {
		s = a + strings.Repeat(":0", 5-strings.Count(a+b, ":")-1) + ":" + b
	}
	m, err := click.ParseEther(s)
	if err != nil {
		w.fail("%v", err)
	}
	return m
}

func (w *words) ether() []byte {
	src, dst := w.mac(), w.mac()
	t := w.hex()
	if len(t) != 2 {
		w.fail("an Ethernet type has four digits")
		t = []byte{0, 0}
	}
	return append(append(append([]byte{}, dst[:]...), src[:]...), t...)
}

func (w *words) ip() layer {
	h := make([]byte, 20, 60)
	h[0], h[8] = 0x45, 64
	src, dst := w.addr(), w.addr()
	if !src.Is4() || !dst.Is4() {
		w.fail("ip takes IPv4 addresses")
		return layer{kind: "ip", head: h}
	}
	s4, d4 := src.As4(), dst.As4()
	copy(h[12:], s4[:])
	copy(h[16:], d4[:])
	l := layer{kind: "ip"}
	frag := 0
	for more := true; more && w.err == nil; {
		switch {
		case w.take("ttl"):
			h[8] = byte(w.num())
		case w.take("id"):
			binary.BigEndian.PutUint16(h[4:], uint16(w.num()))
		case w.take("tos"):
			h[1] = byte(w.num())
		case w.take("proto"):
			h[9] = byte(w.num())
		case w.take("df"):
			frag |= 0x4000
		case w.take("more"):
			frag |= 0x2000
		case w.take("frag"):
			frag |= w.num() / 8 & 0x1fff
		case w.take("badsum"):
			h[10], h[11] = 0xde, 0xad
		case w.take("len"):
			l.length = w.num()
		case w.take("opts"):
			o := w.hex()
			for len(o)%4 != 0 {
				o = append(o, 0)
			}
			h = append(h, o[:min(len(o), 40)]...)
			h[0] = 0x40 | byte(len(h)/4)
		default:
			more = false
		}
	}
	binary.BigEndian.PutUint16(h[6:], uint16(frag))
	l.head = h
	return l
}

func (w *words) ip6() layer {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, 59, 64 // 59: no next header
	src, dst := w.addr(), w.addr()
	s16, d16 := src.As16(), dst.As16()
	copy(h[8:], s16[:])
	copy(h[24:], d16[:])
	l := layer{kind: "ip6"}
	for more := true; more && w.err == nil; {
		switch {
		case w.take("hlim"):
			h[7] = byte(w.num())
		case w.take("next"):
			h[6] = byte(w.num())
		case w.take("class"):
			c := w.num()
			h[0], h[1] = 0x60|byte(c>>4), byte(c<<4)
		case w.take("len"):
			l.length = w.num()
		default:
			more = false
		}
	}
	l.head = h
	return l
}

func (w *words) arp() []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	switch op := w.next(); op {
	case "request":
	case "reply":
		b[7] = 2
	default:
		w.fail("arp is request or reply, not '%s'", op)
	}
	for range 2 {
		m, a := w.mac(), w.addr()
		if !a.Is4() {
			w.fail("arp takes IPv4 addresses")
			return b
		}
		a4 := a.As4()
		b = append(append(b, m[:]...), a4[:]...)
	}
	return b
}

// Describe prints a packet that begins with an Ethernet header (format "ether") or with an IP header ("ip"), or as bytes
// ("raw"), and its annotations.
func Describe(format string, p *packet.Packet) string {
	var b strings.Builder
	d := p.Data()
	switch format {
	case "ether":
		describeEther(&b, d)
	case "ip":
		if len(d) > 0 && d[0]>>4 == 6 {
			describeIP6(&b, d, 0)
		} else {
			describeIP(&b, d, 0)
		}
	default:
		describeData(&b, d)
	}
	if p.Anno.Paint != 0 {
		fmt.Fprintf(&b, " @paint %d", p.Anno.Paint)
	}
	if p.Anno.Dst.IsValid() {
		fmt.Fprintf(&b, " @dst %v", p.Anno.Dst)
	}
	if p.Anno.NextHop.IsValid() {
		fmt.Fprintf(&b, " @hop %v", p.Anno.NextHop)
	}
	return strings.TrimSpace(b.String())
}

func mac(b []byte) string {
	if b[1]|b[2]|b[3]|b[4] == 0 {
		return fmt.Sprintf("%x::%x", b[0], b[5])
	}
	return fmt.Sprintf("%x:%x:%x:%x:%x:%x", b[0], b[1], b[2], b[3], b[4], b[5])
}

func describeData(b *strings.Builder, d []byte) {
	switch {
	case len(d) == 0:
	case strings.Trim(string(d), "\x00") == "":
		fmt.Fprintf(b, " zero %d", len(d))
	case len(d) > 80:
		fmt.Fprintf(b, " hex %x... (%d bytes)", d[:80], len(d))
	default:
		fmt.Fprintf(b, " hex %x", d)
	}
}

func describeEther(b *strings.Builder, d []byte) {
	if len(d) < 14 {
		describeData(b, d)
		return
	}
	fmt.Fprintf(b, "eth %s %s %x", mac(d[6:]), mac(d), d[12:14])
	rest := d[14:]
	switch {
	case d[12] == 8 && d[13] == 0:
		describeIP(b, rest, 0)
	case d[12] == 0x86 && d[13] == 0xdd:
		describeIP6(b, rest, 0)
	case d[12] == 8 && d[13] == 6 && len(rest) >= 28:
		op := map[byte]string{1: "request", 2: "reply"}[rest[7]]
		fmt.Fprintf(b, " arp %s %s %d.%d.%d.%d %s %d.%d.%d.%d", op, mac(rest[8:]), rest[14], rest[15], rest[16], rest[17], mac(rest[18:]), rest[24], rest[25], rest[26], rest[27])
	default:
		describeData(b, rest)
	}
}

func describeIP6(b *strings.Builder, d []byte, depth int) {
	if len(d) < 40 || d[0]>>4 != 6 {
		describeData(b, d)
		return
	}
	src, dst := netip.AddrFrom16([16]byte(d[8:24])), netip.AddrFrom16([16]byte(d[24:40]))
	fmt.Fprintf(b, " ip6 %v %v hlim %d", src, dst, d[7])
	if c := d[0]<<4 | d[1]>>4; c != 0 {
		fmt.Fprintf(b, " class %d", c)
	}
	if n := int(binary.BigEndian.Uint16(d[4:])); n != len(d)-40 {
		fmt.Fprintf(b, " len %d", n)
	}
	body := d[40:]
	bad := func() {
		if depth == 0 && demux.Fold(demux.Sum(demux.PseudoSum(src, dst, d[6], len(body)), body)) != 0 {
			b.WriteString(" badsum")
		}
	}
	switch {
	case d[6] == 17 && len(body) >= 8:
		fmt.Fprintf(b, " udp %d %d", binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]))
		bad()
		body = body[8:]
	case d[6] == 58 && len(body) >= 8:
		fmt.Fprintf(b, " icmp6 %d %d", body[0], body[1])
		bad()
		if rest := body[4:8]; rest[0]|rest[1]|rest[2]|rest[3] != 0 {
			fmt.Fprintf(b, " rest %x", rest)
		}
		if body[0] < 128 && depth == 0 {
			describeIP6(b, body[8:], depth+1)
			return
		}
		body = body[8:]
	default:
		fmt.Fprintf(b, " next %d", d[6])
	}
	describeData(b, body)
}

func describeIP(b *strings.Builder, d []byte, depth int) {
	if len(d) < 20 || d[0]>>4 != 4 || int(d[0]&15)*4 < 20 || int(d[0]&15)*4 > len(d) {
		describeData(b, d)
		return
	}
	hl := int(d[0]&15) * 4
	fmt.Fprintf(b, " ip %v %v ttl %d", netip.AddrFrom4([4]byte(d[12:16])), netip.AddrFrom4([4]byte(d[16:20])), d[8])
	if id := binary.BigEndian.Uint16(d[4:]); id != 0 && depth == 0 {
		fmt.Fprintf(b, " id %d", id)
	}
	if d[1] != 0 {
		fmt.Fprintf(b, " tos %d", d[1])
	}
	f := binary.BigEndian.Uint16(d[6:])
	if f&0x4000 != 0 {
		b.WriteString(" df")
	}
	if f&0x1fff != 0 {
		fmt.Fprintf(b, " frag %d", int(f&0x1fff)*8)
	}
	if f&0x2000 != 0 {
		b.WriteString(" more")
	}
	if hl > 20 {
		fmt.Fprintf(b, " opts %x", d[20:hl])
	}
	if demux.Checksum(d[:hl]) != 0 {
		b.WriteString(" badsum")
	}
	n := int(binary.BigEndian.Uint16(d[2:]))
	if n != len(d) {
		fmt.Fprintf(b, " len %d", n)
	}
	body := d[hl:]
	switch {
	case f&0x1fff != 0:
		fmt.Fprintf(b, " proto %d", d[9])
	case d[9] == 17 && len(body) >= 8:
		fmt.Fprintf(b, " udp %d %d", binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]))
		if int(binary.BigEndian.Uint16(body[4:])) != len(body) {
			fmt.Fprintf(b, " udplen %d", binary.BigEndian.Uint16(body[4:]))
		}
		if binary.BigEndian.Uint16(body[6:]) != 0 {
			sum := demux.PseudoSum(netip.AddrFrom4([4]byte(d[12:16])), netip.AddrFrom4([4]byte(d[16:20])), 17, len(body))
			if demux.Fold(demux.Sum(sum, body)) != 0 {
				b.WriteString(" badudpsum")
			}
		}
		body = body[8:]
	case d[9] == 6 && len(body) >= 20:
		fmt.Fprintf(b, " tcp %d %d %d", binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]), body[13])
		body = body[20:]
	case d[9] == 1 && len(body) >= 8:
		fmt.Fprintf(b, " icmp %d %d", body[0], body[1])
		if demux.Checksum(body) != 0 && n == len(d) {
			b.WriteString(" badsum")
		}
		if rest := body[4:8]; rest[0]|rest[1]|rest[2]|rest[3] != 0 {
			fmt.Fprintf(b, " rest %x", rest)
		}
		if t := body[0]; (t == 3 || t == 5 || t == 11 || t == 12) && depth == 0 {
			describeIP(b, body[8:], depth+1)
			return
		}
		body = body[8:]
	default:
		fmt.Fprintf(b, " proto %d", d[9])
	}
	describeData(b, body)
}
