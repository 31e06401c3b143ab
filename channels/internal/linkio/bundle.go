package linkio

import "encoding/binary"

// A bundle is a datagram that carries packets:
//
//	'J' 'B' 1 0       | length, payload | length, payload | ... | filler
//	'J' 'B' 2 0 | key | length, payload | length, payload | ... | filler
//
// The second form is for receivers that have told the sender their key, of eight bytes. A length is two bytes, the more significant first, and may be 0. Filler is one byte, or begins with ffff where a length could be, and goes on to
// the end of the datagram; it makes bundles equally long, as the datagrams of a run have to be. A bundle holds at least one packet, and one with a key at most MostBundled.
const (
	bundleHead = 4
	lengthLen  = 2
	fillerMark = 0xffff

	// BundleOverhead is how much longer than its packet a bundle of one is.
	BundleOverhead = bundleHead + lengthLen

	// KeyedHead is where the first packet's length is in a bundle with a key, and KeyedOverhead what BundleOverhead is for those.
	KeyedHead     = bundleHead + keyLen
	KeyedOverhead = KeyedHead + lengthLen

	// MostBundled is how many packets there may be in a bundle with a key, so that a short datagram is not more work than this.
	MostBundled = 128
)

var bundleMagic = [bundleHead]byte{'J', 'B', 1, 0}

// CheckBundle returns how many packets a datagram carries; ok is false if it is not a bundle without a key, or not a whole one.
func CheckBundle(b []byte) (packets int, ok bool) {
	if len(b) < BundleOverhead || [bundleHead]byte(b) != bundleMagic {
		return 0, false
	}
	return checkPackets(b, bundleHead)
}

// CheckKeyed returns the key of a bundle that has one; ok is false if a datagram is none, not a whole one, or one of more than MostBundled packets.
func CheckKeyed(b []byte) (key uint64, ok bool) {
	if Kind(b) != Keyed {
		return 0, false
	}
	n, ok := checkPackets(b, KeyedHead)
	return binary.BigEndian.Uint64(b[bundleHead:]), ok && n <= MostBundled
}

// checkPackets counts the packets of a bundle whose first length is at an offset.
func checkPackets(b []byte, at int) (packets int, ok bool) {
	for ; len(b)-at >= lengthLen; packets++ {
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

// NextInBundle returns the packet at an offset of a bundle that was found whole, and the offset of the next; ok is false if there is none. The
// first one's is KeyedHead, or 0 if there is no key.
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
