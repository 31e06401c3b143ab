package host

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// The messages of rtnetlink(7), as the kernel's include/uapi/linux/rtnetlink.h, neighbour.h, if_addr.h, if_link.h and nexthop.h lay
// them out, in the machine's byte order. A message is a fixed part and attributes: length, type, value, padded to 4 bytes.

// rtaNextHopID is RTA_NH_ID (Linux 5.3), which package unix lacks.
const rtaNextHopID = 30

var (
	native       = binary.NativeEndian
	errMalformed = errors.New("malformed rtnetlink message")
	errIgnored   = errors.New("route of a sort that is not followed")
)

// message is a netlink message without its header.
type message struct {
	typ, flags uint16
	seq        uint32
	body       []byte
}

// nextMessage takes the first message off b.
func nextMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, errMalformed
	}
	n := native.Uint32(b)
	if n < unix.SizeofNlMsghdr || uint64(n) > uint64(len(b)) {
		return m, nil, errMalformed
	}
	m = message{typ: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), body: b[unix.SizeofNlMsghdr:n]}
	return m, b[min(int(n+3)&^3, len(b)):], nil
}

// attrs calls fn for each attribute of b.
func attrs(b []byte, fn func(typ uint16, v []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return errMalformed
		}
		if err := fn(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

func u32(v []byte) (uint32, error) {
	if len(v) < 4 {
		return 0, errMalformed
	}
	return native.Uint32(v), nil
}

// address reads an address of the family that fits its length.
func address(v []byte) (netip.Addr, error) {
	if a, ok := netip.AddrFromSlice(v); ok {
		return a, nil
	}
	return netip.Addr{}, errMalformed
}

// gateway reads a gateway; the unspecified address is none.
func gateway(v []byte) (netip.Addr, error) {
	a, err := address(v)
	if err == nil && a.IsUnspecified() {
		return netip.Addr{}, nil
	}
	return a, err
}

// via reads an RTA_VIA: the family in two bytes, and the address.
func via(v []byte) (netip.Addr, error) {
	if len(v) < 2 {
		return netip.Addr{}, errMalformed
	}
	switch f := native.Uint16(v); {
	case f == unix.AF_INET && len(v) >= 6:
		return gateway(v[2:6])
	case f == unix.AF_INET6 && len(v) >= 18:
		return gateway(v[2:18])
	case f == unix.AF_INET || f == unix.AF_INET6:
		return netip.Addr{}, errMalformed
	}
	return netip.Addr{}, errIgnored
}

// routeMessage is RTM_NEWROUTE and RTM_DELROUTE.
type routeMessage struct {
	spec   RouteSpec
	cloned bool // of IPv6: learnt for one destination, such as a path's MTU
}

func decodeRoute(b []byte) (m routeMessage, err error) {
	if len(b) < unix.SizeofRtMsg {
		return m, errMalformed
	}
	bits, family := 0, b[0]
	var dst netip.Addr
	switch family {
	case unix.AF_INET:
		bits, dst = 32, netip.IPv4Unspecified()
	case unix.AF_INET6:
		bits, dst = 128, netip.IPv6Unspecified()
	default:
		return m, errIgnored
	}
	m.cloned = native.Uint32(b[8:])&unix.RTM_F_CLONED != 0
	m.spec.Table, m.spec.Protocol, m.spec.Kind = uint32(b[4]), b[5], Kind(b[7])
	if int(b[1]) > bits {
		return m, errMalformed
	}
	one := Hop{Weight: 1}
	ignored := b[2] != 0 || b[3] != 0 // a source prefix, a type of service
	err = attrs(b[unix.SizeofRtMsg:], func(typ uint16, v []byte) (err error) {
		var n uint32
		switch typ {
		case unix.RTA_DST:
			if dst, err = address(v); err == nil && dst.BitLen() != bits {
				err = errMalformed
			}
		case unix.RTA_OIF:
			n, err = u32(v)
			one.Ifindex = int(int32(n))
		case unix.RTA_GATEWAY:
			one.Gateway, err = gateway(v)
		case unix.RTA_VIA:
			one.Gateway, err = via(v)
		case unix.RTA_PRIORITY:
			m.spec.Metric, err = u32(v)
		case unix.RTA_PREFSRC:
			m.spec.Source, err = address(v)
		case unix.RTA_TABLE:
			m.spec.Table, err = u32(v)
		case rtaNextHopID:
			m.spec.Object, err = u32(v)
		case unix.RTA_ENCAP, unix.RTA_ENCAP_TYPE:
			ignored = true
		case unix.RTA_MULTIPATH:
			m.spec.Hops, err = decodeHops(v)
		}
		return err
	})
	if err != nil {
		return m, err
	}
	m.spec.Prefix = netip.PrefixFrom(dst, int(b[1])).Masked()
	if ignored {
		return m, errIgnored
	}
	if family == unix.AF_INET6 { // in whose order the kernel begins with any of them
		slices.SortFunc(m.spec.Hops, func(a, b Hop) int { return cmp.Or(a.Ifindex-b.Ifindex, a.Gateway.Compare(b.Gateway)) })
	}
	switch {
	case m.spec.Object != 0:
		m.spec.Hops = nil // an object says it
	case m.spec.Hops == nil && one.Ifindex != 0:
		m.spec.Hops = []Hop{one}
	}
	return m, nil
}

// decodeHops reads an RTA_MULTIPATH.
func decodeHops(b []byte) (hops []Hop, err error) {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return nil, errMalformed
		}
		h := Hop{Ifindex: int(int32(native.Uint32(b[4:]))), Weight: int(b[3]) + 1}
		err := attrs(b[unix.SizeofRtNexthop:n], func(typ uint16, v []byte) (err error) {
			switch typ {
			case unix.RTA_GATEWAY:
				h.Gateway, err = gateway(v)
			case unix.RTA_VIA:
				h.Gateway, err = via(v)
			case unix.RTA_ENCAP, unix.RTA_ENCAP_TYPE:
				err = errIgnored
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		hops = append(hops, h)
		b = b[min((n+3)&^3, len(b)):]
	}
	return hops, nil
}

// objectMessage is RTM_NEWNEXTHOP and RTM_DELNEXTHOP.
type objectMessage struct {
	id        uint32
	hops      []Hop
	group     []member
	blackhole bool
}

func decodeObject(b []byte) (m objectMessage, err error) {
	if len(b) < unix.SizeofNhmsg {
		return m, errMalformed
	}
	h := Hop{Weight: 1}
	encap := false
	err = attrs(b[unix.SizeofNhmsg:], func(typ uint16, v []byte) (err error) {
		var n uint32
		switch typ {
		case unix.NHA_ID:
			m.id, err = u32(v)
		case unix.NHA_OIF:
			n, err = u32(v)
			h.Ifindex = int(int32(n))
		case unix.NHA_GATEWAY:
			h.Gateway, err = gateway(v)
		case unix.NHA_BLACKHOLE:
			m.blackhole = true
		case unix.NHA_ENCAP, unix.NHA_ENCAP_TYPE:
			encap = true
		case unix.NHA_GROUP: // id, weight less one, its upper byte (Linux 6.12), reserved
			m.group = make([]member, 0, len(v)/8)
			for ; len(v) >= 8; v = v[8:] {
				m.group = append(m.group, member{native.Uint32(v), (int(v[4]) | int(v[5])<<8) + 1})
			}
		}
		return err
	})
	if err == nil && m.id == 0 {
		err = errMalformed
	}
	if m.hops = []Hop{}; h.Ifindex != 0 && !encap && m.group == nil && !m.blackhole {
		m.hops = append(m.hops, h)
	}
	return m, err
}

// neighborMessage is RTM_NEWNEIGH and RTM_DELNEIGH.
type neighborMessage struct {
	ifindex int
	addr    netip.Addr
	mac     [6]byte
	state   NeighborState
}

func decodeNeighbor(b []byte) (m neighborMessage, err error) {
	if len(b) < unix.SizeofNdMsg {
		return m, errMalformed
	}
	if f := b[0]; f != unix.AF_INET && f != unix.AF_INET6 || b[10]&unix.NTF_PROXY != 0 {
		return m, errIgnored // of a bridge, or an address that is answered for
	}
	m.ifindex, m.state = int(int32(native.Uint32(b[4:]))), NeighborState(native.Uint16(b[8:]))
	hasMAC := false
	err = attrs(b[unix.SizeofNdMsg:], func(typ uint16, v []byte) (err error) {
		switch typ {
		case unix.NDA_DST:
			m.addr, err = address(v)
		case unix.NDA_LLADDR:
			if hasMAC = len(v) == len(m.mac); hasMAC {
				copy(m.mac[:], v)
			}
		}
		return err
	})
	if err == nil && !m.addr.IsValid() {
		err = errMalformed
	}
	if !hasMAC && m.state&usable != 0 { // on a link without hardware addresses of 6 bytes
		err = errIgnored
	}
	return m, err
}

// addrMessage is RTM_NEWADDR and RTM_DELADDR.
type addrMessage struct {
	ifindex int
	prefix  netip.Prefix // with the address's own bits
}

func decodeAddr(b []byte) (m addrMessage, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return m, errMalformed
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return m, errIgnored
	}
	m.ifindex = int(int32(native.Uint32(b[4:])))
	var own, other netip.Addr
	err = attrs(b[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) (err error) {
		switch typ {
		case unix.IFA_LOCAL:
			own, err = address(v)
		case unix.IFA_ADDRESS: // the peer's, where there is a local one too
			other, err = address(v)
		}
		return err
	})
	if err != nil {
		return m, err
	}
	if !own.IsValid() {
		own = other
	}
	if m.prefix = netip.PrefixFrom(own, int(b[1])); !m.prefix.IsValid() {
		return m, errMalformed
	}
	return m, nil
}

// decodeLink reads RTM_NEWLINK and RTM_DELLINK. The addresses stand in messages of their own.
func decodeLink(b []byte) (i Interface, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return i, errMalformed
	}
	if b[0] != unix.AF_UNSPEC { // about a port of a bridge
		return i, errIgnored
	}
	i.Index = int(int32(native.Uint32(b[4:])))
	flags := native.Uint32(b[8:])
	i.Up, i.Carrier = flags&unix.IFF_UP != 0, flags&unix.IFF_LOWER_UP != 0
	err = attrs(b[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) (err error) {
		var n uint32
		switch typ {
		case unix.IFLA_IFNAME:
			for len(v) > 0 && v[len(v)-1] == 0 {
				v = v[:len(v)-1]
			}
			i.Name = string(v)
		case unix.IFLA_MTU:
			n, err = u32(v)
			i.MTU = int(n)
		case unix.IFLA_ADDRESS:
			if len(v) == len(i.HWAddr) {
				copy(i.HWAddr[:], v)
			}
		}
		return err
	})
	if err == nil && (i.Index <= 0 || i.Name == "" || len(i.Name) >= unix.IFNAMSIZ) {
		err = errMalformed
	}
	return i, err
}

// decodeRule reports whether RTM_NEWRULE is one of those that the kernel makes itself: 0 to local, 32766 to main, 32767 to default.
func decodeRule(b []byte) (standard bool, err error) {
	if len(b) < unix.SizeofRtMsg { // struct fib_rule_hdr is as long
		return false, errMalformed
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 { // of multicast routing
		return true, nil
	}
	table, priority := uint32(b[4]), uint32(0)
	standard = b[1] == 0 && b[2] == 0 && b[3] == 0
	err = attrs(b[unix.SizeofRtMsg:], func(typ uint16, v []byte) (err error) {
		switch typ {
		case unix.FRA_PRIORITY:
			priority, err = u32(v)
		case unix.FRA_TABLE:
			table, err = u32(v)
		case unix.FRA_SRC, unix.FRA_DST, unix.FRA_IIFNAME, unix.FRA_OIFNAME, unix.FRA_FWMARK, unix.FRA_L3MDEV:
			standard = false
		}
		return err
	})
	if priority != map[uint32]uint32{unix.RT_TABLE_LOCAL: 0, unix.RT_TABLE_MAIN: 32766, unix.RT_TABLE_DEFAULT: 32767}[table] || table < unix.RT_TABLE_DEFAULT {
		standard = false
	}
	return standard, err
}
