package ip

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/internal/decide"
)

// primitive is what has been said before a value.
type primitive struct {
	dir   string // src, dst, either, both
	proto string // ip, transp, ether or a protocol
	kind  string // host, net, port, proto, vers, ..., at for bytes at a place
	off   int    // of the bytes at a place, and how many
	n     int
}

// numbers are the fields that hold a number: where they are in the IP header, or with their protocol in the transport header.
var numbers = map[string]struct {
	proto string
	off   int
	mask  uint32
}{
	"vers": {"ip", 0, 0xf0000000}, "hl": {"ip", 0, 0x0f000000}, "tos": {"ip", 0, 0x00ff0000}, "dscp": {"ip", 0, 0x00fc0000}, "len": {"ip", 0, 0x0000ffff},
	"id": {"ip", 4, 0xffff0000}, "ttl": {"ip", 8, 0xff000000}, "proto": {"ip", 8, 0x00ff0000},
	"type": {"icmp", 0, 0xff000000}, "code": {"icmp", 0, 0x00ff0000}, "win": {"tcp", 12, 0x0000ffff},
}

var tcpFlags = map[string]uint32{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32}

var (
	firstFragment = decide.Test{Base: decide.Network, Off: 4, Mask: 0x00001fff}
	noFragment    = decide.Test{Base: decide.Network, Off: 4, Mask: 0x00003fff}
)

func protoIs(n int) decide.Expr {
	return decide.Test{Base: decide.Network, Off: 8, Mask: 0x00ff0000, Value: uint32(n) << 16}
}

// carried is what makes sure that the transport header of a protocol is there: of TCP or UDP for "", of any for transp.
func carried(proto string) decide.And {
	switch proto {
	case "":
		return decide.And{decide.Or{protoIs(6), protoIs(17)}, firstFragment}
	case "transp":
		return decide.And{firstFragment}
	}
	return decide.And{protoIs(Protocols[proto]), firstFragment}
}

// within looks for a condition on the protocol that a field implies.
func within(proto string, x decide.Expr) decide.Expr {
	if n, ok := Protocols[proto]; ok {
		return decide.And{protoIs(n), x}
	}
	return x
}

// qualifiers parses what precedes a value. An expression other than nil is a whole primitive.
func (p *patternParser) qualifiers() (q primitive, x decide.Expr) {
	for p.err == nil {
		w := p.peek()
		_, isProto := Protocols[w]
		switch w {
		case "src", "dst":
			if q.dir != "" {
				p.fail("'%s' after another direction", w)
			}
			p.next()
			q.dir = w
			if len(p.words) >= 2 && (p.words[0] == "or" || p.words[0] == "and") && (p.words[1] == "src" || p.words[1] == "dst") && p.words[1] != w {
				q.dir = map[string]string{"or": "either", "and": "both"}[p.words[0]]
				p.words = p.words[2:]
			}
			continue
		case "host", "net", "port", "opt", "vers", "hl", "id", "tos", "dscp", "ttl", "len", "proto", "type", "code", "win":
			if q.kind != "" {
				p.fail("'%s' after '%s'", w, q.kind)
			}
			p.next()
			q.kind = w
			continue
		case "frag", "unfrag", "ect", "ce":
			p.next()
			ecn := decide.Test{Base: decide.Network, Mask: 0x00030000}
			switch w {
			case "frag":
				return q, decide.Differs(noFragment)
			case "unfrag":
				return q, noFragment
			case "ect":
				return q, decide.Differs(ecn)
			}
			ecn.Value = ecn.Mask
			return q, ecn
		case "tcpudp":
			p.next()
			return q, decide.Or{protoIs(6), protoIs(17)}
		}
		if !isProto && w != "ip" && w != "transp" && w != "ether" || q.proto != "" && q.proto != "ip" || q.kind != "" && q.kind != "port" {
			return q, nil
		}
		p.next()
		q.proto = w
		if b := p.peek(); strings.HasPrefix(b, "[") {
			p.next()
			q.kind = "at"
			q.off, q.n = p.place(b)
		}
	}
	return q, nil
}

// place parses [POS:LEN].
func (p *patternParser) place(s string) (off, n int) {
	pos, length, has := strings.Cut(strings.TrimSuffix(s[1:], "]"), ":")
	off, err := strconv.Atoi(strings.TrimSpace(pos))
	n = 1
	if has && err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(length))
	}
	switch {
	case err != nil || !strings.HasSuffix(s, "]") || off < 0 || off > 1<<15:
		p.fail("'%s' is no place, expected [POS] or [POS:LEN]", s)
	case n < 1 || n > 4:
		p.fail("LEN in '[POS:LEN]' out of range, should be between 1 and 4")
	case off%4+n > 4:
		p.fail("field [%d:%d] does not fit in a single word", off, n)
	}
	return off, n
}

func (p *patternParser) primitive() decide.Expr {
	q, x := p.qualifiers()
	if x != nil || p.err != nil {
		return x
	}
	bare := q == primitive{}
	switch w := p.peek(); w {
	case "", "and", "or", "&&", "||", ")", "?", ":":
		if q.proto != "" && q.kind == "" && q.dir == "" {
			p.last = primitive{proto: q.proto, kind: "proto"}
			if _, ok := Protocols[q.proto]; !ok {
				return decide.Const(true)
			}
			return protoIs(Protocols[q.proto])
		}
		if bare {
			p.fail("missing expression")
		}
		p.fail("a value is missing")
		return decide.Const(false)
	}
	mask, masked := "", false
	if p.take("&") {
		mask, masked = p.next(), true
	}
	op := ""
	for _, o := range []string{"=", "==", "!=", "<", ">", "<=", ">="} {
		if p.take(o) {
			op = o
			break
		}
	}
	v := p.next()
	if v == "" {
		p.fail("a value is missing")
		return decide.Const(false)
	}
	p.complete(&q, v)
	if p.err != nil {
		return decide.Const(false)
	}
	p.last = q
	inverse := false
	switch op {
	case "!=", "<", "<=": // the opposites of =, >= and >
		op, inverse = map[string]string{"!=": "=", "<": ">=", "<=": ">"}[op], true
	case "==", "":
		op = "="
	}
	before, x := p.condition(q, op, v, mask, masked)
	if inverse {
		x = decide.Opposite{X: x}
	}
	if len(before) > 0 {
		return append(before, x)
	}
	return x
}

// complete finds out what a value is, if that has not been said.
func (p *patternParser) complete(q *primitive, v string) {
	if *q == (primitive{}) {
		q.dir = p.last.dir
	}
	if q.kind != "" {
		if _, err := p.args.ParsePrefix(v); err != nil && q.kind == "host" && q.proto == "" {
			if _, err := p.args.ParseEther(v); err == nil {
				q.proto = "ether"
			}
		}
		return
	}
	_, flag := tcpFlags[v]
	_, service := click.Services[v]
	_, typ := ICMPTypes[v]
	_, pxErr := p.args.ParsePrefix(v)
	_, etherErr := p.args.ParseEther(v)
	number := v[0] >= '0' && v[0] <= '9' && pxErr != nil && etherErr != nil
	ports := q.proto == "" || q.proto == "tcp" || q.proto == "udp"
	service = service && ports
	typ = typ && (q.proto == "" || q.proto == "icmp")
	flag = flag && (q.proto == "" || q.proto == "tcp")
	last := p.last.kind != "" && (q.proto == "" || q.proto == p.last.proto)
	switch {
	case number && last:
		q.kind, q.off, q.n = p.last.kind, p.last.off, p.last.n
		if q.proto == "" {
			q.proto = p.last.proto
		}
	case flag:
		q.kind = "opt"
	case last && (p.last.kind == "type" && typ || p.last.kind == "port" && service):
		q.kind = p.last.kind
		if q.proto == "" {
			q.proto = p.last.proto
		}
	case service && typ && q.dir == "":
		p.fail("'%s' is ambiguous; try 'port %s' or 'icmp type %s'", v, v, v)
	case service:
		q.kind = "port"
	case typ:
		q.kind = "type"
	case p.last.kind == "port" && strings.Contains(v, "-") && pxErr != nil && etherErr != nil:
		q.kind, q.proto = "port", p.last.proto
	case q.proto == "ether", pxErr != nil && etherErr == nil:
		q.proto, q.kind = "ether", "host"
	case pxErr == nil && strings.Contains(v, "/"):
		q.kind = "net"
	case pxErr == nil:
		q.kind = "host"
	case number:
		p.fail("specify header field or 'port' for '%s'", v)
	default:
		p.fail("unknown word '%s'", v)
	}
}

// sides applies a test for source and destination as the direction says.
func sides(dir string, test func(src bool) decide.Expr) decide.Expr {
	switch dir {
	case "src":
		return test(true)
	case "dst":
		return test(false)
	case "both":
		return decide.And{test(true), test(false)}
	}
	return decide.Or{test(true), test(false)}
}

func (p *patternParser) number(s string, names map[string]int) uint32 {
	if n, ok := names[s]; ok {
		return uint32(n)
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		p.fail("'%s' is no number", s)
	}
	return uint32(n)
}

// relation compares a field, which t has under its mask, with a number; op is =, > or >=.
func (p *patternParser) relation(t decide.Test, op string, v uint32, mask string, masked bool) decide.Expr {
	shift := 0
	for m := t.Mask; m&1 == 0; m >>= 1 {
		shift++
	}
	limit := t.Mask >> shift
	if masked {
		m := p.number(mask, nil) & limit
		t.Mask = m << shift
		if run := m / max(m&-m, 1); op != "=" && run&(run+1) != 0 {
			p.fail("the bits of the mask '%s' have to be adjacent for '%s'", mask, op)
		}
	}
	switch {
	case p.err != nil:
		return decide.Const(false)
	case op == "=" && v > limit:
		p.fail("%d is out of range, must be 0 to %d", v, limit)
		return decide.Const(false)
	case op == ">=" && v == 0:
		return decide.Const(true)
	case op == ">=":
		v--
	}
	if op == "=" {
		t.Value = v << shift & t.Mask
		return t
	}
	if v >= limit {
		return decide.Const(false)
	}
	// The greatest value of the masked bits that is not above v.
	m := t.Mask >> shift
	if low := m & -m; low > 1 {
		v = v / low * low
	}
	if v > m {
		return decide.Const(false)
	}
	t.Value = v << shift & t.Mask
	return decide.Greater(t)
}

// condition returns what a primitive means: conditions that hold for packets that have its field, and the comparison.
func (p *patternParser) condition(q primitive, op, v, mask string, masked bool) (decide.And, decide.Expr) {
	equality := func() {
		if op != "=" {
			p.fail("'%s' cannot be used with %s", op, q.kind)
		}
	}
	if f, ok := numbers[q.kind]; ok {
		names := map[string]map[string]int{"proto": Protocols, "type": ICMPTypes}[q.kind]
		t := decide.Test{Base: decide.Network, Off: f.off, Mask: f.mask}
		if f.proto == "ip" {
			var before decide.And
			if n, ok := Protocols[q.proto]; ok && q.kind != "proto" {
				before = decide.And{protoIs(n)}
			}
			return before, p.relation(t, op, p.number(v, names), mask, masked)
		}
		if q.proto != "" && q.proto != "ip" && q.proto != f.proto {
			p.fail("%s has no %s", q.proto, q.kind)
		}
		t.Base = decide.Transport
		return carried(f.proto), p.relation(t, op, p.number(v, names), mask, masked)
	}
	switch q.kind {
	case "at":
		t := decide.Test{Base: decide.Transport, Off: q.off &^ 3, Mask: uint32(uint64(1)<<(8*q.n)-1) << (8 * (4 - q.off%4 - q.n))}
		var before decide.And
		switch q.proto {
		case "ip":
			t.Base = decide.Network
		case "ether":
			p.fail("'ether' has no bytes at a place, see Classifier")
		default:
			before = carried(q.proto)
		}
		return before, p.relation(t, op, p.number(v, nil), mask, masked)
	case "host", "net":
		equality()
		if q.proto == "ether" {
			return nil, p.ether(q.dir, v, masked)
		}
		return nil, within(q.proto, p.network(q, v, mask, masked))
	case "port":
		if q.proto != "" && q.proto != "tcp" && q.proto != "udp" {
			p.fail("%s has no ports", q.proto)
		}
		return carried(q.proto), p.port(q, op, v, mask, masked)
	case "opt":
		equality()
		bit, ok := tcpFlags[v]
		if !ok || q.proto != "" && q.proto != "tcp" || masked {
			p.fail("'%s' is no TCP flag", v)
		}
		return carried("tcp"), decide.Test{Base: decide.Transport, Off: 12, Mask: bit << 16, Value: bit << 16}
	}
	p.fail("nothing is said about '%s'", v)
	return nil, decide.Const(false)
}

func (p *patternParser) network(q primitive, v, mask string, masked bool) decide.Expr {
	if q.kind == "net" && p.take("mask") {
		v += "/" + p.next()
	}
	px, err := p.args.ParsePrefix(v)
	if err == nil && q.kind == "host" {
		var x netip.Addr // a name that stands for both means the address
		if x, err = p.args.ParseAddr(v); err == nil {
			px = netip.PrefixFrom(x, x.BitLen())
		}
	}
	if err != nil || !px.Addr().Is4() || q.kind == "net" && !strings.Contains(v, "/") && px.Bits() == 32 {
		p.fail("expected an IPv4 %s, not '%s'", map[string]string{"host": "address", "net": "network with its length"}[q.kind], v)
		return decide.Const(false)
	}
	a := px.Addr().As4()
	t := decide.Test{Base: decide.Network, Mask: uint32(uint64(0xffffffff) << (32 - px.Bits()))}
	if masked {
		m, err := p.args.ParseAddr(mask)
		if err != nil || !m.Is4() {
			p.fail("expected a mask such as 255.255.0.0, not '%s'", mask)
			return decide.Const(false)
		}
		b := m.As4()
		t.Mask &= binary.BigEndian.Uint32(b[:])
	}
	t.Value = binary.BigEndian.Uint32(a[:]) & t.Mask
	return sides(q.dir, func(src bool) decide.Expr {
		t.Off = 16
		if src {
			t.Off = 12
		}
		return t
	})
}

// ether compares addresses of the link header.
func (p *patternParser) ether(dir, v string, masked bool) decide.Expr {
	m, err := p.args.ParseEther(v)
	if err != nil || masked {
		p.fail("expected an Ethernet address, not '%s'", v)
		return decide.Const(false)
	}
	return sides(dir, func(src bool) decide.Expr {
		if src {
			return decide.And{
				decide.Test{Base: decide.MAC, Off: 6, Mask: 0xffffffff, Value: binary.BigEndian.Uint32(m[:])},
				decide.Test{Base: decide.MAC, Off: 10, Mask: 0xffff0000, Value: uint32(binary.BigEndian.Uint16(m[4:])) << 16},
			}
		}
		return decide.And{
			decide.Test{Base: decide.MAC, Off: -2, Mask: 0x0000ffff, Value: uint32(binary.BigEndian.Uint16(m[:]))},
			decide.Test{Base: decide.MAC, Off: 2, Mask: 0xffffffff, Value: binary.BigEndian.Uint32(m[2:])},
		}
	})
}

func (p *patternParser) port(q primitive, op, v, mask string, masked bool) decide.Expr {
	kind := click.NameTCP
	if q.proto == "udp" {
		kind = click.NameUDP
	}
	lo, err := p.args.ParsePort(v, kind)
	hi, isRange := lo, false
	if l, h, cut := strings.Cut(v, "-"); err != nil && cut {
		isRange = true
		if lo, err = p.args.ParsePort(l, kind); err == nil {
			hi, err = p.args.ParsePort(h, kind)
		}
	}
	if err != nil || hi < lo || isRange && (op != "=" || masked) {
		p.fail("expected a port, a service or a range of ports, not '%s'", v)
		return decide.Const(false)
	}
	return sides(q.dir, func(src bool) decide.Expr {
		t := decide.Test{Base: decide.Transport, Mask: 0x0000ffff}
		if src {
			t.Mask = 0xffff0000
		}
		if isRange {
			return decide.And{p.relation(t, ">=", uint32(lo), "", false), decide.Opposite{X: p.relation(t, ">", uint32(hi), "", false)}}
		}
		return p.relation(t, op, uint32(lo), mask, masked)
	})
}
