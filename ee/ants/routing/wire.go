package routing

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/janos-os/janos/errs"
)

// Port is the UDP port of the protocol.
const Port = 3323

// Magic begins every message. It is the key of the in-channels; an ANEP packet begins with 0x01.
const Magic = 0x4a52

// Bounds of messages.
const (
	MaxMessage    = 548 // bytes: what an IPv4 packet of 576 has room for behind 20 and 8
	MaxNeighbours = 48  // that one hello can list, and so of one link
	MaxAddrs      = 4   // addresses of a node on one link
	MaxLSA        = 480 // bytes of one piece of the database
	MaxFragments  = 16  // pieces that one node may have
)

const (
	version = 1

	headerLen  = 16
	helloLen   = headerLen + 16 // before its lists
	updateLen  = headerLen + 4
	summaryLen = headerLen + 20
	lsaLen     = 20 // before its lists
	adjLen     = 6
	entryLen   = 24

	typeHello   = 1
	typeUpdate  = 2
	typeSummary = 3

	flagHost  = 1
	flagLeave = 2

	maxSeq      = 1<<62 - 1
	maxLifetime = time.Hour
	minInterval = 10 * time.Millisecond
	maxInterval = 20 * time.Second

	maxEntries = (MaxMessage - summaryLen) / entryLen
)

// header is the beginning of every message:
//
//	0  magic, 2 bytes | version | type
//	4  address of the sender
//	8  generation of the sender
//	12 length of the message, 2 bytes | zero, 2 bytes
type header struct {
	typ  uint8
	node NodeAddr
	gen  uint32
}

// heard is a neighbour as a hello lists it.
type heard struct {
	node NodeAddr
	gen  uint32
}

// hello is, behind the header:
//
//	16 interval in milliseconds, 2 bytes | flags | number of addresses
//	20 pieces in the database, 2 bytes | number of neighbours, 2 bytes
//	24 digest of the database, 8 bytes
//	32 addresses, each its length (4 or 16) and its bytes
//	   neighbours, each address and generation, in ascending order
type hello struct {
	header
	interval time.Duration
	host     bool
	leave    bool
	pieces   uint16
	digest   uint64
	addrs    []netip.Addr
	heard    []heard
}

// Adjacency is a neighbour that a node says it has, and the cost of sending to it.
type Adjacency struct {
	Node   NodeAddr `json:"node"`
	Metric uint16   `json:"metric"`
}

// LSA is a piece of the database: a part of what one node says about itself. In an update, behind the
// number of pieces in one byte and three of zero, it is:
//
//	0  address of its origin
//	4  fragment | flags | number of adjacencies | number of prefixes
//	8  sequence number, 8 bytes
//	16 remaining lifetime in milliseconds
//	20 adjacencies, each address and metric (2 bytes), in ascending order
//	   prefixes, each family (4 or 6), length in bits and address, in ascending order
type LSA struct {
	Origin   NodeAddr       `json:"origin"`
	Fragment uint8          `json:"fragment"`
	Host     bool           `json:"host"` // the origin does not forward
	Seq      uint64         `json:"seq"`
	Lifetime time.Duration  `json:"lifetime_ns"` // remaining
	Adj      []Adjacency    `json:"adjacencies"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

// key orders pieces by origin and fragment.
type key uint64

func (l *LSA) key() key { return key(l.Origin)<<8 | key(l.Fragment) }

// entry names a piece in a summary: 8 bytes key, 8 sequence number, 8 hash of the contents.
type entry struct {
	key  key
	seq  uint64
	hash uint64
}

// summary lists, behind the header, all pieces whose keys are in a range:
//
//	16 first key, 8 bytes; 24 last key, 8 bytes
//	32 number of entries, 2 bytes; zero, 2 bytes
//	36 entries, in ascending order
type summary struct {
	header
	first, last key
	entries     []entry
}

var be = binary.BigEndian

func appendHeader(b []byte, h header) []byte {
	b = be.AppendUint16(b, Magic)
	b = append(b, version, h.typ)
	b = be.AppendUint32(b, uint32(h.node))
	b = be.AppendUint32(b, h.gen)
	return append(b, 0, 0, 0, 0)
}

// finish writes the length of a message that begins at b's start.
func finish(b []byte) []byte {
	be.PutUint16(b[12:], uint16(len(b)))
	return b
}

func appendHello(b []byte, h *hello) []byte {
	b = appendHeader(b, h.header)
	var flags uint8
	if h.host {
		flags |= flagHost
	}
	if h.leave {
		flags |= flagLeave
	}
	b = be.AppendUint16(b, uint16(h.interval/time.Millisecond))
	b = append(b, flags, uint8(len(h.addrs)))
	b = be.AppendUint16(b, h.pieces)
	b = be.AppendUint16(b, uint16(len(h.heard)))
	b = be.AppendUint64(b, h.digest)
	for _, a := range h.addrs {
		b = append(b, uint8(a.BitLen()/8))
		b = append(b, a.AsSlice()...)
	}
	for _, n := range h.heard {
		b = be.AppendUint32(b, uint32(n.node))
		b = be.AppendUint32(b, n.gen)
	}
	return finish(b)
}

// appendLSA appends l as an update has it.
func appendLSA(b []byte, l *LSA) []byte {
	b = be.AppendUint32(b, uint32(l.Origin))
	var flags uint8
	if l.Host {
		flags |= flagHost
	}
	b = append(b, l.Fragment, flags, uint8(len(l.Adj)), uint8(len(l.Prefixes)))
	b = be.AppendUint64(b, l.Seq)
	b = be.AppendUint32(b, uint32(l.Lifetime/time.Millisecond))
	for _, a := range l.Adj {
		b = be.AppendUint32(b, uint32(a.Node))
		b = be.AppendUint16(b, a.Metric)
	}
	for _, p := range l.Prefixes {
		family := uint8(4)
		if p.Addr().Is6() {
			family = 6
		}
		b = append(b, family, uint8(p.Bits()))
		b = append(b, p.Addr().AsSlice()...)
	}
	return b
}

// prefixLen is how many bytes p takes in a piece.
func prefixLen(p netip.Prefix) int { return 2 + p.Addr().BitLen()/8 }

func appendSummary(b []byte, s *summary) []byte {
	b = appendHeader(b, s.header)
	b = be.AppendUint64(b, uint64(s.first))
	b = be.AppendUint64(b, uint64(s.last))
	b = be.AppendUint16(b, uint16(len(s.entries)))
	b = append(b, 0, 0)
	for _, e := range s.entries {
		b = be.AppendUint64(b, uint64(e.key))
		b = be.AppendUint64(b, e.seq)
		b = be.AppendUint64(b, e.hash)
	}
	return finish(b)
}

// Refusals of the decoder are values: a flood of malformed messages costs no memory.
var (
	errShort     = errs.New(errs.Invalid, "routing message: shorter than its fields say")
	errLength    = errs.New(errs.Invalid, "routing message: the length field is not the message's length")
	errVersion   = errs.New(errs.NotSupported, "routing message: magic number or version is not ours")
	errReserved  = errs.New(errs.Invalid, "routing message: a reserved field is not zero")
	errNode      = errs.New(errs.Invalid, "routing message: an address cannot be that of a node")
	errCount     = errs.New(errs.Invalid, "routing message: a list is longer than the protocol allows")
	errOrder     = errs.New(errs.Invalid, "routing message: a list is not in ascending order")
	errAddr      = errs.New(errs.Invalid, "routing message: an IP address or prefix is malformed or not unicast")
	errRange     = errs.New(errs.Invalid, "routing message: a number is out of range")
	errType      = errs.New(errs.Invalid, "routing message: unknown type")
	errSeqNumber = errs.New(errs.Invalid, "routing message: sequence number out of range")
)

func parseHeader(b []byte) (h header, err error) {
	switch {
	case len(b) < headerLen:
		return h, errShort
	case be.Uint16(b) != Magic || b[2] != version:
		return h, errVersion
	case int(be.Uint16(b[12:])) != len(b) || len(b) > MaxMessage:
		return h, errLength
	case b[14] != 0 || b[15] != 0:
		return h, errReserved
	}
	h = header{typ: b[3], node: NodeAddr(be.Uint32(b[4:])), gen: be.Uint32(b[8:])}
	if !h.node.Valid() {
		return h, errNode
	}
	if h.typ < typeHello || h.typ > typeSummary {
		return h, errType
	}
	return h, nil
}

// parseHello decodes a whole message into h, whose slices it uses again.
func parseHello(b []byte, h *hello) error {
	hd, err := parseHeader(b)
	if err != nil {
		return err
	}
	if hd.typ != typeHello {
		return errType
	}
	if len(b) < helloLen {
		return errShort
	}
	*h = hello{header: hd, addrs: h.addrs[:0], heard: h.heard[:0]}
	h.interval = time.Duration(be.Uint16(b[16:])) * time.Millisecond
	flags, addrs := b[18], int(b[19])
	h.pieces = be.Uint16(b[20:])
	n := int(be.Uint16(b[22:]))
	h.digest = be.Uint64(b[24:])
	h.host, h.leave = flags&flagHost != 0, flags&flagLeave != 0
	switch {
	case flags&^(flagHost|flagLeave) != 0:
		return errReserved
	case addrs > MaxAddrs || n > MaxNeighbours:
		return errCount
	case h.interval < minInterval || h.interval > maxInterval:
		return errRange
	}
	b = b[helloLen:]
	for range addrs {
		if len(b) < 1 || (b[0] != 4 && b[0] != 16) {
			return errAddr
		}
		w := int(b[0])
		if len(b) < 1+w {
			return errShort
		}
		a, _ := netip.AddrFromSlice(b[1 : 1+w])
		if a.IsUnspecified() || a.IsMulticast() || a.Is4In6() {
			return errAddr
		}
		h.addrs = append(h.addrs, a)
		b = b[1+w:]
	}
	if len(b) != 8*n {
		return errShort
	}
	last := NodeAddr(0)
	for ; len(b) > 0; b = b[8:] {
		a := NodeAddr(be.Uint32(b))
		if !a.Valid() {
			return errNode
		}
		if a <= last {
			return errOrder
		}
		last = a
		h.heard = append(h.heard, heard{a, be.Uint32(b[4:])})
	}
	return nil
}

// parseUpdate checks a whole update and calls fn with each of its pieces, in order. The LSA's slices are its own. If any
// piece is malformed, fn is not called at all.
func parseUpdate(b []byte, fn func(*LSA)) error {
	hd, err := parseHeader(b)
	if err != nil {
		return err
	}
	if hd.typ != typeUpdate {
		return errType
	}
	if len(b) < updateLen {
		return errShort
	}
	n := int(b[16])
	if b[17]|b[18]|b[19] != 0 {
		return errReserved
	}
	b = b[updateLen:]
	if n > len(b)/lsaLen {
		return errShort
	}
	pieces := make([]*LSA, 0, n)
	for range n {
		l, rest, err := parseLSA(b)
		if err != nil {
			return err
		}
		pieces, b = append(pieces, l), rest
	}
	if len(b) != 0 {
		return errLength
	}
	for _, l := range pieces {
		fn(l)
	}
	return nil
}

func parseLSA(b []byte) (*LSA, []byte, error) {
	if len(b) < lsaLen {
		return nil, nil, errShort
	}
	l := &LSA{
		Origin: NodeAddr(be.Uint32(b)), Fragment: b[4], Host: b[5]&flagHost != 0,
		Seq:      be.Uint64(b[8:]),
		Lifetime: time.Duration(be.Uint32(b[16:])) * time.Millisecond,
	}
	flags, adjs, prefixes := b[5], int(b[6]), int(b[7])
	switch {
	case !l.Origin.Valid():
		return nil, nil, errNode
	case l.Fragment >= MaxFragments || l.Lifetime > maxLifetime:
		return nil, nil, errRange
	case flags&^flagHost != 0:
		return nil, nil, errReserved
	case l.Seq == 0 || l.Seq > maxSeq:
		return nil, nil, errSeqNumber
	}
	start := len(b)
	b = b[lsaLen:]
	if len(b) < adjs*adjLen+prefixes*6 {
		return nil, nil, errShort
	}
	if adjs > 0 {
		l.Adj = make([]Adjacency, adjs)
	}
	last := NodeAddr(0)
	for i := range l.Adj {
		a := Adjacency{Node: NodeAddr(be.Uint32(b)), Metric: be.Uint16(b[4:])}
		switch {
		case !a.Node.Valid() || a.Node == l.Origin:
			return nil, nil, errNode
		case a.Node <= last:
			return nil, nil, errOrder
		case a.Metric == 0:
			return nil, nil, errRange
		}
		l.Adj[i], last, b = a, a.Node, b[adjLen:]
	}
	if prefixes > 0 {
		l.Prefixes = make([]netip.Prefix, prefixes)
	}
	for i := range l.Prefixes {
		if len(b) < 2 {
			return nil, nil, errShort
		}
		w := 4
		switch b[0] {
		case 4:
		case 6:
			w = 16
		default:
			return nil, nil, errAddr
		}
		if len(b) < 2+w {
			return nil, nil, errShort
		}
		a, _ := netip.AddrFromSlice(b[2 : 2+w])
		p := netip.PrefixFrom(a, int(b[1]))
		if !p.IsValid() || p != p.Masked() || !routable(p) {
			return nil, nil, errAddr
		}
		if i > 0 && comparePrefix(l.Prefixes[i-1], p) >= 0 {
			return nil, nil, errOrder
		}
		l.Prefixes[i], b = p, b[2+w:]
	}
	if start-len(b) > MaxLSA {
		return nil, nil, errCount
	}
	return l, b, nil
}

// parseSummary decodes a whole message into s, whose slice it uses again.
func parseSummary(b []byte, s *summary) error {
	hd, err := parseHeader(b)
	if err != nil {
		return err
	}
	if hd.typ != typeSummary {
		return errType
	}
	if len(b) < summaryLen {
		return errShort
	}
	*s = summary{header: hd, first: key(be.Uint64(b[16:])), last: key(be.Uint64(b[24:])), entries: s.entries[:0]}
	n := int(be.Uint16(b[32:]))
	if b[34]|b[35] != 0 {
		return errReserved
	}
	b = b[summaryLen:]
	if len(b) != n*entryLen {
		return errShort
	}
	for i := range n {
		e := entry{key: key(be.Uint64(b)), seq: be.Uint64(b[8:]), hash: be.Uint64(b[16:])}
		switch {
		case e.key < s.first || e.key > s.last || i > 0 && e.key <= s.entries[i-1].key:
			return errOrder
		case e.seq == 0 || e.seq > maxSeq:
			return errSeqNumber
		}
		s.entries = append(s.entries, e)
		b = b[entryLen:]
	}
	return nil
}

// routable reports whether routes to p make sense beyond one link.
func routable(p netip.Prefix) bool {
	a := p.Addr()
	return !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.Is4In6() && (p.Bits() == 0 || !a.IsUnspecified())
}

// comparePrefix orders prefixes: IPv4 first, then by address, then shorter ones first.
func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
