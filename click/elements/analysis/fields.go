package analysis

import (
	"crypto/md5"
	"encoding/binary"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/packet"
)

const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// view is a packet as the fields see it.
type view struct {
	p      *packet.Packet
	router *click.Router
	ip     []byte // what there is of the IPv4 packet, from a whole header on; nil without one
	hl     int
	th     []byte // what there is behind the IP header, as far as it belongs to the packet
	proto  uint8
	first  bool // th begins with a transport header
	extra  uint32
	bad    string
}

// look prepares v for p.
func (v *view) look(r *click.Router, p *packet.Packet, useExtra bool) {
	*v = view{p: p, router: r}
	if useExtra {
		v.extra = click.ExtraLength(p)
	}
	if _, marked := p.NetworkOffset(); !marked {
		v.bad = "no IP header"
		return
	}
	h := p.Network()
	switch {
	case len(h) < 20:
		v.bad = "truncated IP header"
		return
	case h[0]>>4 != 4:
		v.bad = "IP version " + string(rune('0'+h[0]>>4%10))
		return
	}
	hl := int(h[0]&15) * 4
	if hl < 20 || hl > len(h) {
		v.bad = "bad IP header length"
		return
	}
	total := int(binary.BigEndian.Uint16(h[2:]))
	if total < hl {
		v.bad = "bad IP length"
		total = len(h)
	}
	if have := len(h) + int(v.extra); have < total {
		v.bad = "truncated IP length"
	}
	v.ip, v.hl, v.proto = h, hl, h[9]
	v.first = binary.BigEndian.Uint16(h[6:])&0x1fff == 0
	v.th = h[hl:min(len(h), max(total, hl))]
}

// transport returns the transport header if it is of proto and has n bytes.
func (v *view) transport(n int, protos ...uint8) []byte {
	if !v.first || len(v.th) < n {
		return nil
	}
	for _, p := range protos {
		if p == v.proto {
			return v.th
		}
	}
	return nil
}

// payload returns where the payload begins behind the IP header: behind a header of TCP or UDP, too.
func (v *view) payload() (at int, ok bool) {
	if v.ip == nil {
		return 0, false
	}
	if !v.first {
		return 0, true
	}
	switch v.proto {
	case protoTCP:
		if len(v.th) < 13 {
			return 0, false
		}
		at = int(v.th[12]>>4) * 4
	case protoUDP:
		at = 8
	}
	return at, true
}

// field is a column of a dump.
type field struct {
	name string
	form *form
	get  func(v *view) value
	put  func(m *maker, x value) // nil: read and left alone
}

func be16(b []byte, at int) value {
	if b == nil {
		return value{}
	}
	return number(uint64(binary.BigEndian.Uint16(b[at:])))
}

func be32(b []byte, at int) value {
	if b == nil {
		return value{}
	}
	return number(uint64(binary.BigEndian.Uint32(b[at:])))
}

func octet(b []byte, at int) value {
	if b == nil {
		return value{}
	}
	return number(uint64(b[at]))
}

// The fields. Those of a transport protocol exist in packets that have enough of its header.
var fields = []field{
	{"timestamp", formTime, func(v *view) value { return number(uint64(v.router.WallOf(v.p.Anno.Time))) }, func(m *maker, x value) { m.ns = int64(x.n) }},
	{"utimestamp", formTime, func(v *view) value { return number(uint64(v.router.WallOf(v.p.Anno.Time))) }, func(m *maker, x value) { m.ns = int64(x.n) }},
	{"ntimestamp", formNano, func(v *view) value { return number(uint64(v.router.WallOf(v.p.Anno.Time))) }, func(m *maker, x value) { m.ns = int64(x.n) }},
	{"ts_sec", form32, func(v *view) value { return number(uint64(v.router.WallOf(v.p.Anno.Time) / 1e9)) }, func(m *maker, x value) { m.ns = int64(x.n)*1e9 + m.ns%1e9 }},
	{"ts_usec", form32, func(v *view) value { return number(uint64(v.router.WallOf(v.p.Anno.Time) % 1e9 / 1e3)) }, func(m *maker, x value) { m.ns += int64(x.n%1e6) * 1e3 }},
	{"ts_usec1", formMicro, func(v *view) value { return number(uint64(v.router.WallOf(v.p.Anno.Time) / 1e3)) }, func(m *maker, x value) { m.ns = int64(min(x.n, 1<<53)) * 1e3 }},
	{"first_timestamp", formTime, func(v *view) value { return number(uint64(v.router.WallOf(click.FirstTime(v.p)))) }, func(m *maker, x value) { m.firstNS = int64(x.n) }},
	{"ip_src", formAddr, func(v *view) value { return be32(v.ip, 12) }, func(m *maker, x value) { m.src = uint32(x.n) }},
	{"ip_dst", formAddr, func(v *view) value { return be32(v.ip, 16) }, func(m *maker, x value) { m.dst = uint32(x.n) }},
	{"ip_frag", formFrag, getFrag, func(m *maker, x value) {
		switch x.n {
		case 'F':
			m.frag |= 0x2000
		case 'f':
			m.frag |= 100
		case '!':
			m.frag |= 0x4000
		}
	}},
	{"ip_fragoff", formFragOff, func(v *view) value { return be16(v.ip, 6) }, func(m *maker, x value) { m.frag = uint16(x.n) }},
	{"ip_len", formLen, func(v *view) value {
		if v.ip == nil {
			return number(uint64(v.p.Len()) + uint64(v.extra))
		}
		return be16(v.ip, 2)
	}, func(m *maker, x value) { m.ipLen, m.hasLen = int(min(x.n, 65535)), true }},
	{"ip_proto", formProto, func(v *view) value { return octet(v.ip, 9) }, func(m *maker, x value) { m.proto = uint8(x.n) }},
	{"ip_hl", form8, func(v *view) value { return numberIf(v.ip != nil, uint64(v.hl)) }, func(m *maker, x value) { m.hl = uint8(min(x.n, 60)) &^ 3 }},
	{"ip_id", form16, func(v *view) value { return be16(v.ip, 4) }, func(m *maker, x value) { m.id = uint16(x.n) }},
	{"ip_tos", form8, func(v *view) value { return octet(v.ip, 1) }, func(m *maker, x value) { m.tos = uint8(x.n) }},
	{"ip_dscp", form8, func(v *view) value { x := octet(v.ip, 1); x.n >>= 2; return x }, func(m *maker, x value) { m.tos = m.tos&3 | uint8(x.n)<<2 }},
	{"ip_ecn", formECN, func(v *view) value { x := octet(v.ip, 1); x.n &= 3; return x }, func(m *maker, x value) { m.tos = m.tos&^3 | uint8(x.n&3) }},
	{"ip_ttl", form8, func(v *view) value { return octet(v.ip, 8) }, func(m *maker, x value) { m.ttl = uint8(x.n) }},
	{"ip_sum", form16, func(v *view) value { return be16(v.ip, 10) }, func(m *maker, x value) { m.sum = uint16(x.n) }},
	{"ip_opt", formIPOpt, func(v *view) value {
		if v.ip == nil {
			return value{}
		}
		return value{ok: true, b: v.ip[20:v.hl]}
	}, func(m *maker, x value) { m.ipOpt = append(m.ipOpt[:0], x.b...) }},
	{"ip_capture_len", formLen, func(v *view) value { return numberIf(v.ip != nil, uint64(v.hl+len(v.th))) }, func(m *maker, x value) { m.capture, m.hasCapture = int(min(x.n, 65535)), true }},
	{"sport", form16, func(v *view) value { return be16(v.transport(2, protoTCP, protoUDP), 0) }, func(m *maker, x value) { m.sport = uint16(x.n) }},
	{"dport", form16, func(v *view) value { return be16(v.transport(4, protoTCP, protoUDP), 2) }, func(m *maker, x value) { m.dport = uint16(x.n) }},
	{"tcp_seq", form32, func(v *view) value { return be32(v.transport(8, protoTCP), 4) }, func(m *maker, x value) { m.seq = uint32(x.n) }},
	{"tcp_ack", form32, func(v *view) value { return be32(v.transport(12, protoTCP), 8) }, func(m *maker, x value) { m.ack = uint32(x.n) }},
	{"tcp_off", form8, func(v *view) value { x := octet(v.transport(13, protoTCP), 12); x.n = x.n >> 4 * 4; return x }, func(m *maker, x value) { m.off = uint8(min(x.n, 60)) / 4 }},
	{"tcp_flags", formFlags, func(v *view) value {
		t := v.transport(14, protoTCP)
		if t == nil {
			return value{}
		}
		return number(uint64(binary.BigEndian.Uint16(t[12:]) & 0x1ff))
	}, func(m *maker, x value) { m.flags = uint16(x.n) & 0x1ff }},
	{"tcp_window", form16, func(v *view) value { return be16(v.transport(16, protoTCP), 14) }, func(m *maker, x value) { m.window = uint16(x.n) }},
	{"tcp_sum", form16, func(v *view) value { return be16(v.transport(18, protoTCP), 16) }, nil},
	{"tcp_urp", form16, func(v *view) value { return be16(v.transport(20, protoTCP), 18) }, func(m *maker, x value) { m.urp = uint16(x.n) }},
	{"tcp_opt", formTCPOpt, getTCPOptions, putTCPOptions},
	{"tcp_ntopt", formNTOpt, getTCPOptions, putTCPOptions},
	{"tcp_sack", formSACK, getTCPOptions, putTCPOptions},
	{"udp_len", formLen, func(v *view) value { return be16(v.transport(6, protoUDP), 4) }, func(m *maker, x value) { m.udpLen, m.hasUDPLen = uint16(x.n), true }},
	{"icmp_type", formICMPTypeNumber, func(v *view) value { return octet(v.transport(1, protoICMP), 0) }, func(m *maker, x value) { m.icmpType = uint8(x.n) }},
	{"icmp_code", form8, func(v *view) value { return octet(v.transport(2, protoICMP), 1) }, func(m *maker, x value) { m.icmpCode = uint8(x.n) }},
	{"icmp_type_name", formICMPType, func(v *view) value { return octet(v.transport(1, protoICMP), 0) }, func(m *maker, x value) { m.icmpType = uint8(x.n) }},
	{"icmp_code_name", formICMPCode, func(v *view) value { return be16(v.transport(2, protoICMP), 0) }, func(m *maker, x value) { m.icmpCode = uint8(x.n) }},
	{"icmp_flowid", form16, func(v *view) value { return be16(v.echo(6), 4) }, func(m *maker, x value) { m.icmpID = uint16(x.n) }},
	{"icmp_seq", form16, func(v *view) value { return be16(v.echo(8), 6) }, func(m *maker, x value) { m.icmpSeq = uint16(x.n) }},
	{"icmp_nextmtu", form16, func(v *view) value {
		t := v.transport(8, protoICMP)
		if t == nil || t[0] != 3 || t[1] != 4 {
			return value{}
		}
		return be16(t, 6)
	}, func(m *maker, x value) { m.icmpSeq = uint16(x.n) }},
	{"payload", formBytes, func(v *view) value { b, ok := v.payloadBytes(); return value{ok: ok, b: b} }, func(m *maker, x value) { m.payload = append(m.payload[:0], x.b...) }},
	{"payload_len", formLen, func(v *view) value {
		at, ok := v.payload()
		if !ok {
			return value{}
		}
		return number(uint64(max(int(binary.BigEndian.Uint16(v.ip[2:]))-v.hl-at, 0)))
	}, func(m *maker, x value) { m.payloadLen, m.hasPayloadLen = int(min(x.n, 65535)), true }},
	{"payload_md5", formMD5, getMD5, nil},
	{"payload_md5_hex", formMD5Hex, getMD5, nil},
	{"count", form32, func(v *view) value { return number(uint64(click.ExtraPackets(v.p)) + 1) }, func(m *maker, x value) { m.count = uint32(x.n) }},
	{"direction", formDirection, func(v *view) value { return number(uint64(v.p.Anno.Paint)) }, func(m *maker, x value) { m.paint = uint8(x.n) }},
	{"link", formPaint, func(v *view) value { return number(uint64(v.p.Anno.Paint)) }, func(m *maker, x value) { m.paint = uint8(x.n) }},
	{"paint", formPaint, func(v *view) value { return number(uint64(v.p.Anno.Paint)) }, func(m *maker, x value) { m.paint = uint8(x.n) }},
	{"aggregate", form32, func(v *view) value { return number(uint64(click.Aggregate(v.p))) }, func(m *maker, x value) { m.aggregate = uint32(x.n) }},
	{"eth_src", formEther, func(v *view) value { return v.ether(6) }, func(m *maker, x value) { m.ether, m.ethSrc = true, [6]byte(x.b) }},
	{"eth_dst", formEther, func(v *view) value { return v.ether(0) }, func(m *maker, x value) { m.ether, m.ethDst = true, [6]byte(x.b) }},
	{"wire_len", formLen, func(v *view) value {
		n := v.p.Len()
		if off, ok := v.p.MACOffset(); ok && off < 0 {
			n -= off // a header that was stripped was on the wire too
		}
		return number(uint64(n) + uint64(v.extra))
	}, nil},
}

// aliases are other names of fields, as older dumps have them.
var aliases = map[string]string{
	"src": "ip_src", "dst": "ip_dst", "proto": "ip_proto", "len": "ip_len", "length": "ip_len", "ts": "timestamp", "sec": "ts_sec", "usec": "ts_usec", "usec1": "ts_usec1",
	"frag": "ip_frag", "fragoff": "ip_fragoff", "id": "ip_id", "tos": "ip_tos", "ttl": "ip_ttl", "hl": "ip_hl", "opt": "ip_opt", "sum": "ip_sum", "dscp": "ip_dscp", "ecn": "ip_ecn",
	"seq": "tcp_seq", "ack": "tcp_ack", "flags": "tcp_flags", "window": "tcp_window", "win": "tcp_window", "tcp_win": "tcp_window", "urp": "tcp_urp", "payload_length": "payload_len", "payload_md5_text": "payload_md5",
	"pkt_count": "count", "packet_count": "count", "agg": "aggregate", "dir": "direction", "first_ts": "first_timestamp", "ip_caplen": "ip_capture_len", "capture_len": "ip_capture_len", "packet_len": "wire_len",
}

// findField returns the field of that name, which may have spaces for underscores, or nil.
func findField(name string) *field {
	name = strings.ReplaceAll(strings.TrimSpace(name), " ", "_")
	if full, ok := aliases[name]; ok {
		name = full
	}
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

func getFrag(v *view) value {
	if v.ip == nil {
		return value{}
	}
	switch f := binary.BigEndian.Uint16(v.ip[6:]); {
	case f&0x1fff != 0:
		return number('f')
	case f&0x2000 != 0:
		return number('F')
	case f&0x4000 != 0:
		return number('!')
	}
	return number('.')
}

func getTCPOptions(v *view) value {
	t := v.transport(20, protoTCP)
	if t == nil {
		return value{}
	}
	off := int(t[12]>>4) * 4
	if off < 20 || off > len(t) {
		return value{}
	}
	return value{ok: true, b: t[20:off]}
}

func putTCPOptions(m *maker, x value) { m.tcpOpt = append(m.tcpOpt[:0], x.b...) }

// echo returns the ICMP header if it has an identifier.
func (v *view) echo(n int) []byte {
	t := v.transport(n, protoICMP)
	if t != nil {
		switch t[0] {
		case 0, 8, 13, 14, 15, 16, 17, 18:
			return t
		}
	}
	return nil
}

func (v *view) payloadBytes() ([]byte, bool) {
	at, ok := v.payload()
	if !ok || at > len(v.th) {
		return nil, false
	}
	return v.th[at:], true
}

func getMD5(v *view) value {
	b, ok := v.payloadBytes()
	if !ok {
		return value{}
	}
	d := md5.Sum(b)
	return value{ok: true, b: d[:]}
}

func (v *view) ether(at int) value {
	m := v.p.MAC()
	if len(m) < 14 {
		return value{}
	}
	return value{ok: true, b: m[at : at+6]}
}

// appendRecord appends a value in binary form; one that does not exist is zero.
func (f *field) appendRecord(b []byte, v value) []byte {
	switch {
	case f.form.size < 0:
		n := min(len(v.b), 255)
		return append(append(b, byte(n)), v.b[:n]...)
	case v.b != nil || f.form == formEther || f.form == formMD5 || f.form == formMD5Hex:
		var fixed [16]byte
		copy(fixed[:], v.b)
		return append(b, fixed[:f.form.size]...)
	}
	if f.form.split > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(v.n/1e9))
		return binary.BigEndian.AppendUint32(b, uint32(v.n%1e9/f.form.split))
	}
	for i := f.form.size - 1; i >= 0; i-- {
		b = append(b, byte(v.n>>(8*i)))
	}
	return b
}

// takeRecord takes a value in binary form from the front of b.
func (f *field) takeRecord(b []byte) (v value, rest []byte, ok bool) {
	n := f.form.size
	if n < 0 {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return v, nil, false
		}
		n = int(b[0])
		return value{ok: true, b: b[1 : 1+n]}, b[1+n:], n <= maxOptions
	}
	if len(b) < n {
		return v, nil, false
	}
	v.ok = true
	switch {
	case f.form == formEther || f.form == formMD5 || f.form == formMD5Hex:
		v.b = b[:n]
	case f.form.split > 0:
		v.n = uint64(binary.BigEndian.Uint32(b))*1e9 + uint64(binary.BigEndian.Uint32(b[4:]))%1e9*f.form.split
	default:
		for _, x := range b[:n] {
			v.n = v.n<<8 | uint64(x)
		}
	}
	return v, b[n:], true
}
