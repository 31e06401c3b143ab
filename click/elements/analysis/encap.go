package analysis

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/packet"
)

// encaps are the names of what packets of a capture begin with (LINKTYPE_ numbers of tcpdump.org). The first name of a number is shown.
var encaps = []struct {
	name string
	link layers.LinkType
}{
	{"ETHER", 1}, {"IP", 101}, {"IP", 12}, {"IP", 14}, {"FDDI", 10}, {"ATM", 100}, {"ATM-RFC1483", 100}, {"802_11", 105}, {"802.11", 105}, {"SLL", 113}, {"AIRONET", 120}, {"HDLC", 104}, {"PPP_HDLC", 50}, {"PPP", 9},
	{"SUNATM", 123}, {"PRISM", 119}, {"NULL", 0}, {"LOOP", 108}, {"RADIOTAP", 127}, {"802_11_RADIO", 127}, {"IP4", 228}, {"IP6", 229},
}

func encapName(l layers.LinkType) string {
	for _, e := range encaps {
		if e.link == l {
			return e.name
		}
	}
	return "UNKNOWN_" + strconv.Itoa(int(l))
}

// parseEncap finds a link type by name or number.
func parseEncap(s string) (layers.LinkType, bool) {
	for _, e := range encaps {
		if strings.EqualFold(e.name, s) {
			return e.link, true
		}
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "UNKNOWN_"), 10, 16)
	return layers.LinkType(n), err == nil
}

const (
	etherIP4, etherIP6                = 0x0800, 0x86dd
	etherVLAN, etherQinQ, etherQinQ91 = 0x8100, 0x88a8, 0x9100
	maxTags                           = 4
)

// canFindIP reports whether forceIP knows the link type.
func canFindIP(l layers.LinkType) bool {
	switch l {
	case 0, 1, 9, 10, 12, 14, 50, 101, 104, 108, 113, 228, 229:
		return true
	}
	return false
}

// forceIP takes what is before the IP header of a packet away and marks the header. It returns false, and leaves the packet as it was, if there is
// no header of IPv4 or IPv6.
func forceIP(p *packet.Packet, l layers.LinkType) bool {
	d := p.Data()
	off, ok := ipOffset(d, l)
	if !ok || off >= len(d) {
		return false
	}
	d = d[off:]
	n := 0
	switch d[0] >> 4 {
	case 4:
		n = int(d[0]&15) * 4
		if n < 20 || len(d) < n {
			return false
		}
	case 6:
		if n = 40; len(d) < n {
			return false
		}
	default:
		return false
	}
	p.Pull(off)
	p.SetNetwork(0)
	if len(d) > n {
		p.SetTransport(n)
	}
	return true
}

// ipOffset returns where the network header begins.
func ipOffset(d []byte, l layers.LinkType) (off int, ok bool) {
	typeAt := func(at int) (int, bool) {
		for range maxTags {
			if len(d) < at+2 {
				return 0, false
			}
			switch binary.BigEndian.Uint16(d[at:]) {
			case etherIP4, etherIP6:
				return at + 2, true
			case etherVLAN, etherQinQ, etherQinQ91:
				at += 4
			default:
				return 0, false
			}
		}
		return 0, false
	}
	switch l {
	case 12, 14, 101, 228, 229:
		return 0, true
	case 1:
		return typeAt(12)
	case 113: // Linux cooked
		return typeAt(14)
	case 104: // Cisco HDLC: address, control, type
		return typeAt(2)
	case 10: // FDDI with LLC and SNAP
		if len(d) < 21 || d[13] != 0xaa || d[14] != 0xaa {
			return 0, false
		}
		return typeAt(19)
	case 0, 108: // protocol family of BSD in the order of the host, or of the network
		return 4, len(d) >= 4
	case 9, 50:
		at := 0
		if len(d) >= 2 && d[0] == 0xff && d[1] == 3 {
			at = 2
		}
		if len(d) < at+2 {
			return 0, false
		}
		switch binary.BigEndian.Uint16(d[at:]) {
		case 0x0021, 0x0057, 0x0800, 0x86dd:
			return at + 2, true
		}
	}
	return 0, false
}
