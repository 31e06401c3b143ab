package demux

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Address is an address of the topmost protocol of a protocol string. A zero field is a wildcard, and the
// zero Address matches everything. For an in-channel it is the destination of the packets, for an
// out-channel where they go. Addresses are comparable.
type Address struct {
	Top       Layer        // whose address it is
	Prefix    netip.Prefix // ip, ip6, udp, tcp: a single host has all bits; udp and tcp: only single hosts
	Port      uint16       // udp, tcp
	Proto     uint8        // ip, ip6: number of the protocol inside
	MAC       [6]byte      // ether
	EtherType uint16       // ether, after VLAN tags
	Type      uint16       // anep: type id
}

// ParseAddress parses s as top wants it; an empty string, and each empty field, is a wildcard:
//
//	udp, tcp   host:port     10.0.0.1:5000  :5000  10.0.0.1:  [fd00::1]:5000
//	ip, ip6    prefix,proto  10.0.0.0/8  10.0.0.1,89  ,89
//	ether      mac,type      02:00:00:00:00:01  0x88b5  02:00:00:00:00:01,0x88b5
//	anep       type id       0x12
//
// Hosts are numeric: names are not looked up. A bare link (None) has no addresses.
func ParseAddress(top Layer, s string) (Address, error) {
	a := Address{Top: top}
	if s == "" {
		return a, nil
	}
	var err error
	switch top {
	case UDP, TCP:
		err = a.parseHostPort(s)
	case IPv4, IPv6:
		err = a.parseIP(s)
	case Ether:
		err = a.parseEther(s)
	case ANEP:
		var n uint64
		if n, err = strconv.ParseUint(s, 0, 16); err != nil {
			err = errs.New(errs.Invalid, "type id is not a number below 65536") // strconv's error has all of s
		}
		a.Type = uint16(n)
	case None:
		err = errs.New(errs.Invalid, "a bare link has no addresses, leave it empty")
	default:
		err = errs.New(errs.Invalid, "unknown module %d", top)
	}
	if err != nil {
		return Address{}, errs.New(errs.Invalid, "%s address %.80q: %w", top, s, err)
	}
	return a, nil
}

func (a *Address) parseHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errs.New(errs.Invalid, "want host:port, with either part empty for any")
	}
	if host != "" {
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.Zone() != "" {
			return errs.New(errs.Invalid, "host is not a numeric address")
		}
		ip = ip.Unmap()
		a.Prefix = netip.PrefixFrom(ip, ip.BitLen())
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return errs.New(errs.Invalid, "port is not a number below 65536")
		}
		a.Port = uint16(n)
	}
	return nil
}

func (a *Address) parseIP(s string) error {
	host, proto, _ := strings.Cut(s, ",")
	if host != "" {
		if strings.Contains(host, "/") {
			p, err := netip.ParsePrefix(host)
			if err != nil || p.Addr().Is4In6() {
				return errs.New(errs.Invalid, "want an address or a prefix such as 10.0.0.0/8")
			}
			a.Prefix = p.Masked()
		} else {
			ip, err := netip.ParseAddr(host)
			if err != nil || ip.Zone() != "" {
				return errs.New(errs.Invalid, "want an address or a prefix such as 10.0.0.0/8")
			}
			ip = ip.Unmap()
			a.Prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		if a.Prefix.Addr().Is4() != (a.Top == IPv4) {
			return errs.New(errs.Invalid, "the address is not of this version of IP")
		}
	}
	if proto != "" {
		n, err := strconv.ParseUint(proto, 0, 8)
		if err != nil {
			return errs.New(errs.Invalid, "protocol is not a number below 256")
		}
		a.Proto = uint8(n)
	}
	return nil
}

func (a *Address) parseEther(s string) error {
	mac, typ, two := strings.Cut(s, ",")
	if !two && !strings.ContainsAny(mac, ":-.") {
		mac, typ = "", mac
	}
	if mac != "" {
		hw, err := net.ParseMAC(mac)
		if err != nil || len(hw) != 6 {
			return errs.New(errs.Invalid, "want a MAC address such as 02:00:00:00:00:01")
		}
		copy(a.MAC[:], hw)
	}
	if typ != "" {
		n, err := strconv.ParseUint(typ, 0, 16)
		if err != nil {
			return errs.New(errs.Invalid, "Ethernet type is not a number below 65536")
		}
		a.EtherType = uint16(n)
	}
	return nil
}

// IsAny reports whether a matches every packet.
func (a Address) IsAny() bool {
	a.Top = None
	return a == Address{}
}

// IP returns the single IP address that a names; ok is false where it names none or a range.
func (a Address) IP() (ip netip.Addr, ok bool) {
	if !a.Prefix.IsValid() || !a.Prefix.IsSingleIP() {
		return netip.Addr{}, false
	}
	return a.Prefix.Addr(), true
}

// String is the inverse of ParseAddress.
func (a Address) String() string {
	if a.IsAny() {
		return ""
	}
	switch a.Top {
	case UDP, TCP:
		host, port := "", ""
		if a.Prefix.IsValid() {
			host = a.Prefix.Addr().String()
		}
		if a.Port != 0 {
			port = strconv.Itoa(int(a.Port))
		}
		return net.JoinHostPort(host, port)
	case IPv4, IPv6:
		s := ""
		if a.Prefix.IsValid() {
			if s = a.Prefix.String(); a.Prefix.IsSingleIP() {
				s = a.Prefix.Addr().String()
			}
		}
		if a.Proto != 0 {
			s += "," + strconv.Itoa(int(a.Proto))
		}
		return s
	case Ether:
		s := ""
		if a.MAC != ([6]byte{}) {
			s = net.HardwareAddr(a.MAC[:]).String()
		}
		if a.EtherType != 0 {
			if s != "" {
				s += ","
			}
			s += fmt.Sprintf("0x%04x", a.EtherType)
		}
		return s
	case ANEP:
		return fmt.Sprintf("0x%x", a.Type)
	}
	return ""
}
