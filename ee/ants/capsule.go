package ants

import (
	"encoding/binary"

	"github.com/janos-os/janos/packet"
)

// The capsule header, big endian, after the ANEP header:
//
//	 0  version          4
//	 4  method id       16
//	20  source           4
//	24  destination      4
//	28  previous node    4
//	32  hops left (TTL)  4
//	36  class-specific bytes
const (
	Version   = 2
	HeaderLen = 36
	MaxTTL    = 255

	offMethod = 4
	offSrc    = 20
	offDst    = 24
	offPrev   = 28
	offTTL    = 32

	// MaxOverhead is the most bytes that Encode puts in front of the class-specific bytes.
	MaxOverhead = ANEPLen + optPortsLen + optCreditLen + optTraceLen + HeaderLen
)

// Credit bounds the work that one injected capsule can cause in the whole network: every evaluation costs one
// unit, and the copies that leave share the rest.
type Credit struct {
	Count uint32
	Epoch uint32
	KeyID uint32 // zero: nobody vouches for the count
	Tag   [16]byte
}

// TraceID joins what several nodes report about one capsule.
type TraceID [16]byte

// Capsule is a decoded capsule.
type Capsule struct {
	Method MethodID
	Src    NodeAddr // where it was injected
	Dst    NodeAddr
	Prev   NodeAddr // the node it left last; zero while it has not left the first one
	TTL    uint32   // hops left

	HasPorts         bool
	SrcPort, DstPort uint16 // applications
	HasCredit        bool
	Credit           Credit
	HasTrace         bool
	Trace            TraceID

	Data []byte // class-specific bytes; of a decoded capsule, part of what was decoded
}

// Decode reads a packet's bytes, which begin with the ANEP header. Errors are the Err values of
// this package; c is then unspecified. It does not allocate.
func (c *Capsule) Decode(b []byte) error {
	o, err := parseANEP(b)
	if err != nil {
		return err
	}
	return c.decode(b, &o)
}

func (c *Capsule) decode(b []byte, o *offsets) error {
	h := b[o.header:]
	if len(h) < HeaderLen {
		return ErrShort
	}
	be := binary.BigEndian
	if be.Uint32(h) != Version {
		return ErrVersion
	}
	*c = Capsule{
		Method: MethodID(h[offMethod : offMethod+16]),
		Src:    NodeAddr(be.Uint32(h[offSrc:])), Dst: NodeAddr(be.Uint32(h[offDst:])), Prev: NodeAddr(be.Uint32(h[offPrev:])),
		TTL:  be.Uint32(h[offTTL:]),
		Data: h[HeaderLen:],
	}
	if c.TTL > MaxTTL {
		return ErrTTL
	}
	if c.Src == 0 || c.Dst == 0 {
		return ErrAddress
	}
	if o.ports != 0 {
		c.HasPorts, c.SrcPort, c.DstPort = true, be.Uint16(b[o.ports:]), be.Uint16(b[o.ports+2:])
	}
	if o.credit != 0 {
		v := b[o.credit:]
		c.HasCredit = true
		c.Credit = Credit{Count: be.Uint32(v), Epoch: be.Uint32(v[4:]), KeyID: be.Uint32(v[8:]), Tag: [16]byte(v[12:28])}
	}
	if o.trace != 0 {
		c.HasTrace, c.Trace = true, TraceID(b[o.trace:o.trace+16])
	}
	return nil
}

// Overhead returns how many bytes Encode puts in front of Data.
func (c *Capsule) Overhead() int { return c.anepLen() + HeaderLen }

func (c *Capsule) anepLen() int {
	n := ANEPLen
	if c.HasPorts {
		n += optPortsLen
	}
	if c.HasCredit {
		n += optCreditLen
	}
	if c.HasTrace {
		n += optTraceLen
	}
	return n
}

// Append appends the capsule's packet to dst. Data must leave the packet below 65,536 bytes.
func (c *Capsule) Append(dst []byte) []byte {
	n := c.Overhead()
	dst = append(dst, make([]byte, n)...)
	c.putHeaders(dst[len(dst)-n:], n+len(c.Data))
	return append(dst, c.Data...)
}

// Encode makes p, which must be empty, unshared and have tailroom, the capsule's packet. It
// reports whether there was room, and does not allocate.
func (c *Capsule) Encode(p *packet.Packet) bool {
	n := c.Overhead()
	b := p.Put(n + len(c.Data))
	if b == nil {
		return false
	}
	c.putHeaders(b[:n], n+len(c.Data))
	copy(b[n:], c.Data)
	return true
}

// putHeaders writes the ANEP and the capsule header to b, of which they fill all bytes.
func (c *Capsule) putHeaders(b []byte, total int) {
	be := binary.BigEndian
	b[0], b[1] = ANEPVersion, FlagDiscard
	be.PutUint16(b[2:], TypeANTS)
	be.PutUint16(b[4:], uint16(c.anepLen()/4))
	be.PutUint16(b[6:], uint16(total))
	at := ANEPLen
	if c.HasPorts {
		putOption(b[at:], optPorts, optPortsLen)
		be.PutUint16(b[at+4:], c.SrcPort)
		be.PutUint16(b[at+6:], c.DstPort)
		at += optPortsLen
	}
	if c.HasCredit {
		putCredit(b[at:], &c.Credit)
		at += optCreditLen
	}
	if c.HasTrace {
		putOption(b[at:], optTrace, optTraceLen)
		copy(b[at+4:], c.Trace[:])
		at += optTraceLen
	}
	h := b[at:]
	be.PutUint32(h, Version)
	copy(h[offMethod:], c.Method[:])
	be.PutUint32(h[offSrc:], uint32(c.Src))
	be.PutUint32(h[offDst:], uint32(c.Dst))
	be.PutUint32(h[offPrev:], uint32(c.Prev))
	be.PutUint32(h[offTTL:], c.TTL)
}

func putOption(b []byte, typ uint16, n int) {
	binary.BigEndian.PutUint16(b, optPrivate|typ)
	binary.BigEndian.PutUint16(b[2:], uint16(n/4))
}

func putCredit(b []byte, c *Credit) {
	be := binary.BigEndian
	putOption(b, optCredit, optCreditLen)
	be.PutUint32(b[4:], c.Count)
	be.PutUint32(b[8:], c.Epoch)
	be.PutUint32(b[12:], c.KeyID)
	copy(b[16:], c.Tag[:])
}

// rewrite changes, in a packet that is unshared and was decoded with o, what changes from hop to hop; unknown
// options stay as they are. A packet without a credit gets the option, so that what it may still cause
// stays bounded. It reports whether the packet had room.
func rewrite(p *packet.Packet, o *offsets, dst, prev NodeAddr, ttl, credit uint32) bool {
	be := binary.BigEndian
	b := p.Data()
	if o.credit == 0 {
		if o.header+optCreditLen > MaxANEPHeader {
			return false
		}
		if b = p.Push(optCreditLen); b == nil {
			return false
		}
		// The basic header moves to the new front, the option comes behind it, the other options stay.
		copy(b, b[optCreditLen:optCreditLen+ANEPLen])
		putCredit(b[ANEPLen:], &Credit{Count: credit})
		o.header += optCreditLen
		o.credit = ANEPLen + 4
		if o.ports != 0 {
			o.ports += optCreditLen
		}
		if o.trace != 0 {
			o.trace += optCreditLen
		}
		be.PutUint16(b[4:], uint16(o.header/4))
		be.PutUint16(b[6:], uint16(len(b)))
	} else if v := b[o.credit:]; be.Uint32(v) != credit {
		be.PutUint32(v, credit)
		clear(v[4:28])
	}
	h := b[o.header:]
	be.PutUint32(h[offDst:], uint32(dst))
	be.PutUint32(h[offPrev:], uint32(prev))
	be.PutUint32(h[offTTL:], ttl)
	return true
}

// resize makes the class-specific part of a packet n bytes long and reports whether there was room. New bytes
// are undefined.
func resize(p *packet.Packet, o *offsets, n int) bool {
	have := p.Len() - o.header - HeaderLen
	switch {
	case n > have:
		if p.Len()+n-have > 0xffff || p.Put(n-have) == nil {
			return false
		}
	case n < have:
		p.Take(have - n)
	default:
		return true
	}
	b := p.Data()
	binary.BigEndian.PutUint16(b[6:], uint16(len(b)))
	return true
}
