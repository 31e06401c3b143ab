package look

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/janos-os/janos/packet"
)

// Headers describes a packet in half a line: the link header if the packet begins with one, addresses, protocol, ports. What cannot be told is
// left out.
func Headers(p *packet.Packet) string {
	if off, ok := p.NetworkOffset(); ok && off >= 0 && off <= p.Len() {
		link := ""
		if off == 14 && p.Len() >= 14 {
			link, _, _ = ethernet(p.Data())
		}
		return strings.TrimSpace(link + " " + ip(p.Data()[off:]))
	}
	d := p.Data()
	if len(d) >= 20 && plausible(d) {
		return ip(d)
	}
	if len(d) < 14 {
		return ""
	}
	text, kind, rest := ethernet(d)
	switch kind {
	case 0x0800, 0x86dd:
		return text + " " + ip(rest)
	case 0x0806:
		return text + " " + arp(rest)
	}
	return text
}

// plausible reports whether data is probably an IP packet and no frame.
func plausible(d []byte) bool {
	switch d[0] >> 4 {
	case 4:
		return d[0]&15 >= 5 && int(binary.BigEndian.Uint16(d[2:])) <= len(d) && int(binary.BigEndian.Uint16(d[2:])) >= 20
	case 6:
		return len(d) >= 40 && 40+int(binary.BigEndian.Uint16(d[4:])) <= len(d)
	}
	return false
}

func ethernet(d []byte) (text string, kind uint16, rest []byte) {
	kind, rest = binary.BigEndian.Uint16(d[12:]), d[14:]
	text = fmt.Sprintf("%v > %v", net.HardwareAddr(d[6:12]), net.HardwareAddr(d[0:6]))
	if kind == 0x8100 && len(d) >= 18 {
		text += fmt.Sprintf(" vlan %d", binary.BigEndian.Uint16(d[14:])&0xfff)
		kind, rest = binary.BigEndian.Uint16(d[16:]), d[18:]
	}
	switch kind {
	case 0x0800, 0x86dd, 0x0806:
	default:
		text += fmt.Sprintf(" type %#04x", kind)
	}
	return text, kind, rest
}

func arp(d []byte) string {
	if len(d) < 28 || binary.BigEndian.Uint16(d[2:]) != 0x0800 {
		return "arp"
	}
	src, dst := netip.AddrFrom4([4]byte(d[14:18])), netip.AddrFrom4([4]byte(d[24:28]))
	switch binary.BigEndian.Uint16(d[6:]) {
	case 1:
		return fmt.Sprintf("arp who-has %v tell %v", dst, src)
	case 2:
		return fmt.Sprintf("arp %v is-at %v", src, net.HardwareAddr(d[8:14]))
	}
	return "arp"
}

func ip(d []byte) string {
	if len(d) < 1 {
		return ""
	}
	var src, dst netip.Addr
	var proto, ttl byte
	var rest []byte
	extra := ""
	switch {
	case d[0]>>4 == 4 && len(d) >= 20:
		src, dst, proto, ttl = netip.AddrFrom4([4]byte(d[12:16])), netip.AddrFrom4([4]byte(d[16:20])), d[9], d[8]
		if n := int(d[0]&15) * 4; n >= 20 && n <= len(d) {
			rest = d[n:]
		}
		if f := binary.BigEndian.Uint16(d[6:]); f&0x3fff != 0 {
			extra = fmt.Sprintf(" frag %d", int(f&0x1fff)*8)
			if f&0x1fff != 0 {
				rest = nil
			}
		}
	case d[0]>>4 == 6 && len(d) >= 40:
		src, dst, proto, ttl, rest = netip.AddrFrom16([16]byte(d[8:24])), netip.AddrFrom16([16]byte(d[24:40])), d[6], d[7], d[40:]
	default:
		return "ip?"
	}
	from, to, name := src.String(), dst.String(), fmt.Sprintf("proto %d", proto)
	switch proto {
	case 6, 17:
		name = map[byte]string{6: "tcp", 17: "udp"}[proto]
		if len(rest) >= 4 {
			from = netip.AddrPortFrom(src, binary.BigEndian.Uint16(rest)).String()
			to = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(rest[2:])).String()
		}
		if proto == 6 && len(rest) >= 14 {
			name += " " + flags(rest[13])
		}
	case 1, 58:
		name = "icmp"
		if len(rest) >= 2 {
			name += fmt.Sprintf(" type %d code %d", rest[0], rest[1])
		}
	}
	return fmt.Sprintf("%s > %s %s ttl %d%s", from, to, name, ttl, extra)
}

func flags(b byte) string {
	s := ""
	for i, c := range "FSRPAUEC" {
		if b>>i&1 != 0 {
			s += string(c)
		}
	}
	return "[" + s + "]"
}
