package linkio

import "encoding/binary"

// A bundle is a datagram that carries packets:
//
//	'J' 'B' 1 0 | length, payload | length, payload | ... | filler
//
// A length is two bytes, the more significant first, and may be 0. Filler is one byte, or begins with ffff where a length could be, and goes on to
// the end of the datagram; it makes bundles equally long, as the datagrams of a run have to be. A bundle holds at least one packet.
const (
	bundleHead = 4
	lengthLen  = 2
	fillerMark = 0xffff

	// BundleOverhead is how much longer than its packet a bundle of one is.
	BundleOverhead = bundleHead + lengthLen
)

var bundleMagic = [bundleHead]byte{'J', 'B', 1, 0}

// CheckBundle returns how many packets a datagram carries; ok is false if it is not a bundle, or not a whole one.
func CheckBundle(b []byte) (packets int, ok bool) {
	if len(b) < BundleOverhead || [bundleHead]byte(b) != bundleMagic {
		return 0, false
	}
	for at := bundleHead; len(b)-at >= lengthLen; packets++ {
		n := int(binary.BigEndian.Uint16(b[at:]))
		if n == fillerMark {
			break
		}
		if at += lengthLen; n > len(b)-at {
			return 0, false
		}
		at += n
	}
	return packets, packets > 0
}

// NextInBundle returns the packet at an offset of a bundle that CheckBundle has found whole, 0 for the first one, and the
// offset of the next; ok is false if there is none.
func NextInBundle(b []byte, at int) (payload []byte, next int, ok bool) {
	if at == 0 {
		at = bundleHead
	}
	if len(b)-at < lengthLen {
		return nil, at, false
	}
	n := int(binary.BigEndian.Uint16(b[at:]))
	if n == fillerMark || n > len(b)-at-lengthLen {
		return nil, at, false
	}
	at += lengthLen
	return b[at : at+n : at+n], at + n, true
}

// fill makes b filler.
func fill(b []byte) {
	clear(b)
	if len(b) >= lengthLen {
		binary.BigEndian.PutUint16(b, fillerMark)
	}
}
