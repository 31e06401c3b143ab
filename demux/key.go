package demux

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Bounds of a key.
const (
	MaxTuples   = 16   // tuples of a key
	MaxKeyBytes = 64   // bytes of one tuple
	MaxOffset   = 1535 // of a tuple's first byte
)

// Tuple is one condition of a key: the bytes at Offset, counted from the payload of the top protocol, equal
// Value in the bits that are set in Mask. Value and Mask have the same length; a nil Mask means all bits.
type Tuple struct {
	Offset int
	Value  []byte
	Mask   []byte
}

// Key is a set of tuples that must all match. The empty key matches everything. A packet too short for a
// tuple does not match.
type Key []Tuple

// ParseKey parses the text form that configurations use: tuples separated by blanks, each offset/value or
// offset/value%mask, with a decimal offset and value and mask in hexadecimal:
//
//	0/0103 4/ab%f0
func ParseKey(s string) (Key, error) {
	var k Key
	if len(s) > MaxTuples*(4*MaxKeyBytes+16) {
		return nil, errs.New(errs.Invalid, "demux key of %d characters is too long", len(s))
	}
	for _, f := range strings.Fields(s) {
		t, err := parseTuple(f)
		if err != nil {
			return nil, errs.New(errs.Invalid, "demux key tuple %.60q: %w", f, err)
		}
		k = append(k, t)
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	return k, nil
}

func parseTuple(f string) (Tuple, error) {
	off, val, ok := strings.Cut(f, "/")
	if !ok {
		return Tuple{}, errs.New(errs.Invalid, "want offset/value or offset/value%%mask")
	}
	n, err := strconv.ParseUint(off, 10, 16)
	if err != nil || n > MaxOffset {
		return Tuple{}, errs.New(errs.Invalid, "offset is not a number from 0 to %d", MaxOffset)
	}
	val, mask, masked := strings.Cut(val, "%")
	t := Tuple{Offset: int(n)}
	if t.Value, err = hex.DecodeString(val); err != nil {
		return Tuple{}, errs.New(errs.Invalid, "value is not pairs of hexadecimal digits")
	}
	if masked {
		if t.Mask, err = hex.DecodeString(mask); err != nil || len(t.Mask) != len(t.Value) {
			return Tuple{}, errs.New(errs.Invalid, "mask is not as many pairs of hexadecimal digits as the value")
		}
	}
	return t, nil
}

// check validates what cannot be seen from one tuple's text alone.
func (k Key) check() error {
	if len(k) > MaxTuples {
		return errs.New(errs.Invalid, "demux key has %d tuples, at most %d are allowed", len(k), MaxTuples)
	}
	for i, t := range k {
		switch {
		case t.Offset < 0 || t.Offset > MaxOffset:
			return errs.New(errs.Invalid, "demux key tuple %d: offset %d, want 0 to %d", i, t.Offset, MaxOffset)
		case len(t.Value) == 0 || len(t.Value) > MaxKeyBytes:
			return errs.New(errs.Invalid, "demux key tuple %d: value of %d bytes, want 1 to %d", i, len(t.Value), MaxKeyBytes)
		case t.Mask != nil && len(t.Mask) != len(t.Value):
			return errs.New(errs.Invalid, "demux key tuple %d: mask of %d bytes for a value of %d", i, len(t.Mask), len(t.Value))
		}
	}
	return nil
}

// String is the inverse of ParseKey, up to masks of all ones, which it leaves out.
func (k Key) String() string {
	var b strings.Builder
	for i, t := range k {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(t.Offset))
		b.WriteByte('/')
		b.WriteString(hex.EncodeToString(t.Value))
		if !allOnes(t.Mask) {
			b.WriteByte('%')
			b.WriteString(hex.EncodeToString(t.Mask))
		}
	}
	return b.String()
}

// Bits returns how many bits the key looks at, counting a bit once per tuple that names it.
func (k Key) Bits() int {
	n := 0
	for _, t := range k {
		if t.Mask == nil {
			n += 8 * len(t.Value)
		}
		for _, m := range t.Mask {
			n += bits.OnesCount8(m)
		}
	}
	return n
}

func allOnes(m []byte) bool {
	for _, b := range m {
		if b != 0xff {
			return false
		}
	}
	return true
}

// IPv4Key returns a key over an IPv4 header (top protocol ether) that wants packets from src to dst. The zero
// Prefix is any; one of IPv6 is an error.
func IPv4Key(src, dst netip.Prefix) (Key, error) { return ipKey(true, 12, src, 16, dst) }

// IPv6Key is IPv4Key for IPv6.
func IPv6Key(src, dst netip.Prefix) (Key, error) { return ipKey(false, 8, src, 24, dst) }

func ipKey(v4 bool, srcOff int, src netip.Prefix, dstOff int, dst netip.Prefix) (Key, error) {
	version := Tuple{Offset: 0, Value: []byte{0x60}, Mask: []byte{0xf0}}
	if v4 {
		version.Value = []byte{0x40}
	}
	for _, p := range [...]netip.Prefix{src, dst} {
		if p.IsValid() && p.Addr().Is4() != v4 {
			return nil, errs.New(errs.Invalid, "demux key: prefix %s is of the other version of IP", p)
		}
	}
	return append(append(Key{version}, prefixTuple(srcOff, src)...), prefixTuple(dstOff, dst)...), nil
}

func prefixTuple(off int, p netip.Prefix) Key {
	if !p.IsValid() || p.Bits() == 0 {
		return nil
	}
	v := p.Masked().Addr().AsSlice()
	m := make([]byte, len(v))
	for i := range p.Bits() {
		m[i/8] |= 0x80 >> (i % 8)
	}
	n := (p.Bits() + 7) / 8
	return Key{{Offset: off, Value: v[:n], Mask: m[:n]}}
}

// EtherTypeKey returns a key over a frame (a bare link) for the Ethernet type. Frames with a VLAN tag have the type of the tag, EtherTypeVLAN; an Address of
// ether names the type behind the tags.
func EtherTypeKey(etherType uint16) Key {
	return Key{{Offset: 12, Value: binary.BigEndian.AppendUint16(nil, etherType)}}
}

// VLANKey returns a key over a frame (a bare link) that wants an outermost 802.1Q tag of this VLAN, 0 to 4095, of any priority.
func VLANKey(id uint16) (Key, error) {
	if id > 4095 {
		return nil, errs.New(errs.Invalid, "demux key: VLAN %d, want 0 to 4095", id)
	}
	v := binary.BigEndian.AppendUint16(nil, EtherTypeVLAN)
	return Key{{Offset: 12, Value: binary.BigEndian.AppendUint16(v, id), Mask: []byte{0xff, 0xff, 0x0f, 0xff}}}, nil
}

// TCPKey returns a key over a TCP header (top protocol ip or ip6, which says nothing of the protocol inside: give the address ",6" with it) for the ports; 0 is any.
func TCPKey(src, dst uint16) Key { return UDPKey(src, dst) }

// UDPKey returns a key over a UDP header (top protocol ip or ip6; give the address ",17" with it) for the ports; 0 is any.
func UDPKey(src, dst uint16) Key {
	var k Key
	if src != 0 {
		k = append(k, Tuple{Offset: 0, Value: binary.BigEndian.AppendUint16(nil, src)})
	}
	if dst != 0 {
		k = append(k, Tuple{Offset: 2, Value: binary.BigEndian.AppendUint16(nil, dst)})
	}
	return k
}

// ANEPKey returns a key over an ANEP header (top protocol udp) for version 1 and the type id.
func ANEPKey(typeID uint16) Key {
	return Key{
		{Offset: 0, Value: []byte{1}},
		{Offset: 2, Value: binary.BigEndian.AppendUint16(nil, typeID)},
	}
}

// ANTSKey returns a key over an ANTS capsule header (top protocol anep) for the method id, which
// stands behind the four bytes of the version.
func ANTSKey(method [16]byte) Key {
	return Key{{Offset: 4, Value: append([]byte(nil), method[:]...)}}
}
