package ip

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "IPPrint", Ports: "1/1", Processing: "a/a", New: func() click.Element { return &IPPrint{} },
		Doc: click.Doc{
			Group: "ip", Title: "prints IPv4 packets as a reader of headers would like them",
			Text: "A line has the label, the time, addresses and ports, and what TCP, UDP and ICMP say; for TCP that is the flags, the range of sequence numbers, and in parentheses the bytes that the segment " +
				"takes in it, of the packet as it is here, and of the packet as its header says. Lines of contents follow if they are asked for. Packets whose network header is not marked are not printed. " +
				"It is for looking, not for the fast path: it writes to the router's output, standard error as a rule.",
			Args: []string{
				"LABEL: Begins each line.", "CONTENTS: NONE, HEX or ASCII: how to print the packet's bytes; default NONE.", "PAYLOAD: Like CONTENTS, for the bytes behind the transport header; not both.",
				"MAXLENGTH: Bytes to print; -1 prints all; default 1500.", "ID: Whether to print the IP identification; default false.", "TTL: Whether to print the time to live; default false.",
				"TOS: Whether to print the type of service; default false.", "LENGTH: Whether to print the length that the header says; default false.",
				"TIMESTAMP: Whether to print the timestamp annotation; default true.", "AGGREGATE: Whether to print the aggregate annotation; default false.",
				"PAINT: Whether to print the paint annotation; default false.", "SWAP: Whether identifier and sequence number of ICMP echoes are in network byte order; default true.",
				"OUTFILE: File to write to instead; a dash is standard output.", "ACTIVE: Whether to print; default true.",
			},
			Handlers: []string{"active (rw): The ACTIVE argument."}, Example: "... -> CheckIPHeader -> IPPrint(in, TTL true) -> ...;", See: []string{"Print", "CheckIPHeader"},
		},
	})
}

// IPPrint prints packets.
type IPPrint struct {
	click.Base
	label                             string
	contents, payload                 contents
	max                               int
	id, ttl, tos, length              bool
	stamps, aggregate, paint, network bool
	file                              string
	active                            bool
	out                               io.Writer
	closer                            io.Closer
	buf                               []byte
}

// contents is how bytes are printed.
type contents uint8

const (
	noContents contents = iota
	hexContents
	textContents
)

var contentNames = map[string]contents{"NONE": noContents, "HEX": hexContents, "ASCII": textContents, "FALSE": noContents, "TRUE": hexContents}

func (c *contents) parse(s string, _ *click.Args) error {
	w := strings.ToUpper(lang.Unquote(s))
	v, ok := contentNames[w]
	if !ok {
		return fmt.Errorf("bad contents value '%s'; should be 'NONE', 'HEX', or 'ASCII'", w)
	}
	*c = v
	return nil
}

// Configure implements click.Element.
func (e *IPPrint) Configure(a *click.Args) {
	e.max, e.stamps, e.network, e.active = 1500, true, true, true
	if a.Parse(click.May("LABEL", click.String(&e.label)), click.Key("CONTENTS", e.contents.parse), click.Key("PAYLOAD", e.payload.parse), click.Key("MAXLENGTH", click.IntRange(&e.max, -1, 1<<16)),
		click.Key("ID", click.Bool(&e.id)), click.Key("TTL", click.Bool(&e.ttl)), click.Key("TOS", click.Bool(&e.tos)), click.Key("LENGTH", click.Bool(&e.length)),
		click.Key("TIMESTAMP", click.Bool(&e.stamps)), click.Key("AGGREGATE", click.Bool(&e.aggregate)), click.Key("PAINT", click.Bool(&e.paint)), click.Key("SWAP", click.Bool(&e.network)),
		click.Key("OUTFILE", click.String(&e.file)), click.Key("ACTIVE", click.Bool(&e.active))) && e.contents != noContents && e.payload != noContents {
		a.Errorf("specify at most one of PAYLOAD and CONTENTS")
	}
}

// Initialize implements click.Initializer.
func (e *IPPrint) Initialize() error {
	var err error
	e.out, e.closer, err = e.OpenOutput(e.file)
	return err
}

// Cleanup implements click.Cleaner.
func (e *IPPrint) Cleanup() {
	if e.closer != nil {
		_ = e.closer.Close()
		e.closer = nil
	}
}

// Act implements click.Actor.
func (e *IPPrint) Act(b *packet.Batch) {
	if !e.active {
		return
	}
	for _, p := range b.Packets() {
		if h := p.Network(); h != nil {
			e.buf = append(e.line(e.buf[:0], p, h), '\n')
			_, _ = e.out.Write(e.buf)
		}
	}
}

func (e *IPPrint) line(o []byte, p *packet.Packet, h []byte) []byte {
	if e.label != "" {
		o = append(append(o, e.label...), ": "...)
	}
	if e.stamps {
		o = append(click.AppendTime(o, e.Router().WallOf(p.Anno.Time)), ": "...)
	}
	switch {
	case e.aggregate && e.paint:
		o = number(append(number(append(o, '#'), int(click.Aggregate(p))), '.'), int(p.Anno.Paint))
	case e.aggregate:
		o = number(append(o, '#'), int(click.Aggregate(p)))
	case e.paint:
		o = number(append(o, "paint "...), int(p.Anno.Paint))
	}
	if e.aggregate || e.paint {
		o = append(o, ": "...)
	}
	if len(h) < 20 {
		return append(o, "truncated-ip"...)
	}
	for _, f := range []struct {
		on   bool
		name string
		n    int
	}{{e.id, "id ", u16(h[4:])}, {e.ttl, "ttl ", int(h[8])}, {e.tos, "tos ", int(h[1])}, {e.length, "length ", u16(h[2:])}} {
		if f.on {
			o = append(number(append(o, f.name...), f.n), ' ')
		}
	}
	l := printer{h: h, length: u16(h[2:]), here: len(h), swapped: !e.network}
	o = l.packet(o)
	switch {
	case e.contents != noContents:
		o = dump(o, e.contents, h, e.max)
	case e.payload != noContents:
		o = dump(o, e.payload, l.payload, e.max)
	}
	return o
}

// AddHandlers implements click.HandlerAdder.
func (e *IPPrint) AddHandlers(h *click.Handlers) {
	h.Value("active", func() string { return strconv.FormatBool(e.active) }, click.Bool(&e.active))
}

func u16(b []byte) int { return int(binary.BigEndian.Uint16(b)) }

func number(o []byte, n int) []byte { return strconv.AppendInt(o, int64(n), 10) }

// dump appends lines of up to max bytes, or of all with -1.
func dump(o []byte, c contents, d []byte, max int) []byte {
	if max >= 0 && len(d) > max {
		d = d[:max]
	}
	perLine, group := 24, 4
	if c == textContents {
		perLine, group = 48, 8
	}
	for i, x := range d {
		switch {
		case i%perLine == 0:
			o = append(o, "\n  "...)
		case i%group == 0:
			o = append(o, ' ')
		}
		switch {
		case c == hexContents:
			o = append(o, "0123456789abcdef"[x>>4], "0123456789abcdef"[x&15])
		case x < 32 || x > 126:
			o = append(o, '.')
		default:
			o = append(o, x)
		}
	}
	return o
}

// printer prints what is known of one packet.
type printer struct {
	h       []byte // from the IP header to the packet's end, at least 20 bytes
	length  int    // that the header says
	here    int    // bytes of h
	swapped bool   // ICMP echoes have host byte order
	payload []byte // filled in: what is behind the last header that was printed
}

// addresses appends where the packet comes from and goes to, with ports if the transport header t has them.
func (l *printer) addresses(o, t []byte, ports bool) []byte {
	o = address(o, l.h[12:])
	if ports {
		o = number(append(o, '.'), u16(t))
	}
	o = address(append(o, " > "...), l.h[16:])
	if ports {
		o = number(append(o, '.'), u16(t[2:]))
	}
	return append(o, ": "...)
}

func address(o, a []byte) []byte {
	for i, x := range a[:4] {
		if i > 0 {
			o = append(o, '.')
		}
		o = number(o, int(x))
	}
	return o
}

func (l *printer) packet(o []byte) []byte {
	n := max(HeaderLen(l.h), 20)
	seen := min(l.here, l.length) // padding does not count for headers
	var t []byte
	if n <= len(l.h) {
		l.payload = l.h[n:]
		t = l.h[n:max(n, seen)]
	}
	field := u16(l.h[6:])
	offset := field & 0x1fff
	switch proto := l.h[9]; {
	case proto == 6 && offset == 0:
		o = l.tcp(o, t, n)
	case proto == 17 && offset == 0:
		o = l.udp(o, t)
	case proto == 1 && offset == 0:
		o = l.icmp(l.addresses(o, nil, false), t)
	default:
		o = l.addresses(o, nil, false)
		switch proto {
		case 1, 6, 17:
			o = append(o, shortNames[proto]...)
		default:
			o = number(append(o, "ip-proto-"...), int(proto))
		}
	}
	if field&0x3fff != 0 {
		o = number(append(o, " (frag "...), u16(l.h[4:]))
		o = number(append(o, ':'), l.length-n)
		o = number(append(o, '@'), offset*8)
		if field&0x2000 != 0 {
			o = append(o, '+')
		}
		o = append(o, ')')
	}
	return o
}

const tcpLetters = "FSRP" // of the flags from the lowest bit on

func (l *printer) tcp(o, t []byte, ipHeader int) []byte {
	o = l.addresses(o, t, len(t) >= 4)
	if len(t) < 14 {
		return append(o, "truncated-tcp"...)
	}
	flags := t[13]
	if flags&0x0f == 0 {
		o = append(o, '.')
	}
	for _, bit := range [...]int{1, 0, 2, 3} {
		if flags>>bit&1 != 0 {
			o = append(o, tcpLetters[bit])
		}
	}
	head := int(t[12]>>4) * 4
	if head >= 20 && head <= len(l.payload) {
		l.payload = l.payload[head:]
	}
	takes := l.length - ipHeader - head + int(flags&1) + int(flags>>1&1)
	seq := binary.BigEndian.Uint32(t[4:])
	o = strconv.AppendUint(append(o, ' '), uint64(seq), 10)
	o = strconv.AppendUint(append(o, ':'), uint64(seq+uint32(takes)), 10)
	o = number(append(o, '('), takes)
	o = number(append(o, ','), l.here)
	o = append(number(append(o, ','), l.length), ')')
	if flags&0x10 != 0 {
		o = strconv.AppendUint(append(o, " ack "...), uint64(binary.BigEndian.Uint32(t[8:])), 10)
	}
	if len(t) < 16 {
		return append(o, "truncated-tcp"...)
	}
	return number(append(o, " win "...), u16(t[14:]))
}

func (l *printer) udp(o, t []byte) []byte {
	o = l.addresses(o, t, len(t) >= 4)
	if len(t) < 8 {
		return append(o, "truncated-udp"...)
	}
	l.payload = l.payload[8:]
	return number(append(o, "udp "...), u16(t[4:]))
}

func (l *printer) icmp(o, m []byte) []byte {
	const truncated = "truncated-icmp"
	if len(m) < 2 {
		return append(o, truncated...)
	}
	o = append(o, "icmp "...)
	typ, code := int(m[0]), int(m[1])
	switch typ {
	case 0, 8:
		o = append(append(o, typeNames[typ]...), ' ')
		if len(m) < 8 {
			return append(o, truncated...)
		}
		order := binary.ByteOrder(binary.BigEndian)
		if l.swapped {
			order = binary.LittleEndian
		}
		o = number(append(o, '('), int(order.Uint16(m[4:])))
		return append(number(append(o, ", "...), int(order.Uint16(m[6:]))), ')')
	case 3:
		return l.unreachable(o, m, code, truncated)
	}
	if name := typeNames[typ]; name != "" {
		o = append(o, name...)
	} else {
		o = number(append(o, "type "...), typ)
	}
	if name := codeNames[typ][code]; name != "" {
		return append(append(o, ' '), name...)
	} else if code != 0 {
		o = number(append(o, " code "...), code)
	}
	return o
}

// unreachable appends what an unreachable message says, and about which packet.
func (l *printer) unreachable(o, m []byte, code int, truncated string) []byte {
	var in []byte // the packet that it is about
	if len(m) >= 28 {
		in = m[8:]
		o = append(address(o, in[16:]), ' ')
	}
	o = append(o, "unreachable "...)
	if name := codeNames[3][code]; name != "" {
		o = append(o, name...)
	} else {
		o = number(append(o, "code "...), code)
	}
	if in == nil {
		return append(append(o, ' '), truncated...)
	}
	switch code {
	case 2, 3:
		o = append(o, ' ')
		switch name := shortNames[in[9]]; {
		case name != "":
			o = append(o, name...)
		default:
			o = number(append(o, "protocol "[:9*(code-2)]...), int(in[9]))
		}
		if n := HeaderLen(in); code == 3 && (n < 20 || len(in) < n+4) {
			o = append(o, truncated...)
		} else if code == 3 {
			o = number(append(o, '/'), u16(in[n+2:]))
		}
	case 4:
		o = append(number(append(o, " (mtu "...), u16(m[6:])), ')')
	}
	return o
}
