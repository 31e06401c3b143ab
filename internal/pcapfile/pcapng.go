package pcapfile

import (
	"encoding/binary"
	"io"
	"math/bits"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/errs"
)

// Types of blocks; all others are passed over.
const (
	blockSection   = 0x0a0d0d0a // the same in both byte orders
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

const (
	magicOrder    = 0x1a2b3c4d
	maxInterfaces = 4096          // of a section
	maxOptions    = 64 << 10      // of an interface, in bytes
	lastSecond    = 9_000_000_000 // what a time.Duration holds, about the year 2255
)

// iface is an interface that packets of a section were captured at.
type iface struct {
	link   layers.LinkType
	snap   uint32 // 0: no limit
	units  uint64 // of time, in a second
	offset int64  // seconds
}

// nextNG reads blocks up to one with a packet. A block is its type, its length, a body and its length again.
func (p *Reader) nextNG() (Packet, error) {
	for {
		p.blocks++
		h := p.head[:8]
		if _, err := io.ReadFull(p.r, h); err == io.EOF {
			return Packet{}, io.EOF
		} else if err != nil {
			return Packet{}, p.bad("the file ends within its header")
		}
		typ := p.order.Uint32(h)
		if typ == blockSection {
			if err := p.section(); err != nil {
				return Packet{}, err
			}
		}
		// Sections may differ in byte order.
		length := p.order.Uint32(h[4:])
		if length < 12 || length%4 != 0 {
			return Packet{}, p.bad("its length is wrong")
		}
		var pk Packet
		var err error
		found := false
		left := length - 12
		switch typ {
		case blockSection:
			if left < 16 {
				return Packet{}, p.bad("it is too short")
			}
			left -= 4 // the order has been read
		case blockInterface:
			left, err = p.describe(left)
		case blockEnhanced, blockPacket, blockSimple:
			found = true
			pk, left, err = p.packet(typ, left)
		}
		if err != nil {
			return Packet{}, err
		}
		for left > 0 {
			n, err := p.r.Discard(int(min(left, 1<<20)))
			if err != nil {
				return Packet{}, p.bad("the file ends within it")
			}
			left -= uint32(n)
		}
		again := p.head[:4]
		if _, err := io.ReadFull(p.r, again); err != nil || p.order.Uint32(again) != length {
			return Packet{}, p.bad("its length is not repeated at its end")
		}
		if found {
			return pk, nil
		}
	}
}

// bad is an error about the present block.
func (p *Reader) bad(why string) error {
	return errs.New(errs.Invalid, "%s: block %d: %s", p.file, p.blocks, why)
}

// section begins a section: it reads the byte order.
func (p *Reader) section() error {
	m := p.head[8:12]
	if _, err := io.ReadFull(p.r, m); err != nil {
		return p.bad("the file ends within its header")
	}
	switch uint32(magicOrder) {
	case binary.LittleEndian.Uint32(m):
		p.order = binary.LittleEndian
	case binary.BigEndian.Uint32(m):
		p.order = binary.BigEndian
	default:
		return p.bad("a section without a byte order")
	}
	p.interfaces = p.interfaces[:0]
	return nil
}

// describe reads an interface of the section from a body of size bytes.
func (p *Reader) describe(size uint32) (left uint32, err error) {
	if size < 8 || size > maxOptions {
		return 0, p.bad("an interface of a strange length")
	}
	if len(p.interfaces) == maxInterfaces {
		return 0, errs.New(errs.Invalid, "%s: block %d: more than %d interfaces", p.file, p.blocks, maxInterfaces)
	}
	if p.buf == nil {
		p.buf = make([]byte, MaxPacket)
	}
	b := p.buf[:size]
	if _, err := io.ReadFull(p.r, b); err != nil {
		return 0, p.bad("the file ends within it")
	}
	i := iface{link: layers.LinkType(p.order.Uint16(b)), snap: p.order.Uint32(b[4:]), units: 1_000_000}
	for b = b[8:]; len(b) >= 4; {
		code, n := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if code == 0 {
			break
		}
		if b = b[4:]; padded > len(b) {
			return 0, p.bad("an option is longer than the block")
		}
		switch {
		case code == 9 && n == 1: // if_tsresol
			if i.units = unitsOf(b[0]); i.units == 0 {
				return 0, p.bad("times finer than can be counted")
			}
		case code == 14 && n == 8: // if_tsoffset
			i.offset = int64(p.order.Uint64(b))
		}
		b = b[padded:]
	}
	p.interfaces = append(p.interfaces, i)
	return 0, nil
}

// unitsOf returns the units of a second, which a resolution gives as a power of ten or two; 0 if they are too many.
func unitsOf(resolution byte) uint64 {
	n := resolution & 0x7f
	switch {
	case resolution&0x80 != 0 && n < 64:
		return 1 << n
	case resolution&0x80 == 0 && n < 20:
		u := uint64(1)
		for range n {
			u *= 10
		}
		return u
	}
	return 0
}

// packet reads a packet from a block's body of size bytes and returns how many are left.
func (p *Reader) packet(typ, size uint32) (pk Packet, left uint32, err error) {
	p.n++
	head := uint32(20)
	if typ == blockSimple {
		head = 4
	}
	if size < head {
		return pk, 0, p.bad("it is too short")
	}
	h := p.head[8 : 8+head]
	if _, err := io.ReadFull(p.r, h); err != nil {
		return pk, 0, p.bad("the file ends within it")
	}
	id := uint32(0)
	switch typ {
	case blockEnhanced:
		id = p.order.Uint32(h)
	case blockPacket:
		id = uint32(p.order.Uint16(h))
	}
	if uint64(id) >= uint64(len(p.interfaces)) {
		return pk, 0, p.bad("a packet of an interface that the section does not describe")
	}
	i := &p.interfaces[id]
	var n uint32
	if typ == blockSimple {
		if n = p.order.Uint32(h); i.snap != 0 {
			n = min(n, i.snap)
		}
		pk.At = p.last
	} else {
		n = p.order.Uint32(h[12:])
		pk.At = i.time(uint64(p.order.Uint32(h[4:]))<<32 | uint64(p.order.Uint32(h[8:])))
		p.last = pk.At
	}
	if n > size-head {
		return pk, 0, p.bad("a packet is longer than its block")
	}
	pk.Link = i.link
	pk.Data, err = p.data(n)
	pk.Wire = wire(p.order.Uint32(h[head-4:]), pk.Data)
	return pk, size - head - n, err
}

// time converts a time of the interface. What is before 1970 or after lastSecond is these.
func (i *iface) time(t uint64) time.Duration {
	seconds := t / i.units
	hi, lo := bits.Mul64(t%i.units, 1_000_000_000)
	ns, _ := bits.Div64(hi, lo, i.units)
	switch {
	case seconds > lastSecond && i.offset >= 0, i.offset > lastSecond:
		return lastSecond * time.Second
	case i.offset < 0 && seconds < -uint64(i.offset):
		return 0
	}
	return time.Duration(min(seconds+uint64(i.offset), lastSecond))*time.Second + time.Duration(ns)
}
