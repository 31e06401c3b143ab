package ip

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/internal/decide"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

const patternText = "A pattern is made of primitives with 'and', 'or', 'not' (&&, ||, !) and parentheses. Primitives: " +
	"[src|dst|src or dst|src and dst] host ADDR, net ADDR/LEN, [tcp|udp] port PORT; ip proto PROTO; ip vers, hl, id, tos, dscp, ttl, len N; ip frag; ip unfrag; " +
	"icmp type TYPE; icmp code N; tcp opt FLAG; tcp, udp, icmp; all, none. A value may have a comparison =, !=, <, >, <=, >= before it, and a port may be a range LOW-HIGH. After 'or' the qualifiers of the last primitive may be left away: dst port 80 or 443.\n\n" +
	"Ports and ICMP types hold only for packets with the transport header, not for later fragments. Patterns are compiled to a decision program."

func init() {
	click.Register(click.Class{
		Name: "IPClassifier", Ports: "1/-", Processing: "h", New: func() click.Element { return &Filter{} },
		Doc: click.Doc{
			Group: "ip", Title: "sorts IP packets by patterns",
			Text:     "A packet goes to the output of the first pattern that fits and is dropped if none does; a dash fits all.\n\n" + patternText,
			Args:     []string{"<pattern>...: One for each output."},
			Handlers: []string{"program (r): The decision program.", "drops (r): Packets that fitted no pattern."},
			Example:  "... -> c :: IPClassifier(tcp dst port 80 or 443, udp, -);", See: []string{"IPFilter", "Classifier"},
		},
	})
	click.Register(click.Class{
		Name: "IPFilter", Ports: "1/-", Processing: "h", New: func() click.Element { return &Filter{actions: true} },
		Doc: click.Doc{
			Group: "ip", Title: "lets IP packets pass by rules",
			Text:     "The first rule that fits decides: allow (or pass) sends to output 0, deny (or drop) drops, a number sends to that output. Packets that no rule fits are dropped.\n\n" + patternText,
			Args:     []string{"<ACTION pattern>...: Rules."},
			Handlers: []string{"program (r): The decision program.", "drops (r): Packets dropped."},
			Example:  "... -> IPFilter(deny src net 10.0.0.0/8, allow udp dst port 53, deny all) -> ...;", See: []string{"IPClassifier"},
		},
	})
}

// Filter sorts packets by patterns.
type Filter struct {
	click.Base
	actions bool
	program *decide.Program
}

// dropped is the result for packets that are not to pass; no element has such a port.
const dropped = 1<<16 - 1

// Configure implements click.Element.
func (e *Filter) Configure(a *click.Args) {
	var rules []decide.Rule
	for i, arg := range a.List() {
		text, then := lang.Unquote(arg), i
		if e.actions {
			action, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
			text = rest
			switch action {
			case "allow", "pass":
				then = 0
			case "deny", "drop":
				then = dropped
			default:
				n, err := strconv.Atoi(action)
				if err != nil || n < 0 || n >= a.Outputs() {
					a.Errorf("rule %d: unknown action '%s', expected allow, deny or the number of an output", i, action)
					continue
				}
				then = n
			}
		}
		x, err := ParsePattern(text)
		if err != nil {
			a.Errorf("pattern %d: %v", i, err)
			continue
		}
		rules = append(rules, decide.Rule{If: x, Then: then})
	}
	if n := len(a.List()); !e.actions && n != a.Outputs() && a.OK() {
		a.Errorf("%d patterns for %d outputs", n, a.Outputs())
	}
	var err error
	if e.program, err = decide.Compile(rules, dropped); err != nil {
		a.Errorf("%v", err)
	}
}

// Push implements click.Pusher.
func (e *Filter) Push(_ int, b *packet.Batch) {
	var ports [packet.MaxBatch]uint16
	for i, p := range b.Packets() {
		ports[i] = uint16(e.program.Match(p))
	}
	e.Split(b, &ports)
}

// AddHandlers implements click.HandlerAdder.
func (e *Filter) AddHandlers(h *click.Handlers) { h.Read("program", e.program.String) }

// ParsePattern compiles a pattern of IPClassifier and IPFilter.
func ParsePattern(s string) (decide.Expr, error) {
	for _, op := range []string{"(", ")", "&&", "||"} {
		s = strings.ReplaceAll(s, op, " "+op+" ")
	}
	for _, op := range []string{"!=", ">=", "<=", "=="} {
		s = strings.ReplaceAll(s, op, " "+op+" ")
	}
	var words []string
	for _, w := range strings.Fields(s) {
		words = append(words, splitOps(w)...)
	}
	p := &patternParser{words: words}
	if len(words) == 0 {
		return nil, fmt.Errorf("is empty; use 'all' or '-'")
	}
	x := p.or()
	if p.err == nil && len(p.words) > 0 {
		p.fail("unexpected '%s'", p.words[0])
	}
	return x, p.err
}

// splitOps takes single-character operators off a word.
func splitOps(w string) []string {
	switch w {
	case "!=", ">=", "<=", "==", "&&", "||":
		return []string{w}
	}
	var out []string
	for w != "" {
		i := strings.IndexAny(w, "!<>=")
		if i < 0 {
			return append(out, w)
		}
		if i > 0 {
			out = append(out, w[:i])
		}
		out = append(out, w[i:i+1])
		w = w[i+1:]
	}
	return out
}

type patternParser struct {
	words []string
	err   error
	depth int
	last  primitive // whose qualifiers a bare value takes over
}

// primitive is what has been said before a value.
type primitive struct {
	dir   string // src, dst, either, both
	proto string // ip, tcp, udp, icmp
	kind  string // host, net, port, proto, vers, ...
}

func (p *patternParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *patternParser) peek() string {
	if len(p.words) == 0 || p.err != nil {
		return ""
	}
	return p.words[0]
}

func (p *patternParser) next() string {
	w := p.peek()
	if w != "" {
		p.words = p.words[1:]
	}
	return w
}

func (p *patternParser) take(words ...string) bool {
	for _, w := range words {
		if p.peek() == w {
			p.next()
			return true
		}
	}
	return false
}

func (p *patternParser) or() decide.Expr {
	x := decide.Or{p.and()}
	for p.take("or", "||") {
		x = append(x, p.and())
	}
	return x
}

func (p *patternParser) and() decide.Expr {
	x := decide.And{p.factor()}
	for p.err == nil {
		if p.take("and", "&&") {
			x = append(x, p.factor())
			continue
		}
		switch p.peek() {
		case "", "or", "||", ")":
			return x
		}
		x = append(x, p.factor())
	}
	return x
}

const maxPatternDepth = 100

func (p *patternParser) factor() decide.Expr {
	if p.depth++; p.depth > maxPatternDepth {
		p.fail("nested more than %d deep", maxPatternDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.err != nil:
		return decide.Const(false)
	case p.take("not", "!"):
		return decide.Not{X: p.factor()}
	case p.take("("):
		x := p.or()
		if !p.take(")") {
			p.fail("')' is missing")
		}
		return x
	case p.take("all", "any", "true", "-"):
		return decide.Const(true)
	case p.take("none", "false"):
		return decide.Const(false)
	}
	return p.primitive()
}

var fields = map[string]struct {
	off   int
	mask  uint32
	shift int
	max   int
}{
	"vers": {0, 0xf0000000, 28, 15}, "hl": {0, 0x0f000000, 24, 15}, "tos": {0, 0x00ff0000, 16, 255}, "dscp": {0, 0x00fc0000, 18, 63},
	"len": {0, 0x0000ffff, 0, 65535}, "id": {4, 0xffff0000, 16, 65535}, "ttl": {8, 0xff000000, 24, 255}, "proto": {8, 0x00ff0000, 16, 255},
}

var tcpFlags = map[string]uint32{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32}

func protoIs(n int) decide.Expr {
	return decide.Test{Base: decide.Network, Off: 8, Mask: 0x00ff0000, Value: uint32(n) << 16}
}

var (
	firstFragment = decide.Test{Base: decide.Network, Off: 4, Mask: 0x00001fff}
	noFragment    = decide.Test{Base: decide.Network, Off: 4, Mask: 0x00003fff}
)

func (p *patternParser) primitive() decide.Expr {
	var q primitive
	said := false
	for p.err == nil {
		w := p.peek()
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
		case "ip", "tcp", "udp", "icmp":
			if q.kind != "" || q.proto != "" && q.proto != "ip" {
				goto value
			}
			p.next()
			q.proto = w
		case "host", "net", "port", "proto", "vers", "hl", "tos", "dscp", "len", "id", "ttl", "type", "code", "opt":
			if q.kind != "" {
				p.fail("'%s' after '%s'", w, q.kind)
			}
			p.next()
			q.kind = w
		case "frag", "unfrag":
			p.next()
			if w == "frag" {
				return decide.Not{X: noFragment}
			}
			return noFragment
		default:
			goto value
		}
		said = true
	}
value:
	switch w := p.peek(); w {
	case "", "and", "or", "&&", "||", ")":
		if q.proto != "" && q.kind == "" && q.dir == "" {
			p.last = q
			if q.proto == "ip" {
				return decide.Const(true)
			}
			return protoIs(Protocols[q.proto])
		}
		p.fail("a value is missing")
		return decide.Const(false)
	}
	if !said {
		if p.last == (primitive{}) && !looksLikeAddr(p.peek()) {
			p.fail("unknown word '%s'", p.peek())
			return decide.Const(false)
		}
		q = p.last
	}
	op := "="
	for _, o := range []string{"=", "==", "!=", "<", ">", "<=", ">="} {
		if p.take(o) {
			op = o
			break
		}
	}
	if p.take("!") { // "! =" was split
		op = "!="
		p.take("=")
	}
	v := p.next()
	if q.kind == "" {
		switch {
		case looksLikeAddr(v) && strings.Contains(v, "/"):
			q.kind = "net"
		case looksLikeAddr(v):
			q.kind = "host"
		default:
			p.fail("what is '%s'? say host, net, port or the like before it", v)
			return decide.Const(false)
		}
	}
	p.last = q
	x := p.compile(q, op, v)
	if op == "!=" {
		x = decide.Not{X: x}
	}
	// A protocol beside a kind that does not imply it is a condition of its own.
	if n, ok := Protocols[q.proto]; ok && (q.kind == "host" || q.kind == "net" || fields[q.kind].mask != 0) {
		return decide.And{protoIs(n), x}
	}
	return x
}

func looksLikeAddr(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && strings.Contains(s, ".")
}

// relation builds a comparison; != is left to the caller.
func (p *patternParser) relation(op string, t decide.Test, v, shift, limit int) decide.Expr {
	if v < 0 || v > limit {
		p.fail("%d is out of range, must be 0 to %d", v, limit)
		return decide.Const(false)
	}
	above := func(n int) decide.Expr {
		if n < 0 {
			// Every value is above, but the bytes have to be there.
			return decide.Or{decide.Test{Base: t.Base, Off: t.Off, Mask: t.Mask}, decide.Test{Base: t.Base, Off: t.Off, Mask: t.Mask, Greater: true}}
		}
		return decide.Test{Base: t.Base, Off: t.Off, Mask: t.Mask, Value: uint32(n) << shift, Greater: true}
	}
	there := above(-1)
	switch op {
	case ">":
		return above(v)
	case ">=":
		return above(v - 1)
	case "<":
		return decide.And{there, decide.Not{X: above(v - 1)}}
	case "<=":
		return decide.And{there, decide.Not{X: above(v)}}
	}
	t.Value = uint32(v) << shift
	return t
}

func (p *patternParser) number(s string, names map[string]int) int {
	if n, ok := names[s]; ok {
		return n
	}
	n, err := strconv.ParseUint(s, 0, 31)
	if err != nil {
		p.fail("'%s' is no number", s)
	}
	return int(n)
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

func (p *patternParser) compile(q primitive, op, v string) decide.Expr {
	if f, ok := fields[q.kind]; ok {
		var names map[string]int
		if q.kind == "proto" {
			names = Protocols
		}
		return p.relation(op, decide.Test{Base: decide.Network, Off: f.off, Mask: f.mask}, p.number(v, names), f.shift, f.max)
	}
	equality := func() {
		if op != "=" && op != "==" && op != "!=" {
			p.fail("'%s' cannot be used with %s", op, q.kind)
		}
	}
	switch q.kind {
	case "host", "net":
		equality()
		if q.kind == "net" && p.take("mask") {
			v += "/" + p.next()
		}
		px, err := click.ParsePrefix(v)
		if err != nil || !px.Addr().Is4() {
			p.fail("expected an IPv4 address or prefix, not '%s'", v)
			return decide.Const(false)
		}
		a := px.Masked().Addr().As4()
		t := decide.Test{Base: decide.Network, Mask: uint32(uint64(0xffffffff) << (32 - px.Bits()))}
		t.Value = uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
		return sides(q.dir, func(src bool) decide.Expr {
			t.Off = 16
			if src {
				t.Off = 12
			}
			return t
		})
	case "port":
		var proto decide.Expr = decide.Or{protoIs(6), protoIs(17)}
		switch q.proto {
		case "tcp", "udp":
			proto = protoIs(Protocols[q.proto])
		case "icmp":
			p.fail("icmp has no ports")
		}
		lo, hi, isRange := strings.Cut(v, "-")
		if _, named := click.Services[v]; named {
			lo, isRange = v, false
		}
		a, err := click.ParsePort(lo)
		b := a
		if err == nil && isRange {
			equality()
			b, err = click.ParsePort(hi)
		}
		if err != nil || b < a {
			p.fail("expected a port, a service or a range of ports, not '%s'", v)
			return decide.Const(false)
		}
		return decide.And{proto, firstFragment, sides(q.dir, func(src bool) decide.Expr {
			t, shift := decide.Test{Base: decide.Transport, Mask: 0x0000ffff}, 0
			if src {
				t.Mask, shift = 0xffff0000, 16
			}
			if isRange {
				return decide.And{p.relation(">=", t, int(a), shift, 65535), p.relation("<=", t, int(b), shift, 65535)}
			}
			return p.relation(op, t, int(a), shift, 65535)
		})}
	case "type", "code":
		t, shift := decide.Test{Base: decide.Transport, Mask: 0xff000000}, 24
		if q.kind == "code" {
			t, shift = decide.Test{Base: decide.Transport, Mask: 0x00ff0000}, 16
		}
		if q.proto == "tcp" || q.proto == "udp" {
			p.fail("%s has no %s", q.proto, q.kind)
		}
		return decide.And{protoIs(1), firstFragment, p.relation(op, t, p.number(v, ICMPTypes), shift, 255)}
	case "opt":
		equality()
		bit, ok := tcpFlags[v]
		if !ok {
			p.fail("'%s' is no TCP flag", v)
		}
		return decide.And{protoIs(6), firstFragment, decide.Test{Base: decide.Transport, Off: 12, Mask: bit << 16, Value: bit << 16}}
	}
	p.fail("nothing is said about '%s'", v)
	return decide.Const(false)
}
