package pcapfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/janos-os/janos/errs"
)

// MaxPacket is the longest packet that is read from a capture; longer ones are malformed.
const MaxPacket = 256 << 10

// Packet is one of a capture.
type Packet struct {
	Data []byte          // what was captured, valid until the next call of Next
	At   time.Duration   // when, as calendar time since 1970; in pcapng's simple blocks that of the packet before
	Link layers.LinkType // what Data begins with
	Wire int             // bytes that it had on the wire, as the file says; at least those of Data
}

// Reader reads a capture file from its beginning. It belongs to one goroutine and blocks as its file does.
type Reader struct {
	r     *bufio.Reader
	count counted
	file  string
	order binary.ByteOrder
	ng    bool
	n     int // packets begun
	buf   []byte
	head  [28]byte

	// of pcap
	tick time.Duration // unit of the second half of a time
	link layers.LinkType

	// of pcapng
	blocks     int
	interfaces []iface
	last       time.Duration
}

var errFormat = errors.New("want a file in the pcap or pcapng format, as tcpdump -w and dumpcap write it")

// magics of pcap, in the byte order of the file.
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
)

// NewReader reads the header of a capture; file is its name in errors, which are errs.Invalid.
func NewReader(r io.Reader, file string) (*Reader, error) {
	p := &Reader{count: counted{r: r}, file: file, order: binary.LittleEndian}
	p.r = bufio.NewReaderSize(&p.count, 64<<10)
	magic, err := p.r.Peek(4)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", file, errFormat)
	}
	if binary.LittleEndian.Uint32(magic) == blockSection {
		p.ng = true
		return p, nil
	}
	if m := binary.BigEndian.Uint32(magic); m == magicMicro || m == magicNano {
		p.order = binary.BigEndian
	}
	switch p.order.Uint32(magic) {
	case magicMicro:
		p.tick = time.Microsecond
	case magicNano:
		p.tick = time.Nanosecond
	default:
		return nil, errs.New(errs.Invalid, "%s: %w", file, errFormat)
	}
	h := p.head[:24]
	if _, err := io.ReadFull(p.r, h); err != nil {
		return nil, errs.New(errs.Invalid, "%s: %w", file, errFormat)
	}
	// The upper half of the field says other things.
	p.link = layers.LinkType(p.order.Uint32(h[20:]) & 0xffff)
	return p, nil
}

// Next returns the next packet; io.EOF at the end. After an error, which is errs.Invalid, there are no more.
func (p *Reader) Next() (Packet, error) {
	if p.ng {
		return p.nextNG()
	}
	h := p.head[:16]
	p.n++
	if _, err := io.ReadFull(p.r, h); err == io.EOF {
		return Packet{}, io.EOF
	} else if err != nil {
		return Packet{}, p.fail("the file ends within its header")
	}
	data, err := p.data(p.order.Uint32(h[8:]))
	at := time.Duration(p.order.Uint32(h))*time.Second + time.Duration(p.order.Uint32(h[4:]))*p.tick
	return Packet{Data: data, At: at, Link: p.link, Wire: wire(p.order.Uint32(h[12:]), data)}, err
}

// counted counts what is read of a file.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// Offset returns the bytes that were read of the file: where the next packet begins, or a block that comes before it.
func (p *Reader) Offset() int64 { return p.count.n - int64(p.r.Buffered()) }

// Link returns what the packets of a pcap file begin with. In a pcapng file, where each packet may begin with something else, it returns false.
func (p *Reader) Link() (l layers.LinkType, ok bool) { return p.link, !p.ng }

// wire is a length on the wire, which may be nonsense.
func wire(n uint32, data []byte) int {
	if n > 1<<30 {
		n = 0
	}
	return max(int(n), len(data))
}

// data reads the bytes of a packet.
func (p *Reader) data(size uint32) ([]byte, error) {
	if size > MaxPacket {
		return nil, errs.New(errs.Invalid, "%s: packet %d: %d bytes, no more than %d are believed", p.file, p.n, size, MaxPacket)
	}
	if p.buf == nil {
		p.buf = make([]byte, MaxPacket)
	}
	if _, err := io.ReadFull(p.r, p.buf[:size]); err != nil {
		return nil, p.fail("the file ends within it")
	}
	return p.buf[:size], nil
}

func (p *Reader) fail(why string) error {
	return errs.New(errs.Invalid, "%s: packet %d: %s", p.file, p.n, why)
}
