package demux

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"github.com/janos-os/janos/errs"
)

// Rule says which packets belong to a channel. All of Protocol, Local and Key must match.
type Rule struct {
	ID       uint32   // what Match returns for it; unique among the rules of a program
	Age      uint64   // of two rules that match equally well the one with the lower Age gets the packet; among equals, the lower ID
	Protocol Protocol // whose link the rule is for
	Local    Address  // destination, as the top protocol addresses it; the zero Address is any
	Key      Key      // over the payload of the top protocol
}

// anchor says what a piece's offset counts from.
type anchor uint8

const (
	atHeader  anchor = iota // start of a layer's header
	atPayload               // first byte behind it
	atProto                 // no bytes: the number of the protocol inside, as the walk found it
)

// piece is up to eight masked bytes of a packet, seen as one big-endian word.
type piece struct {
	depth  uint8 // entry of the path: 0 the link, 1 the first layer, and so on
	anchor anchor
	off    int32
	need   int32 // bytes from off to the last one the mask looks at
	mask   uint64
}

// maxWords is the most pieces of a shape; a shape's key is an array of this size at most.
const maxWords = 16

// normal is a rule as the back ends want it: a chain of layers and masked words.
type normal struct {
	rule   *Rule
	id     uint32
	age    uint64
	layers []Layer
	shape  []piece
	value  []uint64
	bits   int
}

// maskedByte is one byte of a packet that a rule looks at.
type maskedByte struct {
	depth       uint8
	anchor      anchor
	off         int
	value, mask byte
}

// normalize turns r into masked words. It returns nil, nil for a rule on "if" that cannot be on a link with
// this base.
func (r *Rule) normalize(base Layer, link string) (*normal, error) {
	if !r.Protocol.On(link) {
		return nil, nil
	}
	layers := r.Protocol.Layers
	if len(layers) > MaxLayers {
		return nil, r.errorf("more than %d modules", MaxLayers)
	}
	if len(layers) > 0 && !startsOn(layers[0], base) {
		if r.Protocol.Link == AnyLink {
			return nil, nil
		}
		return nil, r.errorf("the link's frames begin with %s, not with %s", base, layers[0])
	}
	below := None
	for _, l := range layers {
		if l >= numLayers || !l.follows(below) {
			return nil, r.errorf("%s cannot stand on %s", l, below)
		}
		below = l
	}
	if err := r.Key.check(); err != nil {
		return nil, r.errorf("%w", err)
	}
	all, err := r.localBytes()
	if err != nil {
		return nil, err
	}
	depth := uint8(len(layers))
	for _, t := range r.Key {
		for i := range t.Value {
			m := byte(0xff)
			if t.Mask != nil {
				m = t.Mask[i]
			}
			if m != 0 {
				all = append(all, maskedByte{depth, atPayload, t.Offset + i, t.Value[i] & m, m})
			}
		}
	}
	n := &normal{rule: r, id: r.ID, age: r.Age, layers: layers}
	return n, r.pack(n, all)
}

// startsOn reports whether a frame of a link with this base can begin with l.
func startsOn(l, base Layer) bool {
	switch base {
	case IPv4, IPv6: // a link of bare IP carries both versions
		return l == IPv4 || l == IPv6
	case None:
		return false
	}
	return l == base
}

// localBytes returns what r.Local asks of the headers.
func (r *Rule) localBytes() (out []maskedByte, err error) {
	a := r.Local
	if a.IsAny() {
		return nil, nil
	}
	top := r.Protocol.Top()
	if a.Top != top {
		return nil, r.errorf("address %s is one of %s, but the top protocol is %s", a, a.Top, top)
	}
	depth := uint8(len(r.Protocol.Layers))
	put := func(d uint8, an anchor, off int, bytes ...byte) {
		for i, b := range bytes {
			out = append(out, maskedByte{d, an, off + i, b, 0xff})
		}
	}
	ip := func(d uint8, p netip.Prefix) error {
		if !p.IsValid() {
			return nil
		}
		layer, off := r.Protocol.Layers[d-1], 16
		if layer == IPv6 {
			off = 24
		}
		if p.Addr().Is4() != (layer == IPv4) || p.Addr().Is4In6() {
			return r.errorf("address %s is not one of %s", a, layer)
		}
		for _, t := range prefixTuple(off, p) {
			for i := range t.Value {
				out = append(out, maskedByte{d, atHeader, t.Offset + i, t.Value[i] & t.Mask[i], t.Mask[i]})
			}
		}
		return nil
	}
	switch top {
	case Ether:
		if a.MAC != ([6]byte{}) {
			put(depth, atHeader, 0, a.MAC[:]...)
		}
		if a.EtherType != 0 {
			put(depth, atProto, 0, byte(a.EtherType>>8), byte(a.EtherType))
		}
	case IPv4, IPv6:
		if a.Proto != 0 {
			put(depth, atProto, 0, 0, a.Proto)
		}
		err = ip(depth, a.Prefix)
	case UDP, TCP:
		if depth == 1 { // base UDP: no headers
			return nil, r.errorf("address %s: the link's socket fixes the local address, leave it empty", a)
		}
		if a.Port != 0 {
			put(depth, atHeader, 2, byte(a.Port>>8), byte(a.Port))
		}
		if a.Prefix.IsValid() && !a.Prefix.IsSingleIP() {
			return nil, r.errorf("address %s: %s takes a single host, not a prefix", a, top)
		}
		err = ip(depth-1, a.Prefix)
	case ANEP:
		put(depth, atHeader, 2, byte(a.Type>>8), byte(a.Type))
	}
	return out, err
}

// pack sorts bytes into words and fills in n. Bytes named twice must agree.
func (r *Rule) pack(n *normal, all []maskedByte) error {
	slices.SortStableFunc(all, func(a, b maskedByte) int {
		if c := int(a.depth) - int(b.depth); c != 0 {
			return c
		}
		if c := int(a.anchor) - int(b.anchor); c != 0 {
			return c
		}
		return a.off - b.off
	})
	for i := 0; i < len(all); {
		first := all[i]
		p := piece{depth: first.depth, anchor: first.anchor, off: int32(first.off)}
		var mask, value [8]byte
		for ; i < len(all); i++ {
			b := all[i]
			at := b.off - first.off
			if b.depth != first.depth || b.anchor != first.anchor || at >= 8 {
				break
			}
			if both := mask[at] & b.mask; value[at]&both != b.value&both {
				return r.errorf("byte %d of the payload is to have two values", b.off)
			}
			mask[at] |= b.mask
			value[at] |= b.value
			p.need = int32(at + 1)
		}
		p.mask = be64(mask[:])
		n.bits += bits.OnesCount64(p.mask)
		n.shape = append(n.shape, p)
		n.value = append(n.value, be64(value[:]))
	}
	if len(n.shape) > maxWords {
		return r.errorf("address and key need %d words of the packet, at most %d are possible", len(n.shape), maxWords)
	}
	return nil
}

func (r *Rule) errorf(format string, args ...any) error {
	e := fmt.Errorf(format, args...)
	kind := errs.Invalid
	if cause := new(errs.Error); errors.As(e, &cause) {
		kind = cause.Kind
	}
	return errs.New(kind, "rule %d (%s): %w", r.ID, r.String(), e)
}

// String returns protocol string, address and key, separated by blanks.
func (r *Rule) String() string {
	var b strings.Builder
	b.WriteString(r.Protocol.String())
	if !r.Local.IsAny() {
		b.WriteByte(' ')
		b.WriteString(r.Local.String())
	}
	if len(r.Key) > 0 {
		b.WriteByte(' ')
		b.WriteString(r.Key.String())
	}
	return b.String()
}
