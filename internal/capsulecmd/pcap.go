package capsulecmd

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/errs"
)

// maxPacket is the longest packet that is read from a capture; longer ones are malformed.
const maxPacket = 256 << 10

// pcapReader reads a capture file: a header of 24 bytes, and packets with 16 bytes in front (draft-ietf-opsawg-pcap). It is
// our own because it must not believe the lengths that a file states.
type pcapReader struct {
	r     io.Reader
	file  string
	order binary.ByteOrder
	tick  time.Duration // unit of the second half of a time
	link  layers.LinkType
	n     int
	buf   []byte
}

var errNotPcap = errors.New("want a file in the pcap format, as tcpdump -w writes it (from pcapng: editcap -F pcap)")

func newPcapReader(r io.Reader, file string) (*pcapReader, error) {
	p := &pcapReader{r: r, file: file, order: binary.LittleEndian, tick: time.Microsecond}
	var h [24]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", file, errNotPcap)
	}
	magic := p.order.Uint32(h[:])
	if magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1 {
		p.order = binary.BigEndian
		magic = p.order.Uint32(h[:])
	}
	switch magic {
	case 0xa1b2c3d4:
	case 0xa1b23c4d:
		p.tick = time.Nanosecond
	default:
		return nil, errs.New(errs.Invalid, "%s: %w", file, errNotPcap)
	}
	// The upper half of the field says other things.
	p.link = layers.LinkType(p.order.Uint32(h[20:]) & 0xffff)
	return p, nil
}

// next returns a packet, valid until the next call, and the calendar time it was captured at; io.EOF at the end.
func (p *pcapReader) next() (data []byte, at time.Duration, err error) {
	var h [16]byte
	p.n++
	if _, err := io.ReadFull(p.r, h[:]); errors.Is(err, io.EOF) {
		return nil, 0, io.EOF
	} else if err != nil {
		return nil, 0, errs.New(errs.Invalid, "%s: packet %d: the file ends within its header", p.file, p.n)
	}
	size := p.order.Uint32(h[8:])
	if size > maxPacket {
		return nil, 0, errs.New(errs.Invalid, "%s: packet %d: %d bytes, no more than %d are believed", p.file, p.n, size, maxPacket)
	}
	if p.buf == nil {
		p.buf = make([]byte, maxPacket)
	}
	if _, err := io.ReadFull(p.r, p.buf[:size]); err != nil {
		return nil, 0, errs.New(errs.Invalid, "%s: packet %d: the file ends within it", p.file, p.n)
	}
	at = time.Duration(p.order.Uint32(h[:]))*time.Second + time.Duration(p.order.Uint32(h[4:]))*p.tick
	return p.buf[:size], at, nil
}
