package ants

import (
	"encoding/binary"

	"github.com/janos-os/janos/errs"
)

// ANEP, the Active Network Encapsulation Protocol (RFC draft, Alexander et al., July 1997):
//
//	 0         8         16                 32
//	+---------+---------+-------------------+
//	| version |  flags  |      type id      |
//	+---------+---------+-------------------+
//	| header length     | packet length     |   header in 32-bit words, packet in bytes
//	+-------------------+-------------------+
//	|PD type            | length            |   options; length in words, with these four bytes
//	+-------------------+-------------------+
//	| value ...                             |
//
// P says that the option's type is private to the type id, D that who does not know the option discards
// the packet.
const (
	ANEPVersion = 1
	ANEPLen     = 8    // bytes of the header without options
	TypeANTS    = 18   // type id of ANTS capsules
	UDPPort     = 3322 // where capsules are sent to

	// FlagDiscard is the flag that asks a node to drop a packet whose type id it does not know.
	FlagDiscard = 0x80

	optPrivate = 0x8000
	optDiscard = 0x4000
	optType    = 0x3fff

	// MaxANEPHeader is the longest header that is accepted, in bytes.
	MaxANEPHeader = 256
)

// Options of ANTS, all private. The credit option's epoch, key id and tag are for credits that are vouched
// for; a node that holds no key writes zero into them whenever it changes the count.
const (
	optPorts  = 1 // source port 16, destination port 16
	optCredit = 2 // count 32, epoch 32, key id 32, tag 128
	optTrace  = 3 // trace id 128

	optPortsLen  = 8
	optCreditLen = 32
	optTraceLen  = 20
)

// The refusals of the decoders are values, so that hostile packets cost no allocation.
var (
	ErrShort       = errs.New(errs.Invalid, "ants: packet is shorter than its headers")
	ErrANEPVersion = errs.New(errs.NotSupported, "ants: ANEP version is not %d", ANEPVersion)
	ErrANEPType    = errs.New(errs.NotSupported, "ants: ANEP type id is not %d (ANTS)", TypeANTS)
	ErrLength      = errs.New(errs.Invalid, "ants: ANEP packet length differs from what arrived")
	ErrOption      = errs.New(errs.Invalid, "ants: malformed ANEP option")
	ErrUnknown     = errs.New(errs.NotSupported, "ants: unknown ANEP option that asks to discard the packet")
	ErrVersion     = errs.New(errs.NotSupported, "ants: capsule version is not %d", Version)
	ErrTTL         = errs.New(errs.Invalid, "ants: ttl is above %d", MaxTTL)
	ErrAddress     = errs.New(errs.Invalid, "ants: source or destination address is zero")
)

// offsets says where the options of a packet are, counted from its start; zero where there is none.
type offsets struct {
	header               int // length of the ANEP header
	ports, credit, trace int // first byte of the value
}

// parseANEP checks the ANEP header of b and finds its options.
func parseANEP(b []byte) (o offsets, err error) {
	if len(b) < ANEPLen {
		return o, ErrShort
	}
	if b[0] != ANEPVersion {
		return o, ErrANEPVersion
	}
	if binary.BigEndian.Uint16(b[2:]) != TypeANTS {
		return o, ErrANEPType
	}
	if int(binary.BigEndian.Uint16(b[6:])) != len(b) {
		return o, ErrLength
	}
	o.header = 4 * int(binary.BigEndian.Uint16(b[4:]))
	if o.header < ANEPLen || o.header > MaxANEPHeader || o.header > len(b) {
		return o, ErrShort
	}
	for at := ANEPLen; at < o.header; {
		head := binary.BigEndian.Uint16(b[at:])
		n := 4 * int(binary.BigEndian.Uint16(b[at+2:]))
		if n < 4 || at+n > o.header {
			return o, ErrOption
		}
		var want int
		var where *int
		if head&optPrivate != 0 {
			switch head & optType {
			case optPorts:
				where, want = &o.ports, optPortsLen
			case optCredit:
				where, want = &o.credit, optCreditLen
			case optTrace:
				where, want = &o.trace, optTraceLen
			}
		}
		switch {
		case where == nil:
			if head&optDiscard != 0 {
				return o, ErrUnknown
			}
		case n != want || *where != 0: // wrong size, or the second of its kind
			return o, ErrOption
		default:
			*where = at + 4
		}
		at += n
	}
	return o, nil
}
