package routing

import (
	"encoding/binary"
	"net/netip"

	"github.com/janos-os/janos/errs"
)

// NodeAddr is the logical address of a node: 32 bits, written and routed like an IPv4 address. Zero is no node.
type NodeAddr uint32

// ParseNodeAddr parses the dotted form.
func ParseNodeAddr(s string) (NodeAddr, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is4() {
		return 0, errs.New(errs.Invalid, "node address %q: want four numbers with dots, such as 10.255.0.1", s)
	}
	a := NodeAddrFrom(ip)
	if !a.Valid() {
		return 0, errs.New(errs.Invalid, "node address %s is not that of a single node", s)
	}
	return a, nil
}

// NodeAddrFrom returns the node address that is the IPv4 address ip, and zero for any other.
func NodeAddrFrom(ip netip.Addr) NodeAddr {
	if !ip.Is4() {
		return 0
	}
	b := ip.As4()
	return NodeAddr(binary.BigEndian.Uint32(b[:]))
}

// Valid reports whether a can be the address of a node: neither zero, loopback, multicast nor broadcast.
func (a NodeAddr) Valid() bool {
	return a>>24 != 0 && a>>24 != 127 && a>>28 < 14
}

// IP returns a as an IPv4 address.
func (a NodeAddr) IP() netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// Prefix returns a as a host prefix.
func (a NodeAddr) Prefix() netip.Prefix { return netip.PrefixFrom(a.IP(), 32) }

// String returns the dotted form.
func (a NodeAddr) String() string { return a.IP().String() }

// MarshalText implements encoding.TextMarshaler, so that reports show the dotted form.
func (a NodeAddr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. Empty text and 0.0.0.0 are zero.
func (a *NodeAddr) UnmarshalText(b []byte) error {
	if s := string(b); s == "" || s == "0.0.0.0" {
		*a = 0
		return nil
	}
	v, err := ParseNodeAddr(string(b))
	if err == nil {
		*a = v
	}
	return err
}
