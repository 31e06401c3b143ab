package analysis

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

func init() {
	click.Register(click.Class{
		Name: "AggregateIP", Ports: "1/1-2", Processing: "a/ah", New: func() click.Element { return &AggregateIP{} },
		Doc: click.Doc{
			Group: "analysis", Title: "sets the aggregate annotation to a field of IPv4 packets",
			Text: "A field is named: ip vers, hl, tos, dscp, ecn, len, id, off, rf, df, mf, fragoff, ttl, proto, sum, src, dst; udp sport, dport, len, sum; tcp sport, dport, seq, ack, hl, flags, fin, syn, rst, psh, ackf, urg, win, sum, urp; " +
				"icmp type, code, sum; sport and dport for TCP and UDP. Or it is a place: ip, transp, data, tcp, udp or icmp, and [OFFSET], [OFFSET:LENGTH] or [FIRST-LAST] in bytes, or the same in braces for bits. A place in the transport header or behind it is one of " +
				"first fragments; data is what follows the header of TCP or UDP. /N behind it takes the upper N bits, & MASK those of a mask whose bits are next to each other. A field has at most 32 bits. Packets that do not have it go to output 1 or are dropped.",
			Args: []string{
				"FIELD: The field.", "INCREMENTAL: Whether the field is put behind what the aggregate annotation has, which moves up; default false.", "UNSHIFT_IP_ADDR: Whether part of an address stays where it is in the address; default false.",
			},
			Handlers: []string{"header (r): ip, transp or payload: where the place counts from.", "bit_offset (r): The first bit.", "bit_length (r): How many."},
			Example:  "... -> CheckIPHeader -> AggregateIP(ip src/8) -> AggregateCounter -> ...;", See: []string{"AggregateLength", "AggregateIPFlows", "AggregateCounter"},
		},
	})
}

// Where places count from.
const (
	fromIP = iota
	fromTransport
	fromData
)

// place is a field by name.
type place struct{ header, offset, length int }

// fields of headers, in bits.
var ipPlaces = map[string]map[string]place{
	"ip": {"vers": {fromIP, 0, 4}, "hl": {fromIP, 4, 4}, "tos": {fromIP, 8, 8}, "dscp": {fromIP, 8, 6}, "ecn": {fromIP, 14, 2}, "len": {fromIP, 16, 16}, "id": {fromIP, 32, 16}, "off": {fromIP, 48, 16}, "rf": {fromIP, 48, 1},
		"df": {fromIP, 49, 1}, "mf": {fromIP, 50, 1}, "fragoff": {fromIP, 51, 13}, "ttl": {fromIP, 64, 8}, "proto": {fromIP, 72, 8}, "sum": {fromIP, 80, 16}, "src": {fromIP, 96, 32}, "dst": {fromIP, 128, 32}},
	"udp": {"sport": {fromTransport, 0, 16}, "dport": {fromTransport, 16, 16}, "len": {fromTransport, 32, 16}, "sum": {fromTransport, 48, 16}},
	"tcp": {"sport": {fromTransport, 0, 16}, "dport": {fromTransport, 16, 16}, "seq": {fromTransport, 32, 32}, "ack": {fromTransport, 64, 32}, "hl": {fromTransport, 96, 4}, "flags": {fromTransport, 106, 6},
		"urg": {fromTransport, 106, 1}, "ackf": {fromTransport, 107, 1}, "psh": {fromTransport, 108, 1}, "rst": {fromTransport, 109, 1}, "syn": {fromTransport, 110, 1}, "fin": {fromTransport, 111, 1},
		"win": {fromTransport, 112, 16}, "sum": {fromTransport, 128, 16}, "urp": {fromTransport, 144, 16}},
	"icmp": {"type": {fromTransport, 0, 8}, "code": {fromTransport, 8, 8}, "sum": {fromTransport, 16, 16}},
	"":     {"sport": {fromTransport, 0, 16}, "dport": {fromTransport, 16, 16}},
}

// aggregateField is where a value is in a packet.
type aggregateField struct {
	place
	proto int // -1: any; -2: TCP or UDP
}

const tcpOrUDP = -2

var aggregateProtos = map[string]int{"tcp": protoTCP, "udp": protoUDP, "icmp": protoICMP}

// parseAggregateField reads a FIELD argument.
func parseAggregateField(s string) (f aggregateField, err error) {
	text, mask, masked := strings.Cut(s, "&")
	prefix := -1
	if t, n, ok := strings.Cut(text, "/"); ok {
		if prefix, err = strconv.Atoi(strings.TrimSpace(n)); err != nil || prefix < 1 {
			return f, fmt.Errorf("'/%s' is no number of bits", strings.TrimSpace(n))
		}
		text = t
	}
	i := strings.IndexAny(text, "[{")
	if i >= 0 {
		err = f.parsePlace(strings.TrimSpace(text[:i]), strings.TrimSpace(text[i:]))
	} else {
		err = f.parseName(strings.Fields(text))
	}
	if err != nil {
		return f, err
	}
	if prefix > f.length {
		return f, fmt.Errorf("'/%d' is more than the field's %d bits", prefix, f.length)
	}
	if prefix > 0 {
		f.length = prefix
	}
	if masked {
		m, err := strconv.ParseUint(strings.TrimSpace(mask), 0, 64)
		if err != nil || m == 0 || bits.Len64(m) > f.length {
			return f, fmt.Errorf("'%s' is no mask for %d bits", strings.TrimSpace(mask), f.length)
		}
		low := bits.TrailingZeros64(m)
		n := bits.OnesCount64(m)
		if m>>low != 1<<n-1 {
			return f, fmt.Errorf("the bits of the mask '%s' are not next to each other", strings.TrimSpace(mask))
		}
		f.offset += f.length - low - n
		f.length = n
	}
	if f.length > 32 {
		return f, fmt.Errorf("the field has %d bits, at most 32 fit", f.length)
	}
	return f, nil
}

func (f *aggregateField) parseName(w []string) error {
	header, name := "", ""
	switch len(w) {
	case 1:
		name = w[0]
	case 2:
		header, name = w[0], w[1]
	}
	p, ok := ipPlaces[header][name]
	if !ok {
		return fmt.Errorf("'%s' is no field", strings.Join(w, " "))
	}
	f.place, f.proto = p, -1
	if p.header == fromTransport {
		f.proto = tcpOrUDP
		if n, ok := aggregateProtos[header]; ok {
			f.proto = n
		}
	}
	return nil
}

// parsePlace reads "[OFFSET:LENGTH]" and the like.
func (f *aggregateField) parsePlace(header, s string) error {
	f.proto = -1
	switch header {
	case "ip":
		f.header = fromIP
	case "transp":
		f.header = fromTransport
	case "data":
		f.header, f.proto = fromData, tcpOrUDP
	default:
		n, ok := aggregateProtos[header]
		if !ok {
			return fmt.Errorf("'%s' is no header, expected ip, transp, data, tcp, udp or icmp", header)
		}
		f.header, f.proto = fromTransport, n
	}
	unit, end := 8, "]"
	if s[0] == '{' {
		unit, end = 1, "}"
	}
	in, ok := strings.CutSuffix(s[1:], end)
	bad := fmt.Errorf("'%s' is no place, expected OFFSET, OFFSET:LENGTH or FIRST-LAST in brackets or braces", s)
	if !ok {
		return bad
	}
	number := func(s string) int {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 0, 20)
		if err != nil {
			ok = false
		}
		return int(n)
	}
	f.length = 1
	if a, b, found := strings.Cut(in, "-"); found {
		f.offset = number(a)
		f.length = number(b) - f.offset + 1
	} else if i := strings.IndexAny(in, ":,"); i >= 0 {
		f.offset, f.length = number(in[:i]), number(in[i+1:])
	} else {
		f.offset = number(in)
	}
	if !ok || f.length < 1 {
		return bad
	}
	f.offset, f.length = f.offset*unit, f.length*unit
	return nil
}

// AggregateIP aggregates by a field.
type AggregateIP struct {
	click.Base
	field       aggregateField
	incremental bool
	shift       uint // back to the place in an address
}

// Configure implements click.Element.
func (e *AggregateIP) Configure(a *click.Args) {
	unshift := false
	if !a.Parse(click.Must("FIELD", func(s string, _ *click.Args) (err error) {
		e.field, err = parseAggregateField(strings.Trim(s, `"`))
		return err
	}), click.Key("INCREMENTAL", click.Bool(&e.incremental)), click.Key("UNSHIFT_IP_ADDR", click.Bool(&unshift))) {
		return
	}
	if f := e.field; unshift && f.header == fromIP && f.offset >= 96 && f.offset+f.length <= 160 && (f.offset-96)/32 == (f.offset+f.length-97)/32 {
		e.shift = uint(32 - (f.offset%32 + f.length))
	}
	if unshift && e.incremental {
		a.Errorf("at most one of INCREMENTAL and UNSHIFT_IP_ADDR may be given")
	}
}

// value returns the field of a packet.
func (f *aggregateField) value(p *packet.Packet) (uint32, bool) {
	d := p.Network()
	if len(d) < 20 || d[0]>>4 != 4 {
		return 0, false
	}
	if f.header != fromIP {
		hl, proto := int(d[0]&15)*4, int(d[9])
		if hl < 20 || hl > len(d) || binary.BigEndian.Uint16(d[6:])&0x1fff != 0 || f.proto >= 0 && f.proto != proto || f.proto == tcpOrUDP && proto != protoTCP && proto != protoUDP {
			return 0, false
		}
		d = d[hl:]
		if f.header == fromData {
			n := 8
			if proto == protoTCP {
				if len(d) < 20 {
					return 0, false
				}
				n = int(d[12]>>4) * 4
			}
			if len(d) < n {
				return 0, false
			}
			d = d[n:]
		}
	}
	first, last := f.offset/8, (f.offset+f.length-1)/8
	if last >= len(d) {
		return 0, false
	}
	var v uint64
	for _, b := range d[first : last+1] {
		v = v<<8 | uint64(b)
	}
	v >>= 8*(last+1) - (f.offset + f.length)
	return uint32(v & (1<<f.length - 1)), true
}

func (e *AggregateIP) mark(p *packet.Packet) bool {
	v, ok := e.field.value(p)
	if !ok {
		return false
	}
	if e.incremental {
		v |= uint32(uint64(click.Aggregate(p)) << e.field.length)
	}
	click.SetAggregate(p, v<<e.shift)
	return true
}

// Push implements click.Pusher.
func (e *AggregateIP) Push(_ int, b *packet.Batch) { pushMarked(&e.Base, b, e.mark) }

// Pull implements click.Puller.
func (e *AggregateIP) Pull(_ int, b *packet.Batch, n int) { pullMarked(&e.Base, b, n, e.mark) }

// AddHandlers implements click.HandlerAdder.
func (e *AggregateIP) AddHandlers(h *click.Handlers) {
	h.Read("header", func() string { return [...]string{"ip", "transp", "payload"}[e.field.header] })
	h.Read("bit_offset", func() string { return strconv.Itoa(e.field.offset) })
	h.Read("bit_length", func() string { return strconv.Itoa(e.field.length) })
}
